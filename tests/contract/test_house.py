"""Rules of the house that no linter knows."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("devices", "ingest", "analytics", "alerts", "flows")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
#: Modules read well at 300 lines; this is where one has to be split.
LONGEST_MODULE = 400

ENVIRONMENT = {"os.environ", "os.getenv", "os.putenv", "os.environb"}
WALL_CLOCK = {
    "time.time",
    "time.time_ns",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "datetime.datetime.now",
    "datetime.date.today",
}
#: Where packages come from is a matter of the machine: pip's and apt's configuration.
#: Hosts, put together here so that this file does not name one either.
HOSTS = [f"{name}.{end}" for name, end in (("pythonhosted", "org"), ("pypi", "org"), ("npmjs", "org"))]
HOSTS += [".".join((name, "debian", "org")) for name in ("deb", "security")]
REGISTRY = re.compile("|".join(["--(extra-)?index-url", "--find-links", *map(re.escape, HOSTS)]))
#: Folders of one machine. `/root` inside a system that a script makes itself is not one.
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|home/\w+|Users/\w+|tmp/\w+|opt/\w+)/")


def names_used(source: str) -> set[str]:
    """Dotted names a module reads or imports, with `from x import y` as `x.y`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            names.add(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def tracked_files() -> list[Path]:
    """Files of the repository, as git lists them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import os\nx = os.environ['A']", "os.environ"),
        ("from os import environ", "os.environ"),
        ("import os\nos.getenv('A')", "os.getenv"),
        ("import time\ntime.time()", "time.time"),
        ("from time import time_ns", "time.time_ns"),
        ("from datetime import datetime\ndatetime.now(UTC)", "datetime.now"),
    ],
)
def test_the_rules_below_can_see(source, name):
    assert name in names_used(source)


@pytest.mark.parametrize("path", MODULES, ids=_relative)
def test_settings_alone_read_the_environment(path):
    if _relative(path) != "flows/settings.py":
        assert not names_used(path.read_text()) & ENVIRONMENT


@pytest.mark.parametrize("path", MODULES, ids=_relative)
def test_only_flows_look_at_the_wall_clock(path):
    if _relative(path) != "devices/clock.py" and not _relative(path).startswith("flows/"):
        assert not names_used(path.read_text()) & WALL_CLOCK


@pytest.mark.parametrize("path", MODULES, ids=_relative)
def test_a_module_fits_one_reading(path):
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


def test_no_package_source_or_folder_of_one_machine_is_written_down():
    found = [
        f"{_relative(path)}:{number}: {line.strip()}"
        for path in tracked_files()
        if path != Path(__file__) and path.suffix not in {".png", ".parquet", ".gz"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if REGISTRY.search(line) or MACHINE_PATH.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "--extra-index-url file:///x",
        f"url = 'https://files.{HOSTS[0]}/p'",
        "open('/home/ann/x')",
        "/home/me/lake",
    ],
)
def test_such_a_line_is_recognised(line):
    assert REGISTRY.search(line) or MACHINE_PATH.search(line)


def test_locks_pin_every_release_with_a_hash():
    for lock in ("requirements.lock", "requirements-gateway.lock"):
        text = re.sub(r"#.*", "", (ROOT / lock).read_text()).replace("\\\n", " ")
        for line in filter(None, map(str.strip, text.splitlines())):
            assert re.match(r"[a-z0-9.-]+==\S+ +--hash=sha256:", line), line
