"""The same night by threads and by Dask, a worker killed on the way: equal tables, and nothing done twice.

`python -m tests.scale`. One Prefect server; `flarecast nightly` as an operator starts it, with
FLARECAST_TASK_RUNNER=threads and =dask (two worker processes on this machine).
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows import settings, stack
from flows.clinic import Clinic
from flows.settings import Settings
from tests.fixtures_night import FIRST, LAST, make_clinic, shown

PATIENCE_S = 600


def digests(clinic: Clinic) -> dict[str, str]:
    """SHA-256 of every derived table as it holds, sorted."""
    return {name: hashlib.sha256(repr(rows).encode()).hexdigest() for name, rows in shown(clinic).items()}


def night(configured: Settings, runner: str, *, kills: int = 0) -> dict[str, Any]:
    """One `flarecast nightly` with so many workers killed once shares are done; its report."""
    command = [sys.executable, "-m", "flows.cli", "nightly", "--home", str(configured.home), "--json"]
    command += ["--from", FIRST.isoformat(), "--to", LAST.isoformat()]
    env = settings.child_environment(configured, prefect_home=configured.home / "prefect")
    env["FLARECAST_TASK_RUNNER"] = runner
    began = time.monotonic()
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = [kill_a_worker(process, configured.home) for _ in range(kills)]
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1]) | {"wall_s": round(time.monotonic() - began, 1), "killed": killed}


def kill_a_worker(process: "subprocess.Popen[str]", home: Path) -> int:
    """Kill a worker process at work: when files appear that were not there."""
    before = len(list(home.glob("derived/*/*/*.parquet")))
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        workers = descendants(process.pid)
        if workers and len(list(home.glob("derived/*/*/*.parquet"))) > before:
            os.kill(workers[-1], signal.SIGKILL)
            return workers[-1]
        time.sleep(0.01)
    raise AssertionError("the run ended before a worker could be killed")


def descendants(root: int) -> list[int]:
    """Process ids of Dask's workers below a process, oldest first."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found, last = [], {root}
    while last:
        last = {pid for pid, parent in parents.items() if parent in last}
        found += [pid for pid in last if b"spawn_main" in command_of(pid)]
    return sorted(found)


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def main() -> int:
    """Run all, print the figures; 1 when a table differs or a finished share was done again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=48)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_clinic(root / "threads", people=arguments.people)
        for name in ("dask", "killed"):
            shutil.copytree(root / "threads", root / name)
        base = Settings(root)
        server = stack.PrefectServer(root / "prefect", base)
        server.start()
        try:
            server.wait(300)
            at = {
                name: replace(base, home=root / name, prefect_api_url=server.api_url)
                for name in ("threads", "dask", "killed")
            }
            reports = {
                "threads": night(at["threads"], "threads"),
                "dask": night(at["dask"], "dask"),
                "killed": night(at["killed"], "dask", kills=1),
            }
            again = night(at["killed"], "dask")
        finally:
            server.stop()
        tables = {name: digests(Clinic(root / name)) for name in at}
    equal = tables["threads"] == tables["dask"] == tables["killed"]
    is_good = equal and again["written"] == 0 and not any(r["problems"] for r in reports.values())
    figures = {name: {k: r[k] for k in ("wall_s", "written", "killed")} for name, r in reports.items()}
    print(
        json.dumps({"people": arguments.people, "equal": equal, "again_written": again["written"], **figures})
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
