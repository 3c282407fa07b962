"""``make soak``: random faults from a seeded script; at the end everything equals the simulator's truth.

A strap that repeats itself, a ring that remembers, and a gateway with BlueZ's
quirks on the virtual radio, its spool a real one. The script draws faults for as
long as it is told; time is simulated, the waiting for links is real.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from devices.blobs import unpack_u16
from devices.clock import DAY, HOUR, MINUTE
from devices.ids import GatewayId
from devices.observations import Observation, RrInterval, StepCount
from ingest.edge.gateway import Gateway
from ingest.edge.spool import Spool
from ingest.edge.virtual_radio import virtual_radio
from ingest.edge.virtual_radio_quirks import BLUEZ
from ingest.wire.messages import decode_batch
from tests.fixtures_ble import (
    START,
    STRAP,
    TIMING,
    Home,
    a_home,
    quarter_hours,
    ring_with,
    strap_with,
    until,
)

SILENCE_S = 0.5
WAIT_S = 20.0


class Soak:
    """One home, its truth, and the faults that befall it."""

    def __init__(self, home: Home, folder: Path, seed: int) -> None:
        self.home = home
        self.random = random.Random(seed)
        self.spool = Spool(folder / "soak.db", clock=home.clock)
        self.beats: list[int] = []
        self.steps: dict[int, int] = {}
        self.refused = 0
        self.lost_on_air = 0
        self.faults: Counter[str] = Counter()
        self.gaps: list[str] = []
        self._rr = 800
        self._until = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def set_up(self) -> None:
        """Put the wearables on the air, and the gateway beside them."""
        self.strap, self._strap_pair = strap_with(self.home)
        self.ring, self._ring_pair = ring_with(self.home)
        self.hosted = await self.home.put_on_air(self.strap)
        self.hosted_ring = await self.home.put_on_air(self.ring)
        await self.home.open_gateway(quirks=BLUEZ)
        await self.start_gateway()

    async def start_gateway(self) -> None:
        self.gateway = Gateway(
            GatewayId("gw-1"),
            virtual_radio(self.home.adapter, deaf_s=1.0),
            self.spool,
            clock=self.home.clock,
            devices=[self._strap_pair, self._ring_pair],
            on_rejected=lambda *_: None,
            timing=replace(TIMING, silence_s=SILENCE_S),
        )
        self.progress = self.gateway.progress[STRAP]
        self._until = asyncio.Event()
        self._task = asyncio.create_task(self.gateway.stream_live(self._until))

    async def stop_gateway(self) -> None:
        assert self._task is not None
        self._until.set()
        await self._task
        self.gaps += [gap.reason for gap in self.progress.gaps]
        self.refused -= sum(self.progress.rejected.values())

    async def tell(self, copies: int = 1) -> None:
        """The strap says one to three intervals; a steady heart repeats itself."""
        if self.random.random() < 0.7:
            self._rr = self.random.randrange(600, 1100)
        rr_ms = (self._rr,) * self.random.randint(1, 3)
        await until(lambda: self.progress.is_listening, WAIT_S)
        self.home.clock.now += 1000 * sum(rr_ms)
        for copy in range(copies):
            arrived = self.progress.arrived
            if not await self.strap.send_beats(rr_ms):
                return
            link = self.progress.connections
            await until(
                lambda count=arrived, link=link: self.progress.arrived > count or self._has_ended(link),
                WAIT_S,
            )
            if self.progress.arrived == arrived:
                # the watchdog ended the link with the frame on the air: a live beat is held by nobody
                self.lost_on_air += 1
                return
            if copy == 0:
                self.beats += rr_ms
            else:
                self.refused += 1

    def _has_ended(self, link: int) -> bool:
        return self.progress.connections > link or not self.progress.is_listening

    async def drop(self) -> None:
        await self.hosted.drop()

    async def walk_away(self) -> None:
        for hosted in (self.hosted, self.hosted_ring):
            hosted.set_in_range(False)
        await until(lambda: not self.hosted.is_connected, WAIT_S)
        self.home.clock.now += self.random.randrange(1, 4) * HOUR
        for hosted in (self.hosted, self.hosted_ring):
            hosted.set_in_range(True)

    async def lose_adapter(self) -> None:
        await self.home.adapter.set_present(False)
        await until(lambda: not self.hosted.is_connected, WAIT_S)
        await self.home.adapter.set_present(True)

    async def say_nothing(self) -> None:
        connections = self.progress.connections
        self.home.clock.now += MINUTE
        await until(lambda: self.progress.connections > connections, WAIT_S)

    async def repeat_notifications(self) -> None:
        for _ in range(5):
            await self.tell(copies=self.random.randint(2, 3))

    async def spoil_frame(self) -> None:
        await until(lambda: self.progress.is_listening, WAIT_S)
        self.home.clock.now += 800_000
        arrived = self.progress.arrived
        if await self.strap.send_frame(self.random.choice([b"", b"\x10\x40\xc0", b"\x10\x40\x00\x00"])):
            self.refused += 1
            await until(lambda: self.progress.arrived > arrived, WAIT_S)
        for _ in range(3):
            await self.tell()

    async def jump_clock(self) -> None:
        await until(lambda: self.progress.appended == self.progress.arrived, WAIT_S)
        self.home.clock.now += self.random.choice([-HOUR, -10 * MINUTE, 2 * HOUR])
        await self.tell()

    async def go_deaf(self) -> None:
        self.home.adapter.is_deaf = True
        await self.hosted.drop()
        await until(lambda: not self.home.adapter.is_deaf, WAIT_S)

    async def restart_gateway(self) -> None:
        await self.stop_gateway()
        await self.start_gateway()

    async def read_ring(self) -> None:
        """Steps are walked, some of them in a quarter hour that was read before; the link may break."""
        quarter = self.home.clock.now // (15 * MINUTE) * 15 * MINUTE
        for slot in (quarter - 30 * MINUTE, quarter - 15 * MINUTE):
            self.steps[slot] = self.steps.get(slot, 0) + self.random.randrange(1, 400)
            self.ring.remember([quarter_hours(slot, [self.steps[slot]])])
        pull = asyncio.create_task(self.gateway.pull_history())
        if self.random.random() < 0.5:
            await asyncio.sleep(self.random.random() * 0.3)
            await self.hosted_ring.drop()
        await pull

    async def run(self, seconds: float) -> None:
        """Faults until the time is over; then everything must be there once."""
        faults: list[Callable[[], Awaitable[None]]] = [
            self.drop,
            self.walk_away,
            self.lose_adapter,
            self.say_nothing,
            self.repeat_notifications,
            self.spoil_frame,
            self.jump_clock,
            self.go_deaf,
            self.restart_gateway,
            self.read_ring,
        ]
        loop = asyncio.get_running_loop()
        end, waiting = loop.time() + seconds, list[Callable[[], Awaitable[None]]]()
        while loop.time() < end or waiting:
            # every fault once before any comes again: a short run has seen them all
            if not waiting:
                waiting = self.random.sample(faults, len(faults))
            fault = waiting.pop()
            self.faults[fault.__name__] += 1
            await fault()
            for _ in range(self.random.randint(3, 30)):
                await self.tell()
        await until(lambda: self.progress.appended == self.progress.arrived, WAIT_S)
        for _ in range(5):
            (result,) = await self.gateway.pull_history()
            if result.error is None:
                break
        await self.stop_gateway()

    def stored(self) -> list[Observation]:
        """Everything in the spool, as the collector would get it."""
        self.spool.seal(force=True)
        found: list[Observation] = []
        after = 0
        while sealed := self.spool.pending(after=after):
            for message in sealed:
                found += decode_batch(message.payload, message.kind).batch.observations
                after = message.sequence
        return found

    def check(self) -> None:
        """Raise AssertionError unless truth and spool are equal."""
        stored = self.stored()
        runs = [each for each in stored if isinstance(each, RrInterval)]
        keys = [(run.connection, run.first_beat + index) for run in runs for index in range(run.sample_count)]
        assert len(keys) == len(set(keys)), "a beat has two places"
        beats = [ms for run in runs for ms in unpack_u16(run.rr_ms)]
        assert beats == self.beats, f"{len(beats)} beats stored of {len(self.beats)}"
        assert self.refused == 0, f"{self.refused} frames too few refused"
        steps: dict[int, int] = {}
        for each in stored:
            if isinstance(each, StepCount):
                for index, count in enumerate(unpack_u16(each.counts)):
                    steps[each.start_utc + index * 15 * MINUTE] = count
        assert steps == self.steps, f"{len(steps)} quarter hours stored of {len(self.steps)}"
        assert all(self.gaps), "a gap without a reason"


async def soak(seconds: float, seed: int, folder: Path) -> Soak:
    """Run and check; returns what happened."""
    async with a_home() as home:
        soaked = Soak(home, folder, seed)
        await soaked.set_up()
        await soaked.run(seconds)
        soaked.check()
        soaked.spool.close()
        return soaked


def main() -> int:
    """Soak for some minutes and say what it was."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        soaked = asyncio.run(soak(arguments.minutes * 60, arguments.seed, Path(folder)))
    print(
        f"{len(soaked.beats)} beats and {len(soaked.steps)} quarter hours equal to the truth after", end=" "
    )
    print(", ".join(f"{name} x {count}" for name, count in sorted(soaked.faults.items())))
    days = (soaked.home.clock() - START) / DAY
    print(f"{len(soaked.gaps)} gaps, each with its reason; {days:.1f} simulated days;", end=" ")
    print(f"{soaked.lost_on_air} notifications on the air when the gateway itself ended the link")
    return 0


if __name__ == "__main__":
    sys.exit(main())
