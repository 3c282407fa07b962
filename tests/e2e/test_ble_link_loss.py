"""Every other driver loses its link: drop, out of range, adapter gone, a new private address.

What the wearable still holds or has told comes once, and the reason of every gap is on record. The strap
and the ring, which this began with, are in `test_ble_faults`.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from itertools import pairwise
from typing import Protocol

import pytest

from devices.blobs import unpack_u16
from devices.clock import HOUR, MINUTE, SECOND
from devices.codec import battery, polar_pmd
from devices.codec.banglejs import Block
from devices.drivers import infinitime_watch
from devices.ids import DeviceId
from devices.observations import RrInterval, StepCount
from devices.sim.activity_monitor import Monitor
from devices.sim.bangle import BangleWatch
from devices.sim.polar import WARM_UP_S, PolarSensor
from devices.sim.watch import Watch
from devices.sim.wearable import Wearable
from ingest.edge.gateway import PairedDevice
from ingest.edge.virtual_radio_air import HostedWearable
from ingest.edge.virtual_radio_quirks import BLUEZ, Quirks
from tests.fixtures_ble import START, Home, a_home, samples, until

pytestmark = pytest.mark.timeout(30)
DEVICE, ADDRESS, IRK = DeviceId("device-1"), "F0:00:00:00:00:07", bytes(range(16))


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Home]:
    monkeypatch.setattr(infinitime_watch, "_LOOK_S", 0.02)
    async with a_home() as home:
        yield home


class Wearer(Protocol):
    """A wearable that is worn; knows what it has told or counted."""

    wearable: Wearable
    #: Characteristic that a bond is wanted for.
    secret: str

    def __init__(self, home: Home) -> None: ...
    async def live(self, outing: int) -> None:
        """Do something while the gateway listens."""
        ...

    def away(self) -> None:
        """What goes on while it is out of reach."""
        ...

    def check(self) -> None:
        """Raise AssertionError unless all of it is in the spool, once."""
        ...


class Pulse:
    """Polar: what is told while nobody listens is gone, as on the real sensor."""

    secret = polar_pmd.CONTROL

    def __init__(self, home: Home) -> None:
        self._home, self._told = home, list[int]()
        self.wearable = self._sensor = PolarSensor("sim polar", ADDRESS, clock=home.clock)

    async def live(self, outing: int) -> None:
        progress = self._home.gateway.progress[DEVICE]
        await until(lambda: self._sensor.starts == outing + 1 and progress.is_listening)
        await until(lambda: progress.appended == progress.arrived >= outing + 1)
        self._home.clock.now += WARM_UP_S * SECOND
        for first in (800, 820, 840):
            beats = [first + 10 * outing, first + 10 * outing + 5]
            expected = progress.arrived + 1
            self._home.clock.now += 1000 * sum(beats)
            assert await self._sensor.send_pulses(beats)
            self._told += beats
            await until(lambda count=expected: progress.appended == progress.arrived == count)

    def away(self) -> None:
        self._home.clock.now += 3 * MINUTE

    def check(self) -> None:
        runs = self._home.spool.runs()
        assert self._home.spool.beats() == self._told
        keys = [(run.connection, run.first_beat + i) for run in runs for i in range(run.sample_count)]
        assert len(keys) == len(set(keys))
        assert {run.sensor for run in runs} == {"ppg"}
        self._check_gaps(runs)

    def _check_gaps(self, runs: list[RrInterval]) -> None:
        gaps = self._home.gateway.progress[DEVICE].gaps
        for before, after in pairwise(runs):
            if after.start_utc - before.end_utc > 50_000:
                assert any(before.end_utc <= gap.end_utc <= after.start_utc + 1000 for gap in gaps), gaps


class Counter:
    """InfiniTime: the counter goes on out of reach, and comes as one interval."""

    secret = battery.LEVEL

    def __init__(self, home: Home) -> None:
        self._home, self._walked = home, 0
        self.wearable = self._watch = Watch("sim pinetime", ADDRESS, clock=home.clock)

    async def live(self, outing: int) -> None:
        progress = self._home.gateway.progress[DEVICE]
        await until(lambda: progress.is_listening)
        for steps in (30, 41, 52 + outing):
            self._home.clock.now += 30 * SECOND
            expected = progress.arrived + 1
            await self._watch.walk(steps)
            self._walked += steps
            await until(lambda count=expected: progress.appended >= count)
        self._home.clock.now += 2 * MINUTE
        await until(lambda: self._settled() == self._walked)

    def away(self) -> None:
        self._home.clock.now += 2 * HOUR

    def _settled(self) -> int:
        return sum(step_intervals(self._home))

    def check(self) -> None:
        assert self._settled() == self._walked


class Sessions:
    """Physical activity monitor: sums of a session, told while listened to."""

    secret = battery.LEVEL

    def __init__(self, home: Home) -> None:
        self._home, self._walked = home, 0
        self.wearable = self._monitor = Monitor("sim monitor", ADDRESS, clock=home.clock)

    async def live(self, outing: int) -> None:
        progress = self._home.gateway.progress[DEVICE]
        await until(lambda: progress.is_listening)
        for steps in (30, 41, 52 + outing):
            self._home.clock.now += MINUTE
            expected = progress.arrived + 1
            assert await self._monitor.walk(steps, 60)
            self._walked += steps
            await until(lambda count=expected: progress.appended >= count)

    def away(self) -> None:
        self._home.clock.now += 10 * MINUTE

    def check(self) -> None:
        assert sum(step_intervals(self._home)) == self._walked


def step_intervals(home: Home) -> list[int]:
    """Steps of every interval; none overlaps another."""
    found = [o for o in home.spool.observations if isinstance(o, StepCount)]
    assert all(before.end_utc <= after.start_utc for before, after in pairwise(found)), found
    return [count for o in found for count in unpack_u16(o.counts)]


async def bond(home: Home, hosted: HostedWearable) -> None:
    """Pair at the address it has now, as `gateway pair` does."""
    address = await hosted.rotate_address()
    await home.radio.prepare()
    device = await home.radio.find(address, 1)
    assert device is not None
    client = home.radio.client(device, lambda: None, 1)
    await client.connect()
    await client.pair()
    await client.disconnect()


async def befall(home: Home, hosted: HostedWearable, fault: str, wearer: Wearer) -> None:
    """Take the link away, let time pass, and make it possible again."""
    match fault:
        case "drop":
            await hosted.drop()
        case "out of range":
            hosted.set_in_range(False)
        case "adapter gone":
            await home.adapter.set_present(False)
        case _:
            await hosted.drop()
            await until(lambda: not home.gateway.progress[DEVICE].is_listening)
            await hosted.rotate_address()
    await until(lambda: not home.gateway.progress[DEVICE].is_listening)
    wearer.away()
    hosted.set_in_range(True)
    await home.adapter.set_present(True)


@pytest.mark.parametrize("quirks", [Quirks(), BLUEZ], ids=["plain", "bluez"])
@pytest.mark.parametrize("fault", ["drop", "out of range", "adapter gone", "address rotated"])
@pytest.mark.parametrize(
    ("driver", "wears"), [("polar_ppi", Pulse), ("infinitime", Counter), ("activity_monitor", Sessions)]
)
async def test_live_wearable_loses_its_link(
    home: Home, driver: str, wears: Callable[[Home], Wearer], fault: str, quirks: Quirks
) -> None:
    wearer = wears(home)
    rotates = fault == "address rotated"
    if rotates:
        hosted = await home.put_on_air(wearer.wearable, irk=IRK, encrypted=[wearer.secret])
    else:
        hosted = await home.put_on_air(wearer.wearable)
    paired = PairedDevice(DEVICE, ADDRESS, driver)
    await home.open_gateway(replace(paired, is_bonded=rotates), quirks=quirks)
    if rotates:
        await bond(home, hosted)
    async with home.streaming():
        for outing in range(3):
            await wearer.live(outing)
            if outing < 2:
                await befall(home, hosted, fault, wearer)
    wearer.check()
    gaps = home.gateway.progress[DEVICE].gaps
    assert gaps
    assert all(gap.reason and gap.start_utc <= gap.end_utc for gap in gaps)
    assert home.gateway.progress[DEVICE].connections >= 3
    assert home.rejected == []


@pytest.mark.parametrize("fault", ["drop", "out of range"])
@pytest.mark.parametrize("at", [1, 7, 40])
async def test_watch_with_a_memory_is_lost_while_it_tells(
    home: Home, fault: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What did not come is told again: every block once, with its last value."""
    monkeypatch.setattr("devices.drivers.bangle.ANSWER_TIMEOUT_S", 0.3)
    watch = BangleWatch("sim bangle", ADDRESS, clock=home.clock, chunk=60)
    blocks = [Block(START // 1000 - i * 600_000, 100 + i, 60, 10, "WALKING") for i in range(48)]
    watch.remember(blocks)
    hosted = await home.put_on_air(watch)
    await home.open_gateway(PairedDevice(DEVICE, ADDRESS, "bangle"))
    notify, sent = watch.notify, 0

    async def failing(characteristic: str, value: bytes) -> bool:
        nonlocal sent
        sent += 1
        if sent != at:
            return await notify(characteristic, value)
        if fault == "drop":
            await hosted.drop()
        else:
            hosted.set_in_range(False)
        return False

    watch.notify = failing  # type: ignore[method-assign]
    await home.gateway.pull_history()
    hosted.set_in_range(True)
    (result,) = await home.gateway.pull_history()
    assert result.error is None
    assert samples(home.spool.observations, keep=StepCount) == {
        block.end_ms * 1000 - 600 * SECOND: block.steps for block in blocks
    }
    assert home.spool.cursors[f"{DEVICE}/history"] == START
