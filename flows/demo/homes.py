"""The homes of the demo: one gateway per person, history as backlog, a few wearables live over the air."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from rich.progress import Progress

from devices.blobs import unpack_u16
from devices.clock import at_local, system_clock
from devices.observations import Battery, Observation, RrInterval, SleepStage, StepCount
from devices.sim.cohort import PersonRecord
from devices.sim.made import Made
from flows import stack
from flows.errors import UserError
from flows.gateway import air
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.edge.spool_cipher import load_key
from ingest.wire.address import BrokerAddress

#: People whose last days come over the (virtual) air; everybody else's are gateway backlog.
LIVE_PEOPLE = 4
#: Days a ring brings over the air; it remembers seven.
RING_DAYS = 3
#: RR intervals per notification: a strap at rest sends one or two a second.
LIVE_PER_NOTIFICATION = 2
#: Hourly blocks of the last night that are streamed, the rest of it is backlog.
LIVE_BLOCKS = 2
#: Forwarders under way at once; a broker of a small clinic sees about this many reconnect together.
CONCURRENT_HOMES = 8
DRAIN_S = 300


class Homes:
    """Runs the homes and counts what was made and what was spooled, in samples."""

    def __init__(
        self,
        folder: Path,
        broker: BrokerAddress,
        collector: stack.CollectorProcess,
        progress: Progress,
    ) -> None:
        self.made = Made()
        self.spooled: Counter[str] = Counter()
        self.streamed_people = 0
        self._folder = folder
        self._broker = broker
        self._collector = collector
        self._progress = progress
        folder.mkdir(parents=True)

    def run(self, records: Sequence[PersonRecord]) -> None:
        """Every home: observations into its spool, over MQTT, until the collector has confirmed all."""
        shown = self._progress.add_task("homes: wearable, gateway, MQTT, Parquet", total=len(records))
        waiting: list[tuple[Spool, Forwarder]] = []
        for number, record in enumerate(records):
            waiting.append(self._fill(record, is_live=number < LIVE_PEOPLE))
            if len(waiting) >= CONCURRENT_HOMES:
                self._finish(*waiting.pop(0))
                self._progress.advance(shown)
        for spool, forwarder in waiting:
            self._finish(spool, forwarder)
            self._progress.advance(shown)

    def _fill(self, record: PersonRecord, *, is_live: bool) -> tuple[Spool, Forwarder]:
        person = record.person
        spool = Spool(
            self._folder / f"{person.gateway}.sqlite",
            clock=system_clock,
            key=load_key(self._folder / f"{person.gateway}.key"),
        )
        forwarder = Forwarder(spool, self._broker, site=person.site, gateway=person.gateway)
        if is_live:
            self._fill_live(record, spool)
        else:
            batch = list(record.observations())
            for observation in batch:
                self.made.add(observation)
            spool.append(batch)
        spool.seal(force=True)
        forwarder.start()
        return spool, forwarder

    def _fill_live(self, record: PersonRecord, spool: Spool) -> None:
        """History as backlog, the last days of the ring and the end of the last night over the air."""
        ring_from = at_local(record.last - timedelta(days=RING_DAYS - 1), 0, record.zone)
        history = list(record.observations(band="ring"))
        ring_memory = [
            o for o in history if isinstance(o, StepCount | SleepStage) and o.start_utc >= ring_from
        ]
        streamed = _last_blocks(record, history)
        over_the_air = {id(observation) for observation in (*ring_memory, *streamed)}
        for observation in history:
            self.made.add(observation)
        spool.append(observation for observation in history if id(observation) not in over_the_air)
        visits = asyncio.run(self._over_the_air(record, spool, ring_memory, streamed))
        # every visit reads the battery of the wearable: one observation made each time
        self.made.add_samples(Battery.kind, visits)
        self.streamed_people += 1

    async def _over_the_air(
        self,
        record: PersonRecord,
        spool: Spool,
        ring_memory: Sequence[Observation],
        streamed: Sequence[RrInterval],
    ) -> int:
        """Stream the strap and visit the ring; returns how often a battery was read."""
        person = record.person
        reads = 0
        if streamed:
            rr_ms = [ms for block in streamed for ms in unpack_u16(block.rr_ms)]
            stream = air.StrapStream(person.strap, streamed[0].start_utc, rr_ms, LIVE_PER_NOTIFICATION)
            reads += await air.stream_strap(person.gateway, spool, stream)
        now = at_local(record.last + timedelta(days=1), 0, record.zone)
        reads += await air.pull_ring(person.gateway, spool, person.band, ring_memory, now)
        return reads

    def _finish(self, spool: Spool, forwarder: Forwarder) -> None:
        """Wait until the collector has everything; free the home."""
        if not stack.drain(forwarder, self._collector, DRAIN_S):
            raise UserError(f"a gateway was not drained within {DRAIN_S} s: see collector.log")
        for kind, counts in spool.counts().by_kind.items():
            self.spooled[kind] += counts.appended
        forwarder.stop()
        spool.close()


def _last_blocks(record: PersonRecord, history: Sequence[Observation]) -> list[RrInterval]:
    night = record.night_rr(record.last)
    if night is None:
        return []
    start, _ = night
    return [o for o in history if isinstance(o, RrInterval) and o.start_utc >= start][-LIVE_BLOCKS:]
