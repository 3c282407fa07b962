"""A user's mistake is one clear line and exit code 2, never a traceback."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flows.cli import main
from tests.fixtures_ingest import PATIENCE_S


def process(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """The command as it is started."""
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.fixture
def flarecast(capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The command in this process: no interpreter is started for it."""

    def flarecast(*arguments: str | Path) -> Any:
        words = [str(one) for one in arguments]
        try:
            code = main(words)
        except SystemExit as ended:
            code = ended.code
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    return flarecast


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    (tmp_path / "lake").mkdir()
    (tmp_path / "enrolment.csv").write_text(
        "patient,site,zone,gateway,device,valid_from_utc,valid_to_utc\n"
        "p-1,north,Europe/Berlin,gw-1,band-1,2024-01-01T00:00:00+00:00,\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nightly", "--home", "{home}"], "--date"),
        (["nightly", "--home", "{home}", "--date", "2024-02-30"], "2024-02-30"),
        (["nightly", "--home", "{home}", "--from", "2024-02-03"], "--from"),
        (["nightly", "--home", "{home}", "--from", "2024-02-03", "--to", "2024-02-01"], "2024-02-03"),
        (["nightly", "--home", "{home}/nowhere", "--date", "2024-02-01"], "nowhere"),
        (["nightly", "--home", "{home}", "--lake", "{home}/no-lake", "--date", "2024-02-01"], "no-lake"),
        (["nightly", "--home", "{home}", "--date", "2024-02-01", "--patient", "p-9"], "p-9"),
        (["sql", "--home", "{home}", "select 1"], "nothing published yet"),
        (["nightly", "--home", "{home}", "--date", "2099-01-01"], "2099-01-01"),
        (["nightly", "--home", "{home}", "--date", "0001-01-01"], "0001-01-01"),
        (["nightly", "--home", "{home}", "--date", "2014-02-01"], "nobody was enrolled on 2014-02-01"),
        (
            ["backfill", "--home", "{home}", "--from", "2014-02-01", "--to", "2024-02-01"],
            "nobody was enrolled",
        ),
        (["nightly", "--home", "{home}", "--lake", "{home}/elsewhere", "--date", "2024-02-01"], "elsewhere"),
        (["sql", "--snapshot", "{home}/enrolment.csv", "select 1"], "not a snapshot"),
        (["collector", "run", "--home", "{home}", "--name", "../x"], "../x"),
        (["collector", "run", "--home", "{home}", "--port", "99999"], "99999"),
        (["demo", "--people", "1", "--days", "999999999", "--out", "{home}/d"], "ten years"),
        (["demo", "--people", "1", "--days", "1", "--out", "{home}/enrolment.csv/d"], "cannot be written"),
        (["gateway", "run", "--config", "{home}"], "{home}"),
        (["replay", "{home}/missing.parquet", "--per-notification", "10", "--out", "{home}/r"], "1 to 9"),
        (["replay", "{home}/missing.parquet", "--out", "{home}/r"], "missing.parquet"),
        (["replay", "{home}/enrolment.csv", "--out", "{home}/r"], "enrolment.csv"),
        (["demo", "--people", "0"], "people"),
        (["demo", "--people", "1", "--days", "1", "--out", "{home}"], "not made by flarecast"),
        (["collector", "status", "--home", "{home}"], "no collector"),
        (["nightly", "--home", "{home}", "--from", "2024-02-01", "--to", "2099-01-01"], "2099-01-01"),
        (["backfill", "--home", "{home}", "--from", "2024-02-01", "--to", "2099-01-01"], "2099-01-01"),
        (["backfill", "--home", "{home}", "--from", "0001-01-01", "--to", "2024-02-01"], "0001-01-01"),
        (["watch", "--home", "{home}/nowhere"], "nowhere"),
        (["backup", "--home", "{home}", "--to", "/proc/x"], "/proc/x"),
        (["ca", "init", "--home", "/sys"], "/sys/ca"),
        (["lake", "replay", "--home", "{home}", "--from", "2024-02-03", "--to", "2024-02-01"], "2024-02-03"),
        (["doctor", "--home", "{home}", "--broker", "here"], "HOST:PORT"),
        (["dance"], "dance"),
    ],
)
def test_mistakes_are_one_line_and_exit_two(
    clinic: Path, arguments: list[str], says: str, flarecast: Any
) -> None:
    done = flarecast(*(text.format(home=clinic) for text in arguments))
    assert done.returncode == 2, done.stderr
    assert says.format(home=clinic) in done.stderr
    assert "Traceback" not in done.stderr
    if "usage:" not in done.stderr:
        assert len(done.stderr.strip().splitlines()) == 1


def test_what_main_answers_is_what_the_process_ends_with(clinic: Path) -> None:
    done = process("nightly", "--home", clinic / "nowhere", "--date", "2024-02-01")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert process("dance").returncode == 2


def test_a_lake_that_is_not_there_publishes_nothing(clinic: Path, flarecast: Any) -> None:
    (clinic / "lake").rmdir()
    done = flarecast("nightly", "--home", clinic, "--date", "2024-02-01")
    assert done.returncode == 2
    assert "no lake" in done.stderr
    assert not (clinic / "published").exists()


def test_an_enrolment_of_nobody_publishes_nothing(clinic: Path, flarecast: Any) -> None:
    path = clinic / "enrolment.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    done = flarecast("nightly", "--home", clinic, "--date", "2024-02-01")
    assert done.returncode == 2
    assert "enrols nobody" in done.stderr
    assert not (clinic / "published").exists()


@pytest.mark.parametrize("name", ["derived/ledger.sqlite", "lake/status/collector-1.json"])
def test_a_broken_file_of_ours_is_named(clinic: Path, name: str, flarecast: Any) -> None:
    (clinic / name).parent.mkdir(exist_ok=True)
    (clinic / name).write_text("{bro" * 500)
    night = ["nightly", "--home", clinic, "--date", "2024-02-01"]
    done = flarecast(*(night if "ledger" in name else ["collector", "status", "--home", clinic]))
    assert done.returncode == 2
    assert name.rsplit("/", 1)[-1] in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreadable_lake_file_is_named_and_the_rest_published(clinic: Path, flarecast: Any) -> None:
    folder = clinic / "lake" / "landing" / "battery" / "dt=2024-02-01"
    folder.mkdir(parents=True)
    (folder / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    done = flarecast("nightly", "--home", clinic, "--date", "2024-02-01")
    assert done.returncode == 1
    assert "broken.parquet" in done.stdout
    assert (clinic / "published" / "current.duckdb").exists()


def test_without_its_prefect_server_a_night_is_computed_and_says_so(clinic: Path) -> None:
    env = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    command = [sys.executable, "-m", "flows.cli", "nightly", "--home", str(clinic), "--date", "2024-02-01"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=env)
    assert done.returncode == 1
    assert "Prefect at http://127.0.0.1:9/api: no server answers" in done.stdout
    assert (clinic / "published" / "current.duckdb").exists()


def test_a_wrong_line_of_the_enrolment_file_is_named_and_stops_one_patient(
    clinic: Path, flarecast: Any
) -> None:
    path = clinic / "enrolment.csv"
    path.write_text(path.read_text() + "p-2,north,Mars/Olympus,gw-2,band-2,2024-01-01T00:00:00+00:00,\n")
    done = flarecast("nightly", "--home", clinic, "--date", "2024-02-01")
    assert done.returncode == 1
    assert "Mars/Olympus" in done.stdout
    assert "enrolment.csv:3:" in done.stdout
    assert "(p-2)" in done.stdout
    assert (clinic / "published" / "current.duckdb").exists()


def test_a_folder_that_is_not_ours_is_never_deleted(clinic: Path, flarecast: Any) -> None:
    kept = clinic / "enrolment.csv"
    flarecast("demo", "--people", "1", "--days", "1", "--out", clinic)
    assert kept.exists()


def test_the_command_line_itself_loads_nothing_heavy() -> None:
    code = (
        "import sys, flows.cli; flows.cli._parser(); "
        "heavy = {'pyarrow', 'numpy', 'bumble', 'prefect', 'scipy', 'duckdb', 'polars'} & set(sys.modules); "
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    path = tmp_path / "some.duckdb"
    duckdb.connect(str(path)).close()
    return path


@pytest.mark.parametrize("buffering", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["sql", "--snapshot", "{snapshot}", "--json", "select * from range(100000)"],
        ["alerts", "lint"],
    ],
)
def test_who_stops_reading_ends_the_command_without_a_word(
    snapshot: Path, arguments: list[str], buffering: str
) -> None:
    command = [sys.executable, "-m", "flows.cli", *(text.format(snapshot=snapshot) for text in arguments)]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": buffering},
        )
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141


def test_a_full_disk_is_one_line(snapshot: Path) -> None:
    query = "select * from range(100000)"
    command = [sys.executable, "-m", "flows.cli", "sql", "--snapshot", str(snapshot), "--json", query]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=False
        )
    assert done.stderr == "flarecast: No space left on device\n"
    assert done.returncode == 2


def test_the_head_of_a_long_answer_is_there_and_nothing_else(snapshot: Path) -> None:
    query = f"{sys.executable} -m flows.cli sql --snapshot {snapshot} 'select * from range(200000)' | head -3"
    done = subprocess.run(
        ["bash", "-c", f"{query}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == ""
    assert done.returncode in (0, 141)
