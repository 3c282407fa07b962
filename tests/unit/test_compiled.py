"""Compiled kernels where nothing can be written beside the code, nor in a home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNEL = """
import sys
from analytics.compiled import compiled


@compiled
def first(values):
    return values + 1


@compiled
def second(values):
    return values + 2


if __name__ == "__main__":
    print(first(1), second(1), sum(first.dispatcher.stats.cache_hits.values()))
"""


def run(folder: Path, temporary: Path) -> tuple[str, str]:
    """What a program prints whose own folder and home take nothing; root may write where others may not."""
    folder.mkdir(exist_ok=True)
    (folder / "kernel.py").write_text(KERNEL)
    # a file where a folder would be stops root too
    (folder / "__pycache__").touch()
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
    environment = kept | {"PYTHONPATH": str(ROOT), "HOME": "/dev/null", "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-B", str(folder / "kernel.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def test_a_folder_of_the_user_takes_what_was_compiled(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    own = temporary / f"flarecast-compiled-{os.getuid()}"
    said, words = run(tmp_path / "code", temporary)
    assert said == "2 3 0"
    assert words.count("\n") == 1, "once, for both functions"
    assert f"compiled code is kept in {own}" in words
    assert list(own.rglob("*.nbi"))
    assert own.stat().st_mode & 0o077 == 0
    assert run(tmp_path / "code", temporary)[0] == "2 3 1", "the second process compiles nothing"


@pytest.mark.parametrize("theirs", ["others may write", "a link"])
def test_what_others_could_have_put_there_is_not_run(tmp_path: Path, theirs: str) -> None:
    own = tmp_path / f"flarecast-compiled-{os.getuid()}"
    if theirs == "a link":
        (tmp_path / "elsewhere").mkdir()
        own.symlink_to(tmp_path / "elsewhere")
    else:
        own.mkdir()
        own.chmod(0o777)
    said, words = run(tmp_path / "code", tmp_path)
    assert said == "2 3 0"
    assert "compiled code is kept nowhere" in words
    assert not list(tmp_path.rglob("*.nbi"))


def test_no_compiler_is_loaded_before_a_kernel_is_called() -> None:
    code = (
        "import sys, numpy as np; from analytics.features import artifacts; "
        "loaded = ['numba' in sys.modules]; artifacts.classify(np.ones(5)); "
        "print([*loaded, 'numba' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[False, True]"
