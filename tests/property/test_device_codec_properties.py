"""Codecs of the further wearables over all bytes, and the step counter over all counters."""

import contextlib
import json
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.blobs import unpack_u16
from devices.clock import DAY, MINUTE, SECOND
from devices.codec import banglejs, infinitime, polar_pmd
from devices.codec import physical_activity as pams
from devices.drivers.bangle import block_observations
from devices.drivers.polar_ppi import FrameReader
from devices.drivers.session import Beats, Notification
from devices.drivers.step_counter import SETTLED_LOG, VALUE_LOG, StepCounter
from devices.errors import DecodeError
from devices.ids import DeviceId
from devices.observations import StepCount

START = 1_705_320_000 * SECOND
DEVICE = DeviceId("device-1")
U8, U16, U24, U32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 24, 32))

DECODERS: dict[str, Callable[[bytes], object]] = {
    "polar command": polar_pmd.decode_command,
    "polar answer": polar_pmd.decode_answer,
    "polar features": polar_pmd.decode_features,
    "polar intervals": polar_pmd.decode_ppi,
    "infinitime steps": infinitime.decode_steps,
    "infinitime motion": infinitime.decode_motion,
    "bangle lines": lambda payload: banglejs.Lines().feed(payload),
    "bangle message": banglejs.decode_message,
    "bangle request": banglejs.decode_request,
    "activity steps": pams.decode_step_summary,
    "activity instant": pams.decode_sleep_instant,
    "activity night": pams.decode_sleep_summary,
}

#: JSON of any shape, and with the names that messages have.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["act"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["t", "ts", "stp", "hrm", "mov", "act", "state", "count"]), inner)
    ),
    max_leaves=12,
)
ACT = st.fixed_dictionaries({"t": st.sampled_from(["act", "actfetch", "clock"])}, optional=dict.fromkeys(
    ["ts", "stp", "hrm", "mov", "act", "state", "count", "ms"], JSON
))  # fmt: skip
#: Arbitrary bytes, and bytes that get past the head of each protocol.
FRAMES = st.one_of(
    st.binary(max_size=64),
    st.binary(max_size=40).map(lambda tail: b"\x03" + bytes(9) + tail),
    st.binary(min_size=14, max_size=60).map(lambda tail: b"\x80" + tail),
    (JSON | ACT).map(lambda value: json.dumps(value).encode()),
    st.just(b"[" * 100_000),
    st.just(b'{"t":"act","stp":' + b"9" * 5000 + b"}"),
)


@pytest.mark.parametrize("name", DECODERS)
@given(payload=FRAMES)
def test_only_decode_errors_leave(name: str, payload: bytes) -> None:
    with contextlib.suppress(DecodeError):
        DECODERS[name](payload)


SAMPLES = st.builds(
    polar_pmd.Sample, U8, U16, U16, is_blocked=st.booleans(), has_contact=st.none() | st.booleans()
)
PPI = st.builds(
    polar_pmd.Frame,
    st.none() | st.integers(1, 2**64 - 1),
    st.lists(SAMPLES, max_size=39).map(tuple),
)


@given(PPI)
def test_polar_round_trip(frame: polar_pmd.Frame) -> None:
    assert polar_pmd.decode_ppi(polar_pmd.encode_ppi(frame)) == frame


@given(U8, U8, U8, st.frozensets(st.integers(0, 15)))
def test_polar_control_round_trip(op: int, measurement: int, error: int, offered: frozenset[int]) -> None:
    assert polar_pmd.decode_command(polar_pmd.encode_command(op, measurement)) == (op, measurement)
    answer = polar_pmd.Answer(op, measurement, error)
    assert polar_pmd.decode_answer(polar_pmd.encode_answer(answer)) == answer
    assert polar_pmd.decode_features(polar_pmd.encode_features(sorted(offered))) == offered


@given(PPI, st.integers(0, 30_000_000))
def test_polar_keeps_what_is_trusted(frame: polar_pmd.Frame, delay: int) -> None:
    """Every trusted interval once, in order, none after arrival, no two sides of a doubt in one run."""
    arrival = START + delay
    items = FrameReader().read(Notification(polar_pmd.encode_ppi(frame), arrival))
    trusted = [
        sample.interval_ms
        for sample in frame.samples
        if not sample.is_blocked
        and sample.has_contact is not False
        and sample.interval_ms > 0
        and sample.error_ms <= 30
    ]
    runs = [item for item in items if isinstance(item, Beats)]
    assert [ms for run in runs for ms in run.rr_ms] == trusted
    assert all(run.arrival_utc <= arrival and run.sensor == "ppg" for run in runs)
    assert all(not isinstance(a, Beats) or not isinstance(b, Beats) for a, b in pairwise(items))


@given(U32)
def test_infinitime_round_trip(steps: int) -> None:
    assert infinitime.decode_steps(infinitime.encode_steps(steps)) == steps


@given(st.tuples(*[st.integers(-32_768, 32_767)] * 3))
def test_infinitime_motion_round_trip(acceleration: tuple[int, int, int]) -> None:
    assert infinitime.decode_motion(infinitime.encode_motion(*acceleration)) == acceleration


MS = st.integers(0, 4_000_000_000_000)
BLOCKS = st.builds(banglejs.Block, MS, U16, U8, U16, st.sampled_from(banglejs.ACTIVITIES))
MESSAGES = (
    BLOCKS
    | st.builds(banglejs.Live, U16, U8)
    | st.builds(banglejs.Clock, MS)
    | st.builds(banglejs.FetchState, st.none() | U16)
    | st.builds(banglejs.Other, st.text().filter(lambda t: t not in ("act", "actfetch", "clock")))
)
REQUESTS = st.builds(banglejs.Fetch, MS) | st.builds(banglejs.SetTime, MS) | st.builds(banglejs.AskTime)


@given(st.lists(MESSAGES, max_size=8), st.integers(1, 40))
def test_bangle_round_trip(messages: list[banglejs.Message], chunk: int) -> None:
    """However the lines are cut."""
    text = b"".join(map(banglejs.encode_message, messages))
    joined = banglejs.Lines()
    lines = [line for at in range(0, len(text), chunk) for line in joined.feed(text[at : at + chunk])]
    assert [banglejs.decode_message(line) for line in lines] == messages


@given(REQUESTS)
def test_bangle_request_round_trip(request_: banglejs.Request) -> None:
    assert banglejs.decode_request(banglejs.encode_request(request_).removesuffix(b"\n")) == request_


@given(BLOCKS)
def test_bangle_says_no_more_than_the_block(block: banglejs.Block) -> None:
    """Steps once, over the ten minutes before its stamp; no zero of a watch that may have been off."""
    said = block_observations(DEVICE, block)
    counts = [o for o in said if isinstance(o, StepCount)]
    assert sum(unpack_u16(o.counts)[0] for o in counts) == block.steps
    assert {(o.start_utc, o.end_utc) for o in said} <= {
        (block.end_ms * 1000 - 600 * SECOND, block.end_ms * 1000)
    }
    if block.activity in ("UNKNOWN", "NOT_WORN") and not block.steps and not block.bpm:
        assert not counts


HEADS = st.builds(pams.Head, U16, U16, U32, U32)


def maybe(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[int | None]:
    return st.none() | numbers


@given(st.builds(pams.StepSummary, head=HEADS, walking_steps=maybe(U24), intense_steps=maybe(U24),
                 floor_steps=maybe(U24), distance_m=maybe(U24), worn_s=maybe(U24)))  # fmt: skip
def test_step_summary_round_trip(summary: pams.StepSummary) -> None:
    assert pams.decode_step_summary(pams.encode_step_summary(summary)) == summary


@given(st.builds(pams.SleepInstant, head=HEADS, visible_light=maybe(U24), uv_light=maybe(U24),
                 ir_light=maybe(U24), stage_bits=maybe(U24), bpm=maybe(U8), worn_s=maybe(U24)))  # fmt: skip
def test_sleep_instant_round_trip(instant: pams.SleepInstant) -> None:
    assert pams.decode_sleep_instant(pams.encode_sleep_instant(instant)) == instant


@given(st.builds(
    pams.SleepSummary, head=HEADS, total_sleep_s=maybe(U24), total_wake_s=maybe(U24), bed_s=maybe(U24),
    awakenings=maybe(U16), latency=maybe(U16), efficiency_pct=maybe(st.integers(0, 100)), snoozes=maybe(U16),
    turns=maybe(U16), awake_after_alarm_s=maybe(U24), light_levels=st.tuples(*[maybe(U24)] * 9),
    average_bpm=maybe(U8), worn_s=maybe(U24),
))  # fmt: skip
def test_sleep_summary_round_trip(summary: pams.SleepSummary) -> None:
    assert pams.decode_sleep_summary(pams.encode_sleep_summary(summary)) == summary


#: What happens to a counter: seconds that pass, steps made in them, and whether link or counter is lost.
EVENTS = st.lists(
    st.tuples(st.integers(1, 600), st.integers(0, 400), st.sampled_from(["", "", "link", "counter"])),
    max_size=30,
)


@given(EVENTS)
def test_step_counter_adds_up(events: list[tuple[int, int, str]]) -> None:
    """Over lost links and resets that were heard: every step once, in intervals that never overlap."""
    now, value, walked = START, 0, 0
    cursors: dict[str, int] = {}
    counts: list[StepCount] = []

    def resumed() -> StepCounter:
        settled = (cursors[SETTLED_LOG], cursors[VALUE_LOG]) if cursors else None
        return StepCounter.resume(DEVICE, "x/1", value, now, settled=settled, midnight=START)

    counter = resumed()
    for seconds, steps, lost in events:
        now += seconds * SECOND
        if lost == "counter":
            value = 0
            counter.read(0)
        value, walked = value + min(steps, seconds), walked + min(steps, seconds)
        if lost == "link":
            counter = resumed()
        else:
            counter.read(value)
        if counter.is_ripe(now):
            harvest = counter.settle(now, is_worn=bool(seconds % 2))
            counts += [item for item in harvest.items if isinstance(item, StepCount)]
            cursors.update(harvest.cursors)
    assert all(before.end_utc <= after.start_utc for before, after in pairwise(counts))
    assert sum(unpack_u16(o.counts)[0] for o in counts) == walked


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6), st.none() | st.integers(0, DAY))
def test_step_counter_resumes_without_inventing(
    before: int, after: int, away_s: int, day: int | None
) -> None:
    """Whatever the counter says after a time away: no more than it says, over no more than that time."""
    now = START + away_s * SECOND
    midnight = None if day is None else now - day
    counter = StepCounter.resume(DEVICE, "x/1", after, now, settled=(START, before), midnight=midnight)
    assert 0 <= counter.pending <= after
    assert counter.settled_utc >= START
    if counter.is_ripe(now + MINUTE):
        for item in counter.settle(now + MINUTE, is_worn=False).items:
            if isinstance(item, StepCount):
                item.check()
                assert item.start_utc >= START
