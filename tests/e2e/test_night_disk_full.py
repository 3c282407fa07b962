"""A night on a file system that is really full: named, what was finished published, made up for later."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.night.nightly import run
from tests.fixtures_ingest import PATIENCE_S
from tests.fixtures_night import ARRIVED, LAST, land, make_clinic, now, observations, shown

ROOT = Path(__file__).parents[2]
PEOPLE, DAYS = 6, 3
LAST_OF_THEM = LAST.replace(day=DAYS)

CHILD = """
import json, os, shutil, sys
from pathlib import Path
from analytics.store import query
from flows.night.nightly import run
from tests.e2e.test_night_disk_full import late, night
from tests.fixtures_night import shown

disk = Path(sys.argv[1])
clinic = night(disk / "home")
late(clinic)
before = clinic.current.resolve()
with (disk / "ballast").open("wb") as stream:
    room = shutil.disk_usage(disk).free - 40 * 1024
    os.posix_fallocate(stream.fileno(), 0, room)
full = night(disk / "home")
shows = query.run(full.current, "select count(*) n from patient_day").to_pylist()[0]["n"]
reports = sorted(full.reports.glob("*.json"))
said = [json.loads(path.read_text())["problems"] for path in reports]
(disk / "ballast").unlink()
night(disk / "home")
after = [json.loads(path.read_text())["problems"] for path in sorted(full.reports.glob("*.json"))][-1]
print(json.dumps({"said": said[-1], "shows": shows, "after": after, "tables": repr(shown(full))}))
"""


def night(home: Path):
    clinic = (
        make_clinic(home, people=PEOPLE, days=DAYS)
        if not home.exists()
        else make_clinic(home, people=PEOPLE, days=0)
    )
    run(clinic, LAST_OF_THEM, LAST_OF_THEM, clock=now)
    return clinic


def late(clinic) -> None:
    """Another count for everybody's last day: every share is computed anew."""
    for number in range(PEOPLE):
        land(clinic, observations(number, DAYS - 1, scale=0.5), ARRIVED + 100 + number)


def test_a_night_on_a_full_disk_is_named_published_and_made_up_for(tmp_path: Path) -> None:
    private = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a disk of his own; ENOSPC is injected elsewhere")
    script, disk = tmp_path / "child.py", tmp_path / "disk"
    script.write_text(CHILD)
    disk.mkdir()
    inside = f"mount -t tmpfs -o size=48m none {disk} && exec {sys.executable} {script} {disk}"
    done = subprocess.run(
        [*private, "sh", "-c", inside],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["said"]
    assert all("disk is full" in one["what"] for one in found["said"]), found["said"]
    assert found["shows"] > 0
    assert found["after"] == []
    undisturbed = night(tmp_path / "home")
    late(undisturbed)
    assert found["tables"] == repr(shown(night(tmp_path / "home")))
