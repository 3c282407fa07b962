"""The night shift killed with SIGKILL again and again: what it leaves equals an undisturbed run.

`python -m tests.torture.night --kills 50 --serve 2`. One child at a time brings a growing range of
nights up to date and is killed at a random moment; a last one is let finish. With `--serve` the
whole `flarecast serve`, a run every minute, is killed as often while a run is at work.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from alerts.engine.journal import Journal
from analytics.store import query
from devices.clock import system_clock
from flows.clinic import Clinic
from flows.night.nightly import run
from flows.shift.schedules import USUAL
from ingest.lake.broker import free_port
from tests.fixtures_night import DAYS, FIRST, make_clinic, now, shown

ROOT = Path(__file__).parents[2]
#: Nights before the first one asked for.
LEAD = 10


def child(home: Path, first: str, last: str) -> None:
    """A run in a process of its own; says when it begins."""
    print("begins", flush=True)
    run(Clinic(home, partitions=8), date.fromisoformat(first), date.fromisoformat(last), clock=now)


def start(home: Path, first: date, last: date) -> "subprocess.Popen[str]":
    """A child that has begun."""
    command = [sys.executable, "-m", "tests.torture.night", "--child", str(home), str(first), str(last)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    return process


def kill(home: Path, kills: int, seed: int, first: date, last: date) -> int:
    """Kill so many runs at random moments; returns how many were caught at work."""
    chance = random.Random(seed)
    days = (last - first).days + 1
    caught = 0
    span_s = 2.0
    for number in range(kills):
        # the range grows: there is work left to be killed at to the end
        until = first + timedelta(days=number * days // kills)
        began = time.monotonic()
        process = start(home, first, until)
        try:
            process.wait(chance.uniform(0, span_s))
            span_s = max(0.2, 0.5 * span_s + 0.5 * (time.monotonic() - began))
        except subprocess.TimeoutExpired:
            caught += 1
            span_s *= 1.3
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    return caught


def result(clinic: Clinic) -> dict[str, Any]:
    """Everything a night leaves: derived tables, the snapshot's rows, alerts without their random names."""
    with Journal(clinic.journal_path, system_clock) as journal:
        alerts = journal.to_table().to_pylist()
    keep = ("patient", "rule", "severity", "status", "local_date", "sentence")
    published = {
        name: query.run(clinic.current, f"select count(*) n from {name}").to_pylist()[0]["n"]
        for name in ("patient_day", "flare_risk", "alerts", "observations_step_count")
    }
    found = sorted([str(one[name]) for name in keep] for one in alerts)
    return {**shown(clinic), "alerts": found, "published": published}


def killed_and_not(folder: Path, kills: int, seed: int) -> dict[str, object]:
    """Kill, finish, and compare with a clinic where nobody was killed."""
    first, last = FIRST + timedelta(days=LEAD), FIRST + timedelta(days=DAYS - 1)
    victim, undisturbed = make_clinic(folder / "victim"), make_clinic(folder / "undisturbed")
    caught = kill(victim.home, kills, seed, first, last)
    reports = [run(one, first, last, clock=now) for one in (victim, undisturbed)]
    again = run(victim, first, last, clock=now)
    one, other = result(victim), result(undisturbed)
    return {
        "kills": kills,
        "caught_at_work": caught,
        "problems": sum(len(report.problems) for report in reports),
        "rows": sum(len(rows) for rows in one.values()),
        "alerts": len(one["alerts"]),
        "differing": [name for name in one if one[name] != other[name]],
        "written_again": again.written,
    }


def serve_killed(folder: Path, kills: int) -> dict[str, object]:
    """Kill `flarecast serve` with all it started while a night is at work, then let one finish."""
    last = datetime.now(UTC).date() - timedelta(days=1)
    first = last - timedelta(days=DAYS - 1)
    clinics = [make_clinic(folder / name, first=first) for name in ("served", "plain")]
    served, plain = clinics
    lines = "".join(f'{name} = ""\n' for name in USUAL if name != "nightly")
    (served.home / "schedules.toml").write_text(lines + 'nightly = "* * * * *"\n')
    for number in range(kills + 1):
        serving = _serve(served.home)
        try:
            _wait(served, until_done=number == kills)
        finally:
            if number < kills:
                kill_all(serving.pid)
            else:
                serving.terminate()
            serving.wait(120)
    mark = date.fromisoformat(json.loads(served.watermark_path.read_text())["night"])
    for clinic in clinics:
        run(clinic, mark, mark, clock=now)
    one, other = result(served), result(plain)
    return {"serve_kills": kills, "differing": [name for name in one if one[name] != other[name]]}


def kill_all(pid: int) -> None:
    """SIGKILL to a process and to all that it and its own have started."""
    for one in _family(pid):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(one for child in children for one in _family(int(child)))]


def _serve(home: Path) -> "subprocess.Popen[bytes]":
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    command = [sys.executable, "-m", "flows.cli", "serve", "--home", str(home), "--port", str(free_port())]
    with (home / "serve.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)


def _wait(clinic: Clinic, *, until_done: bool, patience_s: float = 600) -> None:
    """Until a night is at work (its derived files grow), or one was published."""
    end = time.monotonic() + patience_s
    before = len(list(clinic.derived.root.rglob("*.parquet")))
    while time.monotonic() < end:
        if clinic.watermark_path.exists() if until_done else _has_grown(clinic, before):
            return
        time.sleep(0.2)
    raise AssertionError("no night came: " + (clinic.home / "serve.log").read_text()[-2000:])


def _has_grown(clinic: Clinic, before: int) -> bool:
    return clinic.watermark_path.exists() or len(list(clinic.derived.root.rglob("*.parquet"))) > before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--serve", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", nargs=3, metavar=("HOME", "FIRST", "LAST"))
    arguments = parser.parse_args()
    if arguments.child:
        child(Path(arguments.child[0]), *arguments.child[1:])
        return 0
    with tempfile.TemporaryDirectory() as name:
        figures = killed_and_not(Path(name), arguments.kills, arguments.seed)
        print(json.dumps({"night": figures}), flush=True)
        served: dict[str, object] = {"differing": []}
        if arguments.serve:
            served = serve_killed(Path(name), arguments.serve)
            print(json.dumps({"serve": served}), flush=True)
    is_equal = not figures["differing"] and not served["differing"] and not figures["written_again"]
    return 0 if is_equal and figures["caught_at_work"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
