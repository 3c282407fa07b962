"""The beat clock: exact with an exact clock, calm under jitter, honest about silence."""

import random

from hypothesis import given
from hypothesis import strategies as st

from devices.blobs import unpack_u16
from devices.clock import SECOND
from devices.drivers.session import Beats
from devices.ids import DeviceId
from devices.observations import RrInterval
from ingest.edge.beats import GAP_US, SLACK_US, BeatClock

T0 = 1_705_320_000 * SECOND


def clock_from(subscribed_utc: int = T0) -> BeatClock:
    return BeatClock(DeviceId("strap-1"), "c1", subscribed_utc)


def place(clock: BeatClock, arrival_utc: int, *rr_ms: int) -> RrInterval:
    return clock.place(Beats(arrival_utc, rr_ms, "ecg", "sig-heart-rate/1"))


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
    end = None
    for _ in range(2000):
        truth += 803_000
        run = place(clock, truth + rng.randrange(0, SLACK_US), 803)
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
        assert clock.ahead_count == 0


def test_beats_that_run_ahead_are_kept_and_counted() -> None:
    clock = clock_from()
    runs = [place(clock, T0 + SECOND, 1000) for _ in range(5)]
    assert [run.gap_before_ms for run in runs] == [0] * 5
    assert clock.ahead_count == 2


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
