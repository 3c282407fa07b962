"""Codecs over all bytes: what is encoded comes back, and only DecodeError leaves."""

import contextlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.codec import battery, colmi, colmi_hrv, current_time, device_information, heart_rate
from devices.errors import DecodeError

U16 = st.integers(0, 65_535)
DAYS = st.dates(date(2000, 1, 1), date(2099, 12, 31))
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)).map(lambda t: t.replace(tzinfo=UTC))  # noqa: DTZ001

DECODERS: dict[str, Callable[[bytes], object]] = {
    "heart rate": heart_rate.decode,
    "battery": battery.decode,
    "text": device_information.decode_text,
    "system id": device_information.decode_system_id,
    "current time": current_time.decode,
    "local time": current_time.decode_local,
    "ring frame": colmi.unpack,
    "ring clock": colmi.decode_set_time,
    "ring battery": colmi.decode_battery,
    "ring steps": lambda b: colmi.StepsAnswer().feed(b),
    "ring steps request": colmi.decode_steps_request,
    "ring heart rates": lambda b: colmi.HeartRateAnswer().feed(b),
    "ring heart rate request": colmi.decode_heart_rate_request,
    "ring variability": lambda b: colmi_hrv.HrvAnswer().feed(b),
    "ring variability request": colmi_hrv.decode_request,
    "ring big frame": lambda b: colmi.BigAnswer(colmi.SLEEP).feed(b),
    "ring sleep": colmi.decode_sleep,
}

#: Arbitrary bytes, and bytes that pass the checksum of a ring so that the fields behind it are reached.
FRAMES = st.one_of(
    st.binary(max_size=64),
    st.builds(
        colmi.pack,
        st.sampled_from([colmi.SET_TIME, colmi.BATTERY, colmi.HEART_RATE_LOG, colmi.STEPS]),
        st.binary(max_size=14),
    ),
    st.binary(max_size=40).map(lambda payload: colmi.pack_big(colmi.SLEEP, payload)),
)


@pytest.mark.parametrize("name", DECODERS)
@given(payload=FRAMES)
def test_only_decode_errors_leave(name: str, payload: bytes) -> None:
    with contextlib.suppress(DecodeError):
        DECODERS[name](payload)


@given(frames=st.lists(FRAMES, max_size=12))
def test_answers_take_any_sequence(frames: list[bytes]) -> None:
    for answer in (colmi.StepsAnswer(), colmi.HeartRateAnswer(), colmi.BigAnswer(colmi.SLEEP)):
        for frame in frames:
            with contextlib.suppress(DecodeError):
                answer.feed(frame)


@given(
    st.builds(
        heart_rate.Measurement,
        bpm=U16,
        has_contact=st.none() | st.booleans(),
        energy_kj=st.none() | U16,
        rr_ticks=st.lists(U16, max_size=9).map(tuple),
    )
)
def test_heart_rate_round_trip(measurement: heart_rate.Measurement) -> None:
    assert heart_rate.decode(heart_rate.encode(measurement)) == measurement


@given(st.integers(0, 100))
def test_battery_round_trip(level_pct: int) -> None:
    assert battery.decode(battery.encode(level_pct)) == level_pct


@given(st.text().map(lambda text: text.rstrip("\0")), st.integers(0, 3))
def test_device_information_round_trip(text: str, padding: int) -> None:
    encoded = device_information.encode_text(text) + bytes(padding)
    assert device_information.decode_text(encoded) == text


@given(st.integers(0, 2**40 - 1), st.integers(0, 2**24 - 1))
def test_system_id_round_trip(manufacturer: int, organisation: int) -> None:
    encoded = device_information.encode_system_id(manufacturer, organisation)
    assert device_information.decode_system_id(encoded) == (manufacturer, organisation)


@given(st.none() | st.integers(-48, 56).map(lambda quarters: 15 * quarters), st.integers(0, 255))
def test_local_time_round_trip(offset_min: int | None, saving: int) -> None:
    encoded = current_time.encode_local(offset_min, saving)
    assert current_time.decode_local(encoded) == (offset_min, saving)


@given(MOMENTS, st.integers(0, 15))
def test_current_time_round_trip(moment: datetime, reason: int) -> None:
    decoded = current_time.decode(current_time.encode(current_time.WallTime(moment, reason)))
    assert decoded.adjust_reason == reason
    assert timedelta(0) <= moment - decoded.moment + timedelta(microseconds=1) < timedelta(microseconds=3908)
    assert current_time.decode(current_time.encode(decoded)) == decoded


@given(MOMENTS)
def test_ring_clock_round_trip(moment: datetime) -> None:
    assert colmi.decode_set_time(colmi.encode_set_time(moment)) == moment.replace(microsecond=0)


@given(DAYS, st.dictionaries(st.integers(0, 95), st.tuples(U16, U16.map(lambda c: c * 10), U16), max_size=96))
def test_ring_steps_round_trip(day: date, memory: dict[int, tuple[int, int, int]]) -> None:
    slots = [colmi.StepSlot(day, slot, *memory[slot]) for slot in sorted(memory)]
    answer = colmi.StepsAnswer()
    done = [answer.feed(frame) for frame in colmi.encode_steps(slots)]
    assert done == [False] * (len(done) - 1) + [True]
    assert answer.slots == slots


@given(DAYS, st.binary(min_size=288, max_size=288))
def test_ring_heart_rates_round_trip(day: date, bpm: bytes) -> None:
    log = colmi.HeartRateLog(datetime(day.year, day.month, day.day, tzinfo=UTC), 5, bpm)
    answer = colmi.HeartRateAnswer()
    done = [answer.feed(frame) for frame in colmi.encode_heart_rates(log)]
    assert done == [False] * (len(done) - 1) + [True]
    assert answer.log == (log if any(bpm) else None)


@given(st.integers(0, 6), st.binary(min_size=48, max_size=48))
def test_ring_variability_round_trip(days_ago: int, value_ms: bytes) -> None:
    log = colmi_hrv.HrvLog(days_ago, 30, value_ms)
    answer = colmi_hrv.HrvAnswer()
    done = [answer.feed(frame) for frame in colmi_hrv.encode(log)]
    assert done == [False] * (len(done) - 1) + [True]
    assert answer.log == (log if any(value_ms) else None)


NIGHTS = st.builds(
    colmi.SleepDay,
    st.integers(0, 6),
    st.integers(-720, 0).map(lambda m: m or -1),
    st.integers(1, 600),
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 255)), max_size=60).map(tuple),
).filter(lambda night: night.start_min % 1440 > night.end_min)


@given(st.lists(NIGHTS, max_size=7), st.integers(1, 60))
def test_ring_sleep_round_trip(nights: list[colmi.SleepDay], chunk: int) -> None:
    frame = colmi.encode_sleep(nights)
    answer = colmi.BigAnswer(colmi.SLEEP)
    done = [answer.feed(frame[at : at + chunk]) for at in range(0, len(frame), chunk)]
    assert done == [False] * (len(done) - 1) + [True]
    assert list(colmi.decode_sleep(answer.payload)) == nights
