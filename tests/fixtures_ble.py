"""A home on the virtual radio: gateway, spool in memory, wearables with faults."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any

from devices.blobs import pack_u16, unpack_u16
from devices.clock import SECOND
from devices.drivers.session import Gap
from devices.ids import DeviceId, GatewayId
from devices.observations import DeviceHrv, HeartRate, Observation, RrInterval, SleepStage, StepCount
from devices.sim.ring import Ring
from devices.sim.strap import Strap, plan_stream
from devices.sim.wearable import Wearable
from ingest.edge.gateway import Gateway, PairedDevice
from ingest.edge.session import Timing
from ingest.edge.virtual_radio import virtual_radio
from ingest.edge.virtual_radio_adapter import VirtualAdapter
from ingest.edge.virtual_radio_air import Air, HostedWearable
from ingest.edge.virtual_radio_quirks import Quirks

START = 1_705_320_000 * SECOND  # 2024-01-15 12:00 UTC
TIMING = Timing(scan_s=0.6, connect_s=0.6, operation_s=1.0, backoff_first_s=0.02, backoff_most_s=0.1)
STRAP, RING = DeviceId("strap-1"), DeviceId("ring-1")


class SimulatedClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


class ListSpool:
    """Keeps observations in the order they were appended."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.cursors: dict[str, int] = {}
        self.firmware: dict[str, str] = {}

    def note_firmware(self, device: str, version: str) -> None:
        self.firmware[device] = version

    def append(self, observations: Iterable[Observation], *, cursors: Mapping[str, int] | None = None) -> int:
        new = list(observations)
        self.observations += new
        self.cursors.update(cursors or {})
        return sum(observation.sample_count for observation in new)

    def cursor(self, name: str) -> int | None:
        return self.cursors.get(name)

    def runs(self) -> list[RrInterval]:
        return [o for o in self.observations if isinstance(o, RrInterval)]

    def beats(self) -> list[int]:
        return [ms for run in self.runs() for ms in unpack_u16(run.rr_ms)]


class Home:
    """A gateway, its spool, and the wearables around it."""

    def __init__(self, air: Air, clock: SimulatedClock) -> None:
        self.air = air
        self.clock = clock
        #: How far the gateway's own clock is ahead, microseconds; the wearables do not go by it.
        self.gateway_ahead_us = 0
        self.was_wrong = False
        self.spool = ListSpool()
        self.rejected: list[tuple[str, str, str, bytes]] = []
        self.gateways: list[Gateway] = []
        self.gateway: Gateway
        #: What the strap has said to a gateway that listened (by `play`).
        self.told: list[int] = []
        self.adapter: VirtualAdapter
        self._stack = AsyncExitStack()

    async def put_on_air(self, wearable: Wearable, **how: Any) -> HostedWearable:
        hosted = HostedWearable(self.air, wearable, **how)
        await hosted.start()
        self._stack.push_async_callback(hosted.aclose)
        return hosted

    async def open_gateway(
        self,
        *devices: PairedDevice,
        quirks: Quirks | None = None,
        timing: Timing = TIMING,
        deaf_s: float = 90.0,
        max_links: int = 5,
    ) -> Gateway:
        self.adapter = await self._stack.enter_async_context(VirtualAdapter.open(self.air, quirks=quirks))
        self.radio = virtual_radio(self.adapter, max_links, deaf_s=deaf_s)
        self.gateway = Gateway(
            GatewayId("gw-1"),
            self.radio,
            self.spool,
            clock=lambda: self.clock() + self.gateway_ahead_us,
            devices=devices,
            on_rejected=lambda *what: self.rejected.append(what),
            timing=timing,
        )
        self.gateways.append(self.gateway)
        return self.gateway

    @asynccontextmanager
    async def streaming(self) -> AsyncGenerator[None]:
        until = asyncio.Event()
        task = asyncio.create_task(self.gateway.stream_live(until))
        try:
            yield
        finally:
            until.set()
            await asyncio.wait_for(task, 5)

    async def aclose(self) -> None:
        await self._stack.aclose()


def strap_with(home: Home) -> tuple[Strap, PairedDevice]:
    return Strap("sim strap", "F0:00:00:00:00:01"), PairedDevice(STRAP, "F0:00:00:00:00:01", "hr_strap")


def ring_with(home: Home, **how: Any) -> tuple[Ring, PairedDevice]:
    ring = Ring("sim ring", "F0:00:00:00:00:02", clock=home.clock, **how)
    return ring, PairedDevice(RING, "F0:00:00:00:00:02", "colmi_ring")


async def listening(home: Home) -> None:
    await asyncio.wait_for(home.gateway.progress[STRAP].until_listening(), 5)


async def play(home: Home, strap: Strap, intervals: Iterable[int], per_notification: int) -> None:
    progress = home.gateway.progress[STRAP]
    for step in plan_stream(intervals, per_notification):
        home.clock.now += step.elapsed_ms * 1000
        expected = progress.arrived + 1
        assert await strap.send_beats(step.rr_ms)
        home.told += step.rr_ms
        await asyncio.wait_for(progress.until_arrived(expected), 2)
    await asyncio.wait_for(progress.until_appended(progress.arrived), 2)


def assert_account(home: Home) -> None:
    """What must be true after every fault.

    No beat that was told is lost and none is counted twice, over distinct keys;
    every notification is accounted for; what was refused is kept with its reason;
    and where beats do not follow each other, a gap with a reason says so.
    """
    runs = home.spool.runs()
    by_key: dict[tuple[str, str, int], int] = {}
    for run in runs:
        for index, ms in enumerate(unpack_u16(run.rr_ms)):
            key = (run.device, run.connection, run.first_beat + index)
            assert key not in by_key, f"counted twice: {key}"
            by_key[key] = ms
    if home.told:
        assert list(by_key.values()) == home.told
    rejected = 0
    gaps: list[Gap] = []
    for gateway in home.gateways:
        for device, progress in gateway.progress.items():
            # answers of a memory are not counted one by one
            assert device.startswith("ring-") or progress.arrived == progress.appended
            rejected += progress.rejected.total()
            gaps += progress.gaps
    assert rejected == len(home.rejected)
    assert all(reason for *_, reason, _ in home.rejected)
    assert all(gap.reason and gap.start_utc <= gap.end_utc for gap in gaps)
    for before, after in pairwise(runs):
        if after.start_utc - before.end_utc > 50_000:
            ends = [gap.end_utc for gap in gaps]
            assert any(before.end_utc <= end <= after.start_utc + 1000 for end in ends), (before, after, gaps)


def night(start: int, minutes: int) -> SleepStage:
    stages = bytes((2, 3, 4, 1)[i // 20 % 4] for i in range(minutes))
    return SleepStage(device=RING, start_utc=start, source="colmi/1", epoch_s=60, stages=stages)


def quarter_hours(start: int, counts: list[int]) -> StepCount:
    return StepCount(device=RING, start_utc=start, source="colmi/1", period_s=900, counts=pack_u16(counts))


def samples(observations: Iterable[Observation], *, keep: type[Observation]) -> dict[int, int]:
    """Start -> value of every sample; asserts that none comes twice with another value."""
    found: dict[int, int] = {}
    for o in observations:
        if not isinstance(o, keep):
            continue
        match o:
            case StepCount():
                values, period = list(unpack_u16(o.counts)), o.period_s
            case SleepStage():
                values, period = list(o.stages), o.epoch_s
            case HeartRate():
                values, period = list(o.bpm), o.period_s
            case DeviceHrv():
                values, period = [o.value_ms], o.period_s
            case _:
                raise AssertionError(o)
        for index, value in enumerate(values):
            found[o.start_utc + index * period * SECOND] = value
    return found


@asynccontextmanager
async def a_home() -> AsyncGenerator[Home]:
    home = Home(Air(), SimulatedClock())
    try:
        yield home
    finally:
        await home.aclose()


async def until(condition: Any, timeout_s: float = 20.0) -> None:
    """Wait until `condition()` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)
