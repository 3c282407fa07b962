"""The spool: durable, numbered, and blocks instead of single beats."""

import sqlite3
from collections import Counter

import msgspec
import pytest

from devices.blobs import unpack_u16
from devices.clock import MINUTE
from devices.observations import RrInterval, StepCount
from ingest.edge.spool import Spool
from ingest.wire.messages import decode_batch
from tests.fixtures_ingest import T0, beats, hourly, one_of_each, steps


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def spool(tmp_path, clock):
    spool = Spool(tmp_path / "spool.db", clock=clock)
    yield spool
    spool.close()


def sealed(spool):
    return [
        observation
        for message in spool.pending()
        for observation in decode_batch(message.payload, message.kind).batch.observations
    ]


def notifications(count, *, device="strap-1"):
    """One beat a second, one notification each."""
    return [
        beats(i, [1000], start_utc=T0 + i * 1_000_000, gap=0 if i else None, device=device)
        for i in range(count)
    ]


def test_single_beats_become_one_block(spool):
    spool.append(notifications(300))
    assert spool.seal() == 1
    (block,) = sealed(spool)
    assert (block.first_beat, block.gap_before_ms, block.sample_count) == (0, None, 300)
    assert block.start_utc == T0


def test_the_open_end_of_a_run_waits_for_more(spool, clock):
    spool.append(notifications(299))
    assert spool.seal() == 0
    clock.now += 5 * MINUTE
    assert spool.seal() == 1


def test_a_clock_set_back_does_not_hold_it_for_ever(spool, clock):
    spool.append(notifications(3))
    clock.now -= 60 * MINUTE
    assert spool.seal() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"gap_before_ms": 3000},
        {"gap_before_ms": None},
        {"connection": "c-2"},
        {"first_beat": 2},
        {"sensor": "ppg"},
        {"source": "other/1"},
        {"start_utc": T0 + 1_000_000 + 50_001},
    ],
)
def test_what_does_not_continue_is_not_joined(spool, change):
    first, second = notifications(2)
    spool.append([first, msgspec.structs.replace(second, **change)])
    spool.seal(force=True)
    assert len(sealed(spool)) == 2


def test_small_corrections_of_the_beat_clock_do_not_add_up(spool):
    runs = [
        msgspec.structs.replace(run, start_utc=run.start_utc + 500 * i)
        for i, run in enumerate(notifications(250))
    ]
    spool.append(runs)
    spool.seal(force=True)
    starts = {run.first_beat: run.start_utc for run in runs}
    blocks = sealed(spool)
    assert len(blocks) == 3
    for block in blocks:
        assert block.start_utc == starts[block.first_beat]


def test_a_backlog_is_cut_into_hours_and_nothing_changes(spool):
    run = hourly(1, count=8000)
    spool.append([run])
    spool.seal(force=True)
    blocks = sealed(spool)
    assert [block.sample_count for block in blocks] == [3600, 3600, 800]
    assert b"".join(block.rr_ms for block in blocks) == run.rr_ms
    assert [block.first_beat for block in blocks] == [0, 3600, 7200]
    assert [block.gap_before_ms for block in blocks] == [None, 0, 0]
    assert blocks[2].start_utc == run.start_utc + 1000 * sum(unpack_u16(run.rr_ms)[:7200])
    assert blocks[2].end_utc == run.end_utc


def test_what_cannot_be_sent_is_sealed_by_the_hour(spool, clock):
    """A day of a strap, a beat a second, looked through every five minutes without a connection."""
    made: list[RrInterval] = []
    whole = hourly(1, count=86_400)
    for first in range(0, 86_400, 300):
        start = made[-1].end_utc if made else whole.start_utc
        blob = whole.rr_ms[2 * first : 2 * (first + 300)]
        gap = 0 if made else None
        run = msgspec.structs.replace(whole, start_utc=start, first_beat=first, rr_ms=blob, gap_before_ms=gap)
        made.append(run)
        spool.append([run])
        spool.append([steps(T0 + first * 1_000_000, [7] * 5)])
        clock.now += 5 * MINUTE
        spool.seal(is_live=False)
    by_kind = Counter(message.kind for message in spool.pending())
    assert by_kind == {"rr_interval": 24, "step_count": 24}
    blocks = [block for block in sealed(spool) if isinstance(block, RrInterval)]
    assert [block.sample_count for block in blocks] == [3600] * 24
    assert b"".join(block.rr_ms for block in blocks) == whole.rr_ms
    # the line is back: what waits is due at once, in live messages
    spool.append([msgspec.structs.replace(whole, connection="c-2", rr_ms=whole.rr_ms[:1200])])
    assert spool.seal(is_live=False) == 0
    assert spool.seal() == 1
    assert [block.sample_count for block in sealed(spool)[-2:]] == [300, 300]


def test_a_clock_set_back_does_not_hold_a_backlog(spool, clock):
    spool.append(notifications(3))
    assert spool.seal(is_live=False) == 0
    clock.now -= MINUTE
    assert spool.seal(is_live=False) == 1


def test_contiguous_steps_are_joined(spool):
    spool.append([steps(T0, [1, 2]), steps(T0 + 2 * MINUTE, [3]), steps(T0 + 4 * MINUTE, [4])])
    spool.seal(force=True)
    first, second = sealed(spool)
    assert isinstance(first, StepCount)
    assert list(unpack_u16(first.counts)) == [1, 2, 3]
    assert second.start_utc == T0 + 4 * MINUTE


def test_a_revised_slot_gets_the_higher_number(spool):
    spool.append([steps(T0, [1]), steps(T0, [5])])
    spool.seal(force=True)
    first, second = spool.pending()
    assert decode_batch(first.payload, "step_count").batch.observations == [steps(T0, [1])]
    assert decode_batch(second.payload, "step_count").batch.observations == [steps(T0, [5])]
    assert second.sequence > first.sequence


def test_messages_hold_about_64_kib(spool):
    spool.append([hourly(hour) for hour in range(20)])
    spool.seal(force=True)
    assert max(len(message.payload) for message in spool.pending()) < 66_000
    assert len(spool.pending()) == 3


def test_numbers_are_never_used_again(tmp_path, clock):
    spool = Spool(tmp_path / "spool.db", clock=clock)
    numbers = []
    for _ in range(3):
        spool.append(one_of_each())
        spool.seal(force=True)
        made = [message.sequence for message in spool.pending()]
        numbers += made
        assert spool.confirm(made) == len(made)
        spool.close()
        spool = Spool(tmp_path / "spool.db", clock=clock)
    spool.close()
    assert numbers == sorted(set(numbers))
    clock.now += 60 * MINUTE
    another = Spool(tmp_path / "made-anew.db", clock=clock)
    another.append(one_of_each())
    another.seal(force=True)
    assert another.pending()[0].sequence > numbers[-1]
    another.close()


def test_a_sealed_message_never_changes(spool, clock):
    spool.append(notifications(300))
    spool.seal(force=True)
    before = spool.pending()
    clock.now += MINUTE
    spool.append([beats(300, [1000], start_utc=T0 + 300_000_000)])
    spool.seal(force=True)
    assert spool.pending()[: len(before)] == before


def test_cursors_move_with_the_observations(spool):
    assert spool.cursor("ring-1/steps") is None
    spool.append([steps(T0, [1])], cursors={"ring-1/steps": 5})
    spool.append([], cursors={"ring-1/steps": 6})
    assert spool.cursor("ring-1/steps") == 6


def test_neither_observations_nor_cursors_when_the_disk_refuses(spool):
    spool._database.execute(
        "create trigger full before insert on cursor begin select raise(abort, 'full'); end"
    )
    with pytest.raises(sqlite3.IntegrityError):
        spool.append([steps(T0, [1])], cursors={"ring-1": 5})
    assert spool.counts().appended == 0
    assert spool.seal(force=True) == 0


def test_what_its_kind_forbids_does_not_enter(spool):
    assert spool.append([beats(0, [0]), beats(0, [800, 900])]) == 2
    spool.seal(force=True)
    counts = spool.counts()
    assert (counts.appended, counts.refused, counts.sealed) == (2, 1, 2)


def test_another_connection_sees_what_append_returned_for(spool, tmp_path):
    spool.append([steps(T0, [1, 2])])
    other = sqlite3.connect(tmp_path / "spool.db")
    assert other.execute("select sum(samples) from observation").fetchone() == (2,)
    assert spool._database.execute("pragma synchronous").fetchone() == (2,)
    assert spool._database.execute("pragma journal_mode").fetchone() == ("wal",)
    other.close()
