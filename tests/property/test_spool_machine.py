"""The spool under any order of appends, seals, confirmations, restarts: every sample somewhere, once."""

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from devices.blobs import unpack_u16
from devices.clock import MINUTE
from ingest.edge.spool import Spool
from ingest.wire.messages import decode_batch
from tests.fixtures_ingest import T0, beats, steps


class SpoolMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = T0
        self.spool = self.open()
        self.beat = 0
        self.time = T0
        self.minute = 0
        self.made: Counter[tuple[str, int]] = Counter()
        self.arrived: Counter[tuple[str, int]] = Counter()
        self.payloads: dict[int, bytes] = {}
        self.confirmed: set[int] = set()

    def open(self) -> Spool:
        return Spool(Path(self.folder.name) / "spool.db", clock=lambda: self.now)

    @rule(count=st.sampled_from([1, 2, 50, 299, 4000]), has_gap=st.booleans())
    def beats_come(self, count, has_gap):
        rr_ms = [600 + (self.beat + i) % 500 for i in range(count)]
        self.time += 3_000_000 if has_gap else 0
        self.spool.append([beats(self.beat, rr_ms, start_utc=self.time, gap=3000 if has_gap else 0)])
        self.made.update(("rr", self.beat + i) for i in range(count))
        self.beat += count
        self.time += 1000 * sum(rr_ms)

    @rule(count=st.integers(1, 30), skip=st.integers(0, 2))
    def steps_come(self, count, skip):
        self.minute += skip
        numbers = [(self.minute + i) % 300 for i in range(count)]
        self.spool.append([steps(T0 + self.minute * MINUTE, numbers)])
        self.made.update(("step", self.minute + i) for i in range(count))
        self.minute += count

    @rule(force=st.booleans())
    def seal(self, force):
        self.spool.seal(force=force)

    @rule(minutes=st.integers(-10, 10))
    def time_goes(self, minutes):
        self.now += minutes * MINUTE

    @rule(every=st.integers(1, 3))
    def confirm_some(self, every):
        for message in self.spool.pending()[::every]:
            self.take(message)
            assert self.spool.confirm([message.sequence, message.sequence]) == 1
            self.confirmed.add(message.sequence)

    @rule()
    def restart(self):
        self.spool.close()
        self.spool = self.open()

    def take(self, message):
        for one in decode_batch(message.payload, message.kind).batch.observations:
            if message.kind == "rr_interval":
                values = unpack_u16(one.rr_ms)
                assert list(values) == [600 + (one.first_beat + i) % 500 for i in range(len(values))]
                self.arrived.update(("rr", one.first_beat + i) for i in range(len(values)))
            else:
                minute = (one.start_utc - T0) // MINUTE
                values = unpack_u16(one.counts)
                assert list(values) == [(minute + i) % 300 for i in range(len(values))]
                self.arrived.update(("step", minute + i) for i in range(len(values)))

    @invariant()
    def numbers_rise_and_messages_stay(self):
        for message in self.spool.pending():
            assert message.sequence not in self.confirmed
            if message.sequence not in self.payloads:
                assert message.sequence > max(self.payloads, default=0)
            assert self.payloads.setdefault(message.sequence, message.payload) == message.payload

    @invariant()
    def counts_add_up(self):
        counts = self.spool.counts()
        assert counts.appended == counts.waiting + counts.sealed == self.made.total()
        assert counts.confirmed == self.arrived.total()

    def teardown(self):
        self.spool.seal(force=True)
        for message in self.spool.pending():
            self.take(message)
        self.spool.close()
        self.folder.cleanup()
        assert self.arrived == self.made


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
