"""A spool without room: said before, history waits in the wearable, lost beats are a gap, nothing ends."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path

import pytest

from devices.clock import HOUR, MINUTE, SECOND
from devices.observations import SleepStage
from devices.sim.strap import Strap
from ingest.edge.gateway import SPOOL_FULL
from ingest.edge.ledger import Ledger
from ingest.edge.spool import Spool
from ingest.edge.spool_limits import SpoolLimits
from tests.fixtures_ble import (
    RING,
    START,
    STRAP,
    Home,
    a_home,
    listening,
    night,
    play,
    quarter_hours,
    ring_with,
    strap_with,
)
from tests.fixtures_ingest import PATIENCE_S, hourly

ROOT = Path(__file__).parents[2]
LIMITS = SpoolLimits(most_bytes=300_000)


class Box(Home):
    """A home with a real spool and ledger."""

    def take(self, folder: Path) -> None:
        self.real = Spool(folder / "spool.db", clock=self.clock, key=bytes(32), limits=LIMITS)
        self.ledger = Ledger(folder / "ledger.db", self.real, clock=self.clock, key=bytes(32))
        self.spool = self.ledger  # type: ignore[assignment]

    def fill(self) -> list[str]:
        """Let another wearable fill it to the brim; the states it went through."""
        states = [self.real.counts().state]
        hour = 0
        while states[-1] != "full":
            self.real.append([hourly(hour, device="band-9")])
            self.real.seal(force=True)
            states.append(self.real.counts().state)
            hour += 1
        return list(dict.fromkeys(states))

    def free(self) -> None:
        self.real.seal(force=True)
        self.real.confirm([message.sequence for message in self.real.pending()])

    def kept(self, kind: str) -> int:
        counts = self.real.counts().by_kind.get(kind)
        return 0 if counts is None else counts.appended


@pytest.fixture
async def box(tmp_path: Path) -> AsyncGenerator[Box]:
    async with a_home() as home:
        home.__class__ = Box
        assert isinstance(home, Box)
        home.take(tmp_path)
        yield home
        home.ledger.close()
        home.real.close()


async def gap_of(box: Box, strap: Strap) -> None:
    """Beats go on until their loss is on record."""
    gaps = box.gateway.progress[STRAP].gaps
    for _ in range(200):
        box.clock.now += SECOND
        await strap.send_beats((1000,))
        await asyncio.sleep(0.005)
        if any(gap.reason == SPOOL_FULL for gap in gaps):
            return
    raise AssertionError("no gap")


async def test_beats_lost_to_a_full_spool_are_a_gap_and_the_next_are_kept(box: Box) -> None:
    strap, paired = strap_with(box)
    await box.put_on_air(strap)
    await box.open_gateway(paired)
    async with box.streaming():
        await listening(box)
        await play(box, strap, [800, 810, 820], 1)
        heard_until = box.gateway.progress[STRAP].heard_utc
        assert box.fill() == ["ok", "alarm", "full"]
        before = box.kept("rr_interval")
        await gap_of(box, strap)
        assert box.kept("rr_interval") == before
        box.free()
        assert box.real.counts().state == "ok"
        progress = box.gateway.progress[STRAP]
        for _ in range(200):
            box.clock.now += SECOND
            await strap.send_beats((1000,))
            await asyncio.sleep(0.005)
            if box.kept("rr_interval") > before:
                break
    assert box.kept("rr_interval") > before
    lost = [gap for gap in progress.gaps if gap.reason == SPOOL_FULL]
    assert lost[0].start_utc == heard_until
    assert all(one.end_utc == two.start_utc for one, two in pairwise(lost))


async def test_a_full_spool_leaves_the_history_in_the_ring(box: Box) -> None:
    ring, paired = ring_with(box)
    slept = night(START - 10 * HOUR, 480)
    ring.remember([slept, quarter_hours(START - 10 * HOUR, [5] * 32)])
    await box.put_on_air(ring)
    await box.open_gateway(paired)
    box.fill()
    (result,) = await box.gateway.pull_history()
    assert result.error == SPOOL_FULL
    assert box.gateway.progress[RING].connections == 1
    assert box.kept(SleepStage.kind) == 0
    assert [name for name in cursors(box) if "clock" not in name] == []
    assert box.gateway.progress[RING].gaps[-1].reason == SPOOL_FULL
    box.clock.now += 30 * MINUTE
    box.free()
    (result,) = await box.gateway.pull_history()
    assert result.error is None
    assert box.kept(SleepStage.kind) == 480


def cursors(box: Box) -> list[str]:
    rows = box.real._database.execute("select name from cursor where name like 'ring-1/%'")
    return [name for (name,) in rows if not name.endswith(("/kept", "/heard"))]


CHILD = """
import sqlite3, sys, os
from pathlib import Path
from devices.clock import MINUTE
from devices.drivers.session import Gap
from devices.ids import DeviceId
from ingest.edge.ledger import Ledger
from ingest.edge.spool import Spool
from ingest.edge.spool_limits import SpoolLimits
from ingest.errors import SpoolFullError
from tests.fixtures_ingest import T0, hourly
disk = Path(sys.argv[1])
now = T0
spool = Spool(disk / "s.db", clock=lambda: now, key=bytes(32), limits=SpoolLimits(reserve_bytes=0))
ledger = Ledger(disk / "l.db", spool, clock=lambda: now)
spool.append([hourly(0)], cursors={"a": 0})
spool.seal(force=True)
ballast = (disk / "ballast").open("wb", buffering=0)
for size in (65536, 4096, 1):
    try:
        while ballast.write(bytes(size)) == size:
            pass
    except OSError:
        pass
assert os.statvfs(disk).f_bavail == 0
kept, refused = 1, 0
for hour in range(1, 2000):
    try:
        spool.append([hourly(hour)], cursors={"a": hour})
        kept += 1
    except SpoolFullError as error:
        refused += 1
        if refused == 3:
            break
assert refused == 3, refused
assert spool.cursor("a") == kept - 1
for number in range(400):
    ledger.on_gap(DeviceId("d"), Gap(number, number + 1, "spool full"))
waiting = len(ledger._unwritten)
assert waiting, "it was never refused"
try:
    spool.seal(force=True)
except SpoolFullError:
    pass
assert len(spool.pending()) >= 1
ballast.close()
(disk / "ballast").unlink()
spool.seal(force=True)
assert spool.append([hourly(hour + 1)]) == 3600
spool.seal(force=True)
assert spool.counts().appended == 3600 * (kept + 1) == spool.counts().sealed
assert spool.confirm([m.sequence for m in spool.pending()]) > 0
ledger.on_gap(DeviceId("d"), Gap(1, 2, "spool full"))
assert ledger._database.execute("select count from counter").fetchone() == (401,)
assert not ledger._unwritten
assert ledger._database.execute("pragma integrity_check").fetchone() == ("ok",)
assert spool._database.execute("pragma integrity_check").fetchone() == ("ok",)
print("kept", kept)
"""


def test_a_disk_without_one_block_left_loses_nothing(tmp_path: Path) -> None:
    """A real file system, really full, in a name space of its own."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    disk = tmp_path / "disk"
    disk.mkdir()
    private = ["unshare", "--map-root-user", "--mount"]
    inside = f"mount -t tmpfs -o size=4m none {disk} && exec {sys.executable} {script} {disk}"
    if subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
        pytest.skip(
            "this machine lets nobody mount a disk of his own; SQLite's own refusal is tested elsewhere"
        )
    done = subprocess.run(
        [*private, "sh", "-c", inside],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("kept ")
