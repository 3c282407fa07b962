"""Readers of colmi.toml."""

from typing import Any

from devices.codec import colmi
from tests.frames.reading import fed, once, one, spread


def steps(frames: list[bytes]) -> list[colmi.StepSlot]:
    answer = colmi.StepsAnswer()
    fed(answer, frames)
    return answer.slots


def rates(frames: list[bytes]) -> colmi.HeartRateLog:
    answer = colmi.HeartRateAnswer()
    fed(answer, frames)
    assert answer.log is not None
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


def in_words(log: colmi.HeartRateLog) -> list[Any]:
    """Midnight and the readings by their slot, as the file says them."""
    return [log.midnight, {str(at): bpm for at, bpm in enumerate(log.bpm) if bpm}]


CODECS = {
    "set_time": (one(colmi.decode_set_time), once(colmi.encode_set_time)),
    "battery": (one(colmi.decode_battery), spread(colmi.encode_battery)),
    "steps": (steps, colmi.encode_steps),
    "steps_request": (one(colmi.decode_steps_request), once(colmi.encode_steps_request)),
    "rates": (rates, colmi.encode_heart_rates),
    "frame": (one(colmi.unpack), spread(colmi.pack)),
    "big_request": (big, spread(colmi.pack_big)),
    "sleep": (nights, once(colmi.encode_sleep)),
}
IN_WORDS = {colmi.HeartRateLog: in_words}
