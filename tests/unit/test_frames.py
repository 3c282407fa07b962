"""Frame files: decoded as they say, encoded back to the same bytes.

A file names each frame's origin: ``captured`` from a real wearable, or
``synthetic``. `expected` is what the decoder gives, in plain values ("none" where
there is nothing, times in ISO 8601); `error` is part of the reason it refuses
with. A frame that is not canonical is one that our encoder would say otherwise.
"""

import tomllib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devices.codec import (
    banglejs,
    battery,
    colmi,
    colmi_hrv,
    current_time,
    heart_rate,
    infinitime,
    physical_activity,
    polar_pmd,
)
from devices.codec.current_time import WallTime
from devices.codec.device_information import decode_system_id, decode_text, encode_system_id, encode_text
from devices.errors import DecodeError

FOLDER = Path(__file__).parents[1] / "frames"
Decode = Callable[[list[bytes]], Any]
Encode = Callable[[Any], list[bytes]]


def one(decode: Callable[[bytes], Any]) -> Decode:
    return lambda frames: decode(frames[0])


def once(encode: Callable[[Any], bytes]) -> Encode:
    return lambda value: [encode(value)]


def spread(encode: Callable[..., bytes]) -> Encode:
    return lambda values: [encode(*values)]


def steps(frames: list[bytes]) -> list[colmi.StepSlot]:
    answer = colmi.StepsAnswer()
    assert [answer.feed(frame) for frame in frames] == [False] * (len(frames) - 1) + [True]
    return answer.slots


def rates(frames: list[bytes]) -> colmi.HeartRateLog:
    answer = colmi.HeartRateAnswer()
    assert [answer.feed(frame) for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert answer.log is not None
    return answer.log


def variability(frames: list[bytes]) -> colmi_hrv.HrvLog | None:
    answer = colmi_hrv.HrvAnswer()
    assert [answer.feed(frame) for frame in frames] == [False] * (len(frames) - 1) + [True]
    return answer.log


def nights(frames: list[bytes]) -> tuple[colmi.SleepDay, ...]:
    answer = colmi.BigAnswer(colmi.SLEEP)
    for frame in frames:
        answer.feed(frame)
    return colmi.decode_sleep(answer.payload)


def big(frames: list[bytes]) -> tuple[int, bytes]:
    answer = colmi.BigAnswer(frames[0][1])
    assert answer.feed(frames[0])
    return frames[0][1], answer.payload


def lines(frames: list[bytes]) -> list[bytes]:
    joined = banglejs.Lines()
    return [line for frame in frames for line in joined.feed(frame)]


def line(encode: Callable[[Any], bytes]) -> Encode:
    return lambda value: [encode(value).rstrip(b"\n")]


#: Protocol and decoder of a file -> what reads, and where there is one what writes.
CODECS: dict[str, tuple[Decode, Encode | None]] = {
    "heart_rate/measurement": (one(heart_rate.decode), once(heart_rate.encode)),
    "heart_rate/beats": (lambda frames: heart_rate.decode(frames[0]).rr_ms, None),
    "battery/level": (one(battery.decode), once(battery.encode)),
    "device_information/text": (one(decode_text), once(encode_text)),
    "device_information/system_id": (one(decode_system_id), spread(encode_system_id)),
    "current_time/time": (one(current_time.decode), lambda t: [current_time.encode(WallTime(*t))]),
    "current_time/local": (one(current_time.decode_local), spread(current_time.encode_local)),
    "colmi/set_time": (one(colmi.decode_set_time), once(colmi.encode_set_time)),
    "colmi/battery": (one(colmi.decode_battery), spread(colmi.encode_battery)),
    "colmi/steps": (steps, colmi.encode_steps),
    "colmi/steps_request": (one(colmi.decode_steps_request), once(colmi.encode_steps_request)),
    "colmi/rates": (rates, colmi.encode_heart_rates),
    "colmi_hrv/request": (one(colmi_hrv.decode_request), once(colmi_hrv.encode_request)),
    "colmi_hrv/log": (variability, colmi_hrv.encode),
    "colmi/frame": (one(colmi.unpack), spread(colmi.pack)),
    "colmi/big_request": (big, spread(colmi.pack_big)),
    "colmi/sleep": (nights, once(colmi.encode_sleep)),
    "polar_pmd/ppi": (one(polar_pmd.decode_ppi), once(polar_pmd.encode_ppi)),
    "polar_pmd/stamp_utc": (lambda frames: polar_pmd.decode_ppi(frames[0]).stamp_utc, None),
    "polar_pmd/command": (one(polar_pmd.decode_command), spread(polar_pmd.encode_command)),
    "polar_pmd/answer": (one(polar_pmd.decode_answer), once(polar_pmd.encode_answer)),
    "polar_pmd/features": (one(polar_pmd.decode_features), once(polar_pmd.encode_features)),
    "infinitime/steps": (one(infinitime.decode_steps), once(infinitime.encode_steps)),
    "infinitime/motion": (one(infinitime.decode_motion), spread(infinitime.encode_motion)),
    "banglejs/message": (one(banglejs.decode_message), line(banglejs.encode_message)),
    "banglejs/request": (one(banglejs.decode_request), line(banglejs.encode_request)),
    "banglejs/lines": (lines, None),
    "physical_activity/step_summary": (
        one(physical_activity.decode_step_summary),
        once(physical_activity.encode_step_summary),
    ),
    "physical_activity/sleep_instant": (
        one(physical_activity.decode_sleep_instant),
        once(physical_activity.encode_sleep_instant),
    ),
    "physical_activity/sleep_summary": (
        one(physical_activity.decode_sleep_summary),
        once(physical_activity.encode_sleep_summary),
    ),
}
#: What a value of many types is called in the files.
NAMED = (banglejs.Block, banglejs.Live, banglejs.FetchState, banglejs.Other, banglejs.Fetch, banglejs.SetTime)


def plain(found: Any) -> Any:
    """`found` as a file would say it."""
    match found:
        case None:
            return "none"
        case bytes() if found.isascii() and found.decode().isprintable() and len(found) > 1:
            return found.decode()
        case bytes():
            return found.hex()
        case datetime():
            return found.isoformat().replace("+00:00", "Z")
        case colmi.HeartRateLog():
            return [plain(found.midnight), {str(at): bpm for at, bpm in enumerate(found.bpm) if bpm}]
        case frozenset():
            return sorted(found)
        case tuple() | list():
            items = [plain(item) for item in found]
            return [type(found).__name__, *items] if isinstance(found, NAMED) else items
        case bool() | int() | str():
            return found
        case dict():
            return {name: plain(value) for name, value in found.items() if value not in (None, ())}
        case _ if hasattr(found, "__dataclass_fields__"):
            return plain({name: getattr(found, name) for name in found.__dataclass_fields__})
        case _:
            return msgspec.to_builtins(found)


def frames() -> list[Any]:
    found: list[Any] = []
    for path in sorted(FOLDER.glob("*.toml")):
        content = tomllib.loads(path.read_text())
        for frame in content["frame"]:
            codec = f"{content['protocol']}/{frame['decoder']}"
            found.append(pytest.param(codec, frame, id=f"{codec}: {frame['name']}"))
    return found


@pytest.mark.parametrize(("codec", "frame"), frames())
def test_frame(codec: str, frame: dict[str, Any]) -> None:
    assert frame["provenance"] in ("captured", "synthetic")
    assert frame["source"]
    decode, encode = CODECS[codec]
    texts = [frame["hex"]] if isinstance(frame["hex"], str) else frame["hex"]
    payloads = [bytes.fromhex(text) for text in texts]
    if "error" in frame:
        with pytest.raises(DecodeError, match=frame["error"]):
            decode(payloads)
        return
    value = decode(payloads)
    assert plain(value) == frame["expected"]
    if encode is not None:
        assert (encode(value) == payloads) == frame.get("is_canonical", True)


def test_every_codec_has_frames() -> None:
    """A codec without a frame file, and a decoder that no file uses, are oversights."""
    modules = {path.stem for path in Path(colmi.__file__).parent.glob("*.py")} - {"__init__", "uuids"}
    assert {path.stem for path in FOLDER.glob("*.toml")} == modules
    assert {param.values[0] for param in frames()} == set(CODECS)
