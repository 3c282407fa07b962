"""Byte vectors: decoded as published, encoded back to the same bytes."""

from datetime import UTC, date, datetime

import pytest

from devices.codec import battery, colmi, current_time, device_information, heart_rate
from devices.codec.heart_rate import Measurement
from devices.errors import DecodeError

H = bytes.fromhex

HEART_RATE_VECTORS = {  # polar-ble-sdk BleHrClientTest.kt; the last is ours
    "00ff": Measurement(255),
    "007f": Measurement(127),
    "018080": Measurement(32896),
    "017f7f": Measurement(32639),
    "0600": Measurement(0, has_contact=True),
    "0400": Measurement(0, has_contact=False),
    "0200": Measurement(0),
    "090000ffff": Measurement(0, energy_kj=65535),
    "08007f80": Measurement(0, energy_kj=32895),
    "1000ffff": Measurement(0, rr_ticks=(65535,)),
    "110000ffff7f80": Measurement(0, rr_ticks=(65535, 32895)),
    "1640c003ac03": Measurement(64, has_contact=True, rr_ticks=(960, 940)),
}


@pytest.mark.parametrize(("frame", "expected"), HEART_RATE_VECTORS.items())
def test_heart_rate_vector(frame: str, expected: Measurement) -> None:
    assert heart_rate.decode(H(frame)) == expected


def test_rr_ticks_become_milliseconds() -> None:
    assert heart_rate.decode(H("110000ffff7f80")).rr_ms == (63_999, 32_124)
    assert heart_rate.decode(H("1640c003ac03")).rr_ms == (938, 918)
    assert heart_rate.encode(Measurement(64, has_contact=True, rr_ticks=(960, 940))) == H("1640c003ac03")


@pytest.mark.parametrize("frame", ["", "10", "1040c0", "0140", "0840ff", "004000"])
def test_heart_rate_refuses(frame: str) -> None:
    with pytest.raises(DecodeError):
        heart_rate.decode(H(frame))


def test_battery() -> None:
    assert battery.decode(b"\x57") == 87
    assert battery.encode(87) == b"\x57"
    for bad in (b"", b"\x65", b"\x01\x02"):
        with pytest.raises(DecodeError):
            battery.decode(bad)


def test_device_information() -> None:
    assert device_information.decode_text(b"Acme\0\0") == "Acme"
    assert device_information.decode_system_id(device_information.encode_system_id(5, 7)) == (5, 7)
    with pytest.raises(DecodeError):
        device_information.decode_text(b"\xff")


def test_current_time() -> None:
    moment = datetime(2026, 11, 23, 7, 20, tzinfo=UTC)
    assert current_time.encode(current_time.WallTime(moment)) == H("ea070b17071400010000")
    assert current_time.decode(H("ea070b17071400010000")).moment == moment
    for bad in ("", "ea070d17071400010000", "0000010107140001 0000", "ea070b17071400080000"):
        with pytest.raises(DecodeError):
            current_time.decode(H(bad))
    assert current_time.decode_local(H("2404")) == (540, 4)
    assert current_time.decode_local(H("8000")) == (None, 0)


STEPS = [  # colmi_r02_client test_steps
    "43f00501000000000000000000000039",
    "43230813100005c80030001b000000a9",
    "43230813140105b618aa046903000083",
    "4323081318020538 04e1009500000052",
    "432308131c03050502 6c004800000060",
    "432308134c0405ef01630044000000 6d",
]


def test_ring_small_frames() -> None:
    assert colmi.pack(colmi.SET_TIME, H("24010100000001")) == H("01240101000000010000000000000028")
    assert colmi.encode_set_time(datetime(2024, 1, 1, tzinfo=UTC)) == H("01240101000000010000000000000028")
    assert colmi.decode_set_time(H("01240101000000010000000000000028")) == datetime(2024, 1, 1, tzinfo=UTC)
    assert colmi.decode_battery(H("03400000000000000000000000000043")) == (64, False)
    assert colmi.encode_battery(64) == H("03400000000000000000000000000043")
    assert colmi.encode_steps_request(0) == H("43000f005f01000000000000000000b2")
    assert colmi.unpack(H("6901004e0000000000000000000000b8"))[1][2] == 78


def test_ring_steps() -> None:
    answer = colmi.StepsAnswer()
    assert [answer.feed(H(frame)) for frame in STEPS] == [False] * 5 + [True]
    assert [slot.steps for slot in answer.slots] == [48, 1194, 225, 108, 99]
    assert answer.slots[0] == colmi.StepSlot(date(2023, 8, 13), 16, 48, 2000, 27)
    assert colmi.encode_steps(answer.slots) == [H(frame) for frame in STEPS]
    empty = colmi.StepsAnswer()
    assert empty.feed(H("43ff0000000000000000000000000042"))
    assert empty.slots == []


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("43230813140105b618aa046903000084", "checksum"),
        ("43230813140105b618aa0469030000", "15 bytes"),
        ("43230813140105b618aa046903000083", "frame 1 of 5 after 0"),
        ("c30000000000000000000000000000c3", "refused command 0x43"),
        ("03400000000000000000000000000043", "0x03 instead of 0x43"),
    ],
)
def test_ring_steps_refuses(frame: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        colmi.StepsAnswer().feed(H(frame))


def test_ring_heart_rates() -> None:
    """The frames of colmi_r02_client's log: 89 beats per minute at 15:00 ring time."""
    header, first = H("15001805000000000000000000000032"), H("150180adb6660000000000000000005f")
    later = [colmi.pack(colmi.HEART_RATE_LOG, bytes([k])) for k in range(2, 24)]
    later[13] = H("150f000059000000000000000000007d")
    answer = colmi.HeartRateAnswer()
    assert [answer.feed(frame) for frame in (header, first, *later)] == [False] * 23 + [True]
    assert answer.log is not None
    assert answer.log.midnight == datetime(2024, 8, 10, tzinfo=UTC)
    assert answer.log.step_min == 5
    assert {slot: bpm for slot, bpm in enumerate(answer.log.bpm) if bpm} == {180: 89}
    assert colmi.encode_heart_rates(answer.log) == [header, first, *later]


def test_ring_big_frames() -> None:
    assert colmi.encode_sleep_request() == H("bc270100ff00ff")
    assert colmi.pack_big(0x2A, b"\xff") == H("bc2a0100ff00ff")
    assert colmi.pack_big(0x25, b"\x02")[2:] == H("01003e8102")


def test_ring_sleep() -> None:
    night = colmi.SleepDay(0, -60, 420, ((2, 200), (3, 100), (4, 180)))
    frame = colmi.encode_sleep([night])
    assert frame[6:] == H("010 00a 6405 a401 02c8 0364 04b4".replace(" ", ""))
    answer = colmi.BigAnswer(colmi.SLEEP)
    assert not answer.feed(frame[:9])
    assert answer.feed(frame[9:])
    assert colmi.decode_sleep(answer.payload) == (night,)


def test_ring_sleep_stage_longer_than_a_byte() -> None:
    night = colmi.SleepDay(1, 0, 300, ((2, 300),))
    answer = colmi.BigAnswer(colmi.SLEEP)
    answer.feed(colmi.encode_sleep([night]))
    assert colmi.decode_sleep(answer.payload)[0].stages == ((2, 255), (2, 45))


def test_ring_big_frame_refuses() -> None:
    frame = colmi.encode_sleep([colmi.SleepDay(0, 0, 60, ((2, 60),))])
    spoilt = frame[:-1] + b"\x01"
    for bad, reason in (
        (spoilt, "checksum"),
        (b"\xbc\x2a" + frame[2:], "not a big-data frame"),
        (frame + b"\0", "after the end"),
    ):
        with pytest.raises(DecodeError, match=reason):
            colmi.BigAnswer(colmi.SLEEP).feed(bad)


@pytest.mark.parametrize(
    "payload", ["", "0100", "01000500003c00ff", "010004a105a205", "0000", "020004 00003c00"]
)
def test_ring_sleep_refuses(payload: str) -> None:
    with pytest.raises(DecodeError, match="sleep"):
        colmi.decode_sleep(H(payload))
