"""The beat clock: exact with an exact clock, calm under jitter, honest about silence."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.blobs import unpack_u16
from devices.clock import SECOND
from devices.drivers.session import Beats
from devices.ids import DeviceId
from devices.observations import RrInterval
from ingest.edge.beats import (
    AHEAD,
    AHEAD_US,
    BACKLOG_US,
    CLOCK_BACK,
    COPY,
    GAP_US,
    LOST,
    SLACK_US,
    BeatClock,
    Refusal,
)

T0 = 1_705_320_000 * SECOND


def clock_from(subscribed_utc: int = T0) -> BeatClock:
    return BeatClock(DeviceId("strap-1"), "c1", subscribed_utc)


def place(clock: BeatClock, arrival_utc: int, *rr_ms: int) -> RrInterval:
    (run,) = clock.place([frame(arrival_utc, *rr_ms)])
    assert isinstance(run, RrInterval)
    return run


def frame(arrival_utc: int, *rr_ms: int) -> Beats:
    return Beats(arrival_utc, rr_ms, "ecg", "sig-heart-rate/1")


def reason(clock: BeatClock, arrival_utc: int, *rr_ms: int) -> str | None:
    (placed,) = clock.place([frame(arrival_utc, *rr_ms)])
    return placed.reason if isinstance(placed, Refusal) else None


def test_first_run_ends_at_its_arrival() -> None:
    run = place(clock_from(), T0 + 10 * SECOND, 800, 900)
    assert run.start_utc == T0 + 8_300_000
    assert run.end_utc == T0 + 10 * SECOND
    assert run.gap_before_ms == 8300
    assert (run.connection, run.first_beat) == ("c1", 0)


def test_beats_from_before_the_subscription_are_no_gap() -> None:
    run = place(clock_from(), T0 + SECOND, 800, 900)
    assert run.start_utc == T0 - 700_000
    assert run.gap_before_ms == 0


def test_a_long_interval_is_not_a_gap() -> None:
    clock = clock_from()
    place(clock, T0 + SECOND, 1000)
    run = place(clock, T0 + SECOND + 63_998_000, 63_998)
    assert run.gap_before_ms == 0
    assert run.start_utc == T0 + SECOND


def test_silence_is_a_gap_of_its_length() -> None:
    clock = clock_from()
    place(clock, T0 + SECOND, 1000)
    run = place(clock, T0 + SECOND + 453 * SECOND + 800_000, 800)
    assert run.gap_before_ms == 453_000
    assert run.start_utc == T0 + 454 * SECOND


def test_gap_tolerance_from_both_sides() -> None:
    for extra, gap in ((0, 0), (1000, 2001)):
        clock = clock_from()
        place(clock, T0 + SECOND, 1000)
        run = place(clock, T0 + 2 * SECOND + GAP_US + extra, 1000)
        assert run.gap_before_ms == gap


def test_lost_beats_break_the_chain_even_when_arrival_cannot_tell() -> None:
    clock = clock_from()
    place(clock, T0 + SECOND, 1000)
    clock.lose()
    run = place(clock, T0 + SECOND + 900_000, 1000)
    assert run.gap_before_ms == 1
    assert run.start_utc == T0 + SECOND
    assert place(clock, T0 + SECOND + 1_900_000, 1000).gap_before_ms == 0


def test_jitter_does_not_move_the_chain() -> None:
    """Straps notify once a second: arrival says little about when the beat was."""
    rng = random.Random(3)
    clock, truth = clock_from(), T0
    end, arrival = None, 0
    for beat in range(2000):
        truth += (ms := 803 + beat % 2) * 1000
        arrival = max(arrival, truth + rng.randrange(0, SLACK_US))
        run = place(clock, arrival, ms)
        assert end is None or (run.start_utc == end and run.gap_before_ms == 0)
        end = run.end_utc
    assert end is not None
    assert abs(end - truth) <= SLACK_US


def test_crystal_drift_does_not_accumulate() -> None:
    """Both ways, 100 ppm, two days: no gap, no overlap to speak of, never more than the slack away."""
    for ppm in (-100, 100):
        clock, previous = clock_from(), None
        for beat in range(200_000):
            arrival = T0 + (beat + 1) * (864_000 * (1_000_000 + ppm) // 1_000_000)
            run = place(clock, arrival, 864)
            if previous is not None:
                assert run.gap_before_ms == 0
                assert abs(run.start_utc - previous.end_utc) <= 500
                assert run.start_utc > previous.start_utc
            previous = run
        assert previous is not None
        assert abs(previous.end_utc - arrival) <= SLACK_US + 1000


def test_more_heart_time_than_time_is_refused() -> None:
    """Different frames at one instant: kept up to the tolerance, refused beyond it, kept again later."""
    clock = clock_from()
    reasons = [reason(clock, T0 + SECOND, 1000 + i) for i in range(5)]
    assert reasons == [None, None, AHEAD, AHEAD, AHEAD]
    exact = clock_from()
    place(exact, T0 + SECOND, 1000)
    assert reason(exact, T0 + SECOND, AHEAD_US // 1000) is None
    assert reason(exact, T0 + SECOND, 10) == AHEAD
    assert reason(clock, T0 + 3 * SECOND, 900) is None


@pytest.mark.parametrize("rr_ms", [400, 667, 800, 1500])
@pytest.mark.parametrize("is_ticking", [False, True])
@pytest.mark.parametrize("copies", [1, 2])
def test_copies_are_refused_and_equal_neighbours_kept(rr_ms: int, is_ticking: bool, copies: int) -> None:
    """A heart that says the same interval for ten minutes; each notification comes several times."""
    clock, kept, refused = clock_from(), 0, 0
    tick = SECOND if is_ticking else rr_ms * 1000
    truth, told, now = 0, 0, T0
    for _ in range(600):
        now += tick
        truth = (now - T0) // (rr_ms * 1000)
        fresh, told = truth - told, truth
        if not fresh:
            continue
        for copy in range(1 + copies):
            (placed,) = clock.place([frame(now + 2_000 * copy, *[rr_ms] * fresh)])
            kept += 0 if isinstance(placed, Refusal) else placed.sample_count
            refused += isinstance(placed, Refusal) and placed.reason == COPY
    assert kept == truth
    assert refused >= 300 * copies


def test_equal_frames_of_a_stalled_link_are_no_copies() -> None:
    clock = clock_from()
    for beat in range(100):
        place(clock, T0 + (beat + 1) * 800_000, 800)
    at = T0 + 110 * 800_000
    placed = clock.place([frame(at + i * 1000, 800) for i in range(10)])
    assert [isinstance(run, RrInterval) and run.gap_before_ms for run in placed] == [0] * 10
    assert place(clock, at + 800_000, 800).start_utc == at


@given(
    rr_ms=st.integers(400, 1500),
    pieces=st.lists(st.tuples(st.integers(1, 12), st.integers(100, 900)), min_size=1, max_size=6),
    is_together=st.booleans(),
    per_frame=st.integers(1, 3),
)
def test_equal_frames_of_a_stall_that_ends_in_pieces_are_no_copies(
    rr_ms: int, pieces: list[tuple[int, int]], is_together: bool, per_frame: int
) -> None:
    """However a stall is cut into pieces (frames, ms to the next), all are kept; a copy later is not."""
    clock, now, beat = clock_from(), T0, rr_ms * 1000
    for _ in range(40):
        now += per_frame * beat
        place(clock, now, *[rr_ms] * per_frame)
    held = sum(count for count, _ in pieces)
    now += max(held * beat, GAP_US)
    kept = 0
    for count, pause_ms in pieces:
        piece = [frame(now + i * 1000, rr_ms) for i in range(count)]
        placed = clock.place(piece) if is_together else [run for each in piece for run in clock.place([each])]
        kept += sum(isinstance(run, RrInterval) for run in placed)
        now += pause_ms * 1000
    assert kept == held
    for _ in range(2 * BACKLOG_US // beat):
        now += beat
        place(clock, now, rr_ms)
    assert reason(clock, now + 2000, rr_ms) == COPY


@pytest.mark.parametrize("silence_s", [3, 60])
def test_a_copying_connection_is_not_believed_after_a_silence(silence_s: int) -> None:
    """Every notification comes twice, beats were lost on the way: the copy does not fill their time."""
    clock, now = clock_from(), T0
    for beat in range(60):
        now += 800_000 if beat != 40 else silence_s * SECOND
        place(clock, now, 800)
        assert reason(clock, now + 2000, 800) == COPY


def test_the_first_frame_of_a_connection_after_a_silence_is_not_doubled() -> None:
    """A leaked session copies from its first notification on; nothing vouches for it yet."""
    clock = clock_from()
    place(clock, T0 + 30 * SECOND, 800)
    assert reason(clock, T0 + 30 * SECOND + 2000, 800) == COPY


@pytest.mark.parametrize("pieces", [[20], [1, 19], [4, 8, 8]])
def test_a_link_that_stands_still_once_it_is_subscribed_costs_no_beat(pieces: list[int]) -> None:
    """Sixteen seconds of beats, all held back, come in pieces: each is kept, none before the subscription."""
    clock, arrival, beat = clock_from(), T0 + 17 * SECOND, 0
    for count in pieces:
        placed = clock.place([frame(arrival, 800 + beat + each) for each in range(count)])
        assert not [one for one in placed if isinstance(one, Refusal)]
        arrival, beat = arrival + SECOND // 5, beat + count
    assert reason(clock, arrival + BACKLOG_US, *[900] * 60) == AHEAD


@pytest.mark.parametrize("is_together", [True, False])
def test_clock_recovers_after_a_stall(is_together: bool) -> None:
    """Ten seconds of silence, then all that was held back: nothing refused, nothing ahead for long."""
    clock, rng = clock_from(), random.Random(5)
    now, beats = T0, 0
    for _ in range(100):
        now += (ms := rng.randrange(700, 900)) * 1000
        place(clock, now, ms)
    held = [rng.randrange(700, 900) for _ in range(12)]
    now += sum(held) * 1000
    burst = [frame(now + i * 30_000, ms) for i, ms in enumerate(held)]
    placed = clock.place(burst) if is_together else [run for each in burst for run in clock.place([each])]
    beats = sum(isinstance(run, RrInterval) for run in placed)
    assert beats == 12
    if is_together:
        assert not clock.gaps
    for _ in range(300):
        now += (ms := rng.randrange(700, 900)) * 1000
        run = place(clock, now, ms)
    assert abs(run.end_utc - now) <= AHEAD_US
    assert reason(clock, now, 2_000) == AHEAD or is_together


@pytest.mark.parametrize(("jitter_us", "late"), [(0, 4), (150_000, 4), (SECOND, 24)])
def test_a_single_lost_notification_is_noticed(jitter_us: int, late: int) -> None:
    """One beat of a second is lost: the gap is marked within so many notifications, once."""
    for seed in range(20):
        clock, rng = clock_from(), random.Random(seed)
        now, marks = T0, list[int]()
        for beat in range(300):
            now += (ms := rng.randrange(950, 1050)) * 1000
            if beat == 150:
                continue
            run = place(clock, now + rng.randrange(0, jitter_us + 1), ms)
            if run.gap_before_ms and beat:
                marks.append(beat)
        assert len(marks) <= 1
        if jitter_us < SECOND:
            assert marks
        assert all(150 < mark <= 150 + late for mark in marks)
        assert [gap.reason for gap in clock.gaps][-1:] == [LOST] * len(marks)


def test_a_clock_set_back_loses_nothing() -> None:
    clock = clock_from()
    place(clock, T0 + SECOND, 1000)
    run = place(clock, T0 - 3600 * SECOND, 1000)
    assert run.gap_before_ms is None
    assert run.start_utc == T0 - 3601 * SECOND
    assert place(clock, T0 - 3599 * SECOND, 1000).gap_before_ms == 0
    assert [gap.reason for gap in clock.gaps] == [CLOCK_BACK]


@given(
    st.lists(
        st.one_of(st.lists(st.integers(1, 63_999), min_size=1, max_size=9), st.integers(2_001, 600_000)),
        max_size=60,
    )
)
def test_exact_clock_gives_exact_runs(steps: list[list[int] | int]) -> None:
    """Beats (lists, ms) and silences (numbers, ms) come back as they were, to the microsecond."""
    clock, now, silence, beats = clock_from(), T0, 0, 0
    for step in steps:
        if isinstance(step, int):
            silence += step
            now += step * 1000
            continue
        began = now
        now += sum(step) * 1000
        run = place(clock, now, *step)
        assert (run.start_utc, run.gap_before_ms, run.first_beat) == (began, silence, beats)
        assert list(unpack_u16(run.rr_ms)) == step
        silence, beats = 0, beats + len(step)


def test_copies_of_frames_of_unequal_length_are_refused() -> None:
    """One to three equal intervals a frame, each notified twice: a long frame's wait is no stall."""
    clock, rng, now = clock_from(), random.Random(7), T0
    for _ in range(2000):
        rr_ms = (rng.randrange(600, 1100),) * rng.randint(1, 3)
        now += 1000 * sum(rr_ms)
        assert place(clock, now, *rr_ms).rr_ms
        if rng.random() < 0.1:
            assert reason(clock, now, *rr_ms) == COPY
