"""`flarecast serve`: a cron line really runs, about the night before; silence is a fault."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from devices.blobs import pack_u16
from devices.clock import HOUR, to_utc
from devices.observations import StepCount
from flows import settings
from flows.cli import main
from flows.clinic import Clinic
from flows.errors import UserError
from flows.shift import watch
from flows.shift.schedules import USUAL, night_of, read_schedules
from ingest.lake.broker import free_port
from ingest.lake.manifest import only_one
from tests.fixtures_night import enrolment_row, land, make_clinic, patient

pytestmark = pytest.mark.timeout(900)
#: Server, runner, the next minute, and a run of its own process; on two busy cores.
PATIENCE_S = 360


def api(port: int, path: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{path}", b"{}", {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def hears_ctrl_c() -> None:
    """As a terminal starts a program: what a script has put into the background ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


#: Every other flow, called as a runner calls it, and the state it ended in.
OTHERS = """
import json, sys
from datetime import date
from flows.shift import scheduled
from flows.shift.serve_runner import FLOWS
given = {"backfill": {"first": date(2026, 5, 1), "last": date(2026, 5, 1)},
         "quality_review": {"month": sys.argv[2]}}
for name, flow in FLOWS.items():
    if name != "nightly":
        state = flow(home=sys.argv[1], zone="UTC", **given.get(name, {}), return_state=True)
        print("STATE", json.dumps([name, state.type.value, state.name, state.message]))
scheduled.LIMIT = "no-such-limit"
try:
    with scheduled.alone():
        print("STATE", json.dumps(["without a limit", "COMPLETED", "", ""]))
except Exception as error:
    print("STATE", json.dumps(["without a limit", "REFUSED", type(error).__name__, str(error)]))
"""


def run_others(home: Path, port: int, month: str) -> dict[str, tuple[str, str, str]]:
    """Flow -> kind, name and message of its last state."""
    configured = settings.Settings(home, prefect_api_url=f"http://127.0.0.1:{port}/api")
    env = settings.child_environment(configured, prefect_home=home / "prefect-client")
    env["FLARECAST_BACKUP"] = str(home.with_name("backups"))
    command = [sys.executable, "-c", OTHERS, str(home), month]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("STATE ")]
    return {name: (kind, state, message) for name, kind, state, message in rows}


def test_a_cron_run_is_scheduled_and_executed_and_seen(tmp_path: Path) -> None:
    home = tmp_path / "home"
    clinic = make_clinic(home, people=2, days=0)
    mended = clinic.enrolment_path.read_text()
    # whom a problem concerns stays at the clinic
    with clinic.enrolment_path.open("a") as stream:
        stream.write(enrolment_row(7, zone="Mars/Base"))
    began = datetime.now(UTC)
    # where it is noon now: no date ends while this runs
    zone = f"Etc/GMT{began.hour - 12:+d}"
    yesterday = began.date() - timedelta(days=1)
    noon = to_utc(datetime.combine(yesterday, datetime.min.time(), UTC)) + 12 * HOUR
    band = {"device": "band-0", "source": "test/1", "period_s": 60}
    land(clinic, [StepCount(**band, start_utc=noon, counts=pack_u16([9] * 60))], noon + HOUR)
    (clinic.home / "schedules.toml").write_text(
        "".join(f'{name} = ""\n' for name in USUAL if name != "nightly")
    )
    with (clinic.home / "schedules.toml").open("a") as stream:
        stream.write('nightly = "* * * * *"\n')
    port = free_port()
    command = [sys.executable, "-m", "flows.cli", "serve", "--home", str(home), "--port", str(port)]
    command += ["--zone", zone]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    with (tmp_path / "serve.log").open("wb") as log:
        serving = subprocess.Popen(
            command, stdout=log, stderr=log, env=env, process_group=0, preexec_fn=hears_ctrl_c
        )
    try:
        end = time.monotonic() + PATIENCE_S
        runs: list[Any] = []
        while time.monotonic() < end and serving.poll() is None:
            time.sleep(2)
            if clinic.watermark_path.exists():
                runs = [run for run in api(port, "flow_runs/filter") if run["state_type"] == "COMPLETED"]
                if runs:
                    break
        assert runs, (tmp_path / "serve.log").read_text()[-3000:]
        assert runs[0]["auto_scheduled"], "the scheduler made it, nobody asked"
        scheduled = datetime.fromisoformat(runs[0]["expected_start_time"])
        mark = json.loads(clinic.watermark_path.read_text())
        assert date.fromisoformat(mark["night"]) == night_of(scheduled, zone)
        assert set(runs[0]["parameters"]) == {"home", "zone"}
        artifacts = {one["key"]: one for one in api(port, "artifacts/filter") if one["key"]}
        assert {"night-summary", "night-features", "night-scores"} <= set(artifacts)
        assert '"snapshot"' in artifacts["night-summary"]["data"]
        assert artifacts["night-features"]["data"] == 100
        (limit,) = api(port, "v2/concurrency_limits/filter")
        assert (limit["limit"], limit["active"]) == (1, True)
        made = {one["name"]: one["schedules"] for one in _deployments(port)}
        assert set(made) == set(USUAL)
        assert [name for name, schedules in made.items() if schedules] == ["nightly"], (
            "the rest when asked for"
        )
        clinic.enrolment_path.write_text(mended)
        states = run_others(home, port, f"{yesterday:%Y-%m}")
        assert states.pop("without a limit")[0] == "REFUSED"
        assert set(states) == set(USUAL) - {"nightly"}
        assert {kind for kind, _, _ in states.values()} == {"COMPLETED"}, states
        assert "files," in states["backup"][2]
        assert states["quality_review"][2].endswith(".html")
        assert "nothing was fitted" in states["recalibrate"][2]
        assert states["backfill"][2] == "nights 2026-05-01 to 2026-05-01"
        assert "0 rows of erased patients" in states["erase"][2]
        (report, *_) = sorted(clinic.reports.glob("nightly-*.json"))
        assert patient(7) in report.read_text()
        everything = [api(port, f"{what}/filter") for what in ("flow_runs", "task_runs", "artifacts", "logs")]
        assert all(everything[:3])
        assert "PROBLEM" in json.dumps(everything)
        for number in (0, 1, 7):
            assert patient(number) not in json.dumps(everything), "parameters, artifacts, logs: nobody"
    finally:
        # as Ctrl-C at a terminal: whoever is in its group hears it
        os.killpg(serving.pid, signal.SIGINT)
        code = serving.wait(PATIENCE_S)
    assert code == 130
    said = (tmp_path / "serve.log").read_text()
    assert not re.search("Traceback|Warning", said), said[-3000:]


def _deployments(port: int) -> list[dict[str, Any]]:
    flows = {one["id"]: one["name"] for one in api(port, "flows/filter")}
    return [one | {"name": flows[one["flow_id"]]} for one in api(port, "deployments/filter")]


def test_the_night_is_that_of_the_scheduled_instant_by_the_clocks_of_the_site() -> None:
    late = datetime(2026, 11, 25, 23, 30, tzinfo=UTC)
    assert night_of(late, "UTC") == date(2026, 11, 24)
    assert night_of(late, "Pacific/Auckland") == date(2026, 11, 25)
    assert night_of(late, "America/Los_Angeles") == date(2026, 11, 24)


def test_schedules_are_the_usual_ones_unless_the_site_says_otherwise(tmp_path: Path) -> None:
    assert read_schedules(tmp_path, "Europe/Berlin").cron == USUAL
    path = tmp_path / "schedules.toml"
    path.write_text('nightly = "15 3 * * *"\nbackup = ""\n')
    said = read_schedules(tmp_path, "Europe/Berlin").cron
    assert said["nightly"] == "15 3 * * *"
    assert said["backup"] == ""
    assert said["backfill"] == "", "only when somebody asks"
    for text, word in [
        ('nigthly = "1 1 * * *"', "nigthly"),
        ('nightly = "daily"', "cron line"),
        ('nightly = "99 4 * * *"', "no cron line"),
        ('nightly = "0 4 * * sonntag"', "no cron line"),
        ("nightly = [", "TOML"),
    ]:
        path.write_text(text)
        with pytest.raises(UserError, match=word):
            read_schedules(tmp_path, "Europe/Berlin")
    path.unlink()
    with pytest.raises(UserError, match="Mars"):
        read_schedules(tmp_path, "Mars/Base")


def test_a_second_one_and_a_port_that_is_taken_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two would run every night twice, and whoever has the port would answer for our server."""
    words = ["serve", "--home", str(tmp_path), "--port"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main([*words, port]) == 2
        assert f"--port {port}: Address already in use" in capsys.readouterr().err
    with only_one(tmp_path / "serve.lock", "`flarecast serve`"):
        assert main([*words, port]) == 2
    assert "another process is busy with `flarecast serve`" in capsys.readouterr().err
    for wrong in ("0", "70000", "x"):
        with pytest.raises(SystemExit):
            main([*words, wrong])


def test_no_snapshot_for_26_hours_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clinic = Clinic(tmp_path)
    now = 1_800_000_000_000_000
    assert watch.fault(clinic, now) is None, "nothing is expected where nothing was begun"
    watch.begin(clinic, lambda: now)
    watch.begin(clinic, lambda: now + 99 * HOUR)
    assert watch.fault(clinic, now + 26 * HOUR) is None
    assert "since `flarecast serve` began" in (watch.fault(clinic, now + 27 * HOUR) or "")
    clinic.watermark_path.write_text(json.dumps({"utc": now + 5 * HOUR}))
    assert watch.fault(clinic, now + 31 * HOUR) is None
    assert "32 h old" not in (watch.fault(clinic, now + 31 * HOUR) or "")
    assert "27 h old" in (watch.fault(clinic, now + 32 * HOUR) or "")
    assert main(["watch", "--home", str(tmp_path)]) in (0, 1)
    clinic.watermark_path.write_text("{bro")
    assert main(["watch", "--home", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"{clinic.watermark_path} cannot be read" in said
    assert " h old" not in said
    clinic.watermark_path.unlink()
    (tmp_path / watch.SERVED).write_text("[]")
    assert f"{tmp_path / watch.SERVED} cannot be read" in (watch.fault(clinic, now) or "")
