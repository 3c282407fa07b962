"""`flarecast serve`: a cron line really runs, about the night before; silence is a fault."""

import json
import os
import signal
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
from flows import watch
from flows.cli import main
from flows.clinic import Clinic
from flows.errors import UserError
from flows.schedules import USUAL, night_of, read_schedules
from ingest.lake.broker import free_port
from tests.fixtures_night import land, make_clinic

pytestmark = pytest.mark.timeout(420)
#: Server, runner, the next minute, and a run of its own process; on two busy cores.
PATIENCE_S = 360


def api(port: int, path: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{path}", b"{}", {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_a_cron_run_is_scheduled_and_executed_and_seen(tmp_path: Path) -> None:
    clinic = make_clinic(tmp_path, people=2, days=0)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    noon = to_utc(datetime.combine(yesterday, datetime.min.time(), UTC)) + 12 * HOUR
    band = {"device": "band-0", "source": "test/1", "period_s": 60}
    land(clinic, [StepCount(**band, start_utc=noon, counts=pack_u16([9] * 60))], noon + HOUR)
    (clinic.home / "schedules.toml").write_text(
        "".join(f'{name} = ""\n' for name in USUAL if name != "nightly")
    )
    with (clinic.home / "schedules.toml").open("a") as stream:
        stream.write('nightly = "* * * * *"\n')
    port = free_port()
    command = [sys.executable, "-m", "flows.cli", "serve", "--home", str(tmp_path), "--port", str(port)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    with (tmp_path / "serve.log").open("wb") as log:
        serving = subprocess.Popen(command, stdout=log, stderr=log, env=env)
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
        assert date.fromisoformat(mark["night"]) == night_of(scheduled, "UTC")
        assert set(runs[0]["parameters"]) == {"home", "zone"}
        artifacts = {one["key"]: one for one in api(port, "artifacts/filter") if one["key"]}
        assert {"night-summary", "night-features", "night-scores"} <= set(artifacts)
        assert '"snapshot"' in artifacts["night-summary"]["data"]
        assert artifacts["night-features"]["data"] == 100
        (limit,) = api(port, "v2/concurrency_limits/filter")
        assert (limit["limit"], limit["active"]) == (1, True)
    finally:
        serving.send_signal(signal.SIGTERM)
        code = serving.wait(90)
    assert code == 130
    assert "Traceback" not in (tmp_path / "serve.log").read_text()


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
    assert "backup" not in said
    for text, word in [
        ('nigthly = "1 1 * * *"', "nigthly"),
        ('nightly = "daily"', "cron line"),
        ("nightly = [", "TOML"),
    ]:
        path.write_text(text)
        with pytest.raises(UserError, match=word):
            read_schedules(tmp_path, "Europe/Berlin")
    path.unlink()
    with pytest.raises(UserError, match="Mars"):
        read_schedules(tmp_path, "Mars/Base")


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
    assert "flarecast serve" in capsys.readouterr().err
