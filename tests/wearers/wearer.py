"""Somebody who wears a wearable: does something now and then, and knows what must have arrived of it.

One file for each driver beside this one, found by its name, which is the driver's; its `Worn` is what
they wear.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, ClassVar

from devices.clock import MINUTE
from devices.drivers.registry import find_driver
from devices.ids import DeviceId
from devices.observations import StepCount
from devices.sim.wearable import Property, Wearable
from ingest.edge.gateway import PairedDevice
from ingest.edge.progress import Progress
from ingest.edge.virtual_radio_air import HostedWearable
from tests.fixtures_ble import Home, samples, until

DEVICE, ADDRESS = DeviceId("device-1"), "F0:00:00:00:00:07"


class Wearer(ABC):
    """A wearable that is worn.

    Parameters
    ----------
    home : Home
        Where its gateway stands.
    """

    #: Registry name of its driver.
    driver: ClassVar[str]
    #: Characteristics without which nothing is to be had.
    needed: ClassVar[frozenset[str]]
    #: Those by which `live` speaks although there are others: the driver goes on without.
    spoken: ClassVar[frozenset[str]] = frozenset()
    #: Notifications that are not what they should be: characteristic, bytes.
    broken: ClassVar[tuple[tuple[str, bytes], ...]]
    wearable: Wearable

    def __init__(self, home: Home) -> None:
        self.home = home
        #: How often each notification comes.
        self.copies = 1
        self.hosted: HostedWearable

    @property
    def is_live(self) -> bool:
        """Whether its link is held."""
        return find_driver(self.driver).plan == "live"

    @property
    def progress(self) -> Progress:
        """How far the gateway has come with it."""
        return self.home.gateway.progress[DEVICE]

    @property
    def paired(self) -> PairedDevice:
        """As the gateway knows it."""
        return PairedDevice(DEVICE, ADDRESS, self.driver)

    @property
    def characteristics(self) -> list[str]:
        """All it offers."""
        return [each.uuid for service in self.wearable.services for each in service.characteristics]

    @property
    def readable(self) -> list[str]:
        """Those that can be read."""
        services = self.wearable.services
        return [each.uuid for s in services for each in s.characteristics if Property.READ in each.properties]

    async def put_on_air(self, **how: Any) -> HostedWearable:
        """Switch it on."""
        self.hosted = await self.home.put_on_air(self.wearable, **how)
        return self.hosted

    @asynccontextmanager
    async def served(self) -> AsyncGenerator[None]:
        """The gateway holds its link; one with a memory waits to be visited."""
        if not self.is_live:
            yield
            return
        async with self.home.streaming():
            yield

    async def listened_to(self) -> None:
        """Wait until what it says now is heard."""
        await until(lambda: self.progress.is_listening)

    async def say_broken(self) -> None:
        """Notify what is broken, and nothing at all, where somebody listens."""
        for characteristic, payload in (*self.broken, *((each, b"") for each, _ in self.broken)):
            arrived = self.progress.arrived
            if await self.wearable.notify(characteristic, payload):
                await until(lambda count=arrived: self.progress.arrived > count)

    async def told(self, saying: Awaitable[bool]) -> None:
        """Wait until the gateway has stamped, and kept, what is being said."""
        expected = self.progress.arrived + self.copies
        assert await saying
        await until(lambda: self.progress.appended == self.progress.arrived >= expected)

    @abstractmethod
    async def live(self) -> None:
        """Do something that must arrive: heard at once, or remembered for the next visit."""

    async def arrive(self) -> None:
        """Until all of it is in the spool; a wearable with a memory is visited."""
        if self.is_live:
            await until(lambda: self.progress.appended == self.progress.arrived)
            return
        errors: list[str | None] = []
        while None not in errors:
            assert len(errors) < 5, errors
            (result,) = await self.home.gateway.pull_history()
            errors.append(result.error)

    async def bond(self) -> None:
        """Pair at the address it has now, as `gateway pair` does."""
        radio = self.home.radio
        address = await self.hosted.rotate_address()
        await radio.prepare()
        device = await radio.find(address, 1)
        assert device is not None
        client = radio.client(device, lambda: None, 1)
        await client.connect()
        await client.pair()
        await client.disconnect()

    def away(self) -> None:
        """What goes on while it is out of reach."""
        self.home.clock.now += 10 * MINUTE

    @abstractmethod
    def check(self) -> None:
        """Raise AssertionError unless all of it is in the spool, once."""


def step_intervals(home: Home) -> list[int]:
    """Steps of every interval, by its key; none overlaps another unless the gateway's clock was wrong."""
    found = [o for o in home.spool.observations if isinstance(o, StepCount)]
    if not home.was_wrong:
        assert all(before.end_utc <= after.start_utc for before, after in pairwise(found)), found
    return list(samples(found, keep=StepCount).values())


def check_beats(home: Home, sensor: str) -> None:
    """Each beat has one key, and where beats do not follow each other a gap is on record."""
    runs = home.spool.runs()
    keys = [(run.connection, run.first_beat + i) for run in runs for i in range(run.sample_count)]
    assert len(keys) == len(set(keys))
    assert {run.sensor for run in runs} == {sensor}
    gaps = [gap for gateway in home.gateways for gap in gateway.progress[DEVICE].gaps]
    for before, after in pairwise(runs):
        if after.start_utc - before.end_utc > 50_000:
            assert any(before.end_utc <= gap.end_utc <= after.start_utc + 1000 for gap in gaps), gaps
