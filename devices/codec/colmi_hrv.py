"""Heart-rate variability log of Colmi R02-family rings: a vendor's number every half hour.

Request 0x39 and the days ago (u32). Answer: header (frame count, spacing in
minutes), a first frame (days ago, 12 values), then frames of 13 values; u8 in
milliseconds, 0 is none. Firmware without the log never answers. The method is
not disclosed: one source calls it RMSSD and its authors doubt it, so it is
labelled ``vendor`` and never mixed with what we compute. Layout after
Gadgetbridge (facts only).
"""

import struct
from typing import Final, NamedTuple

from devices.codec.colmi import pack, unpack
from devices.errors import DecodeError

HRV_LOG: Final = 0x39
_NOTHING: Final = 0xFF
_HEADER, _FIRST = 0, 1
_FIRST_VALUES, _LATER_VALUES = 12, 13
_DAY_MIN: Final = 1440


class HrvLog(NamedTuple):
    """A day of values in milliseconds, `step_min` apart from ring midnight `days_ago`; 0 is none."""

    days_ago: int
    step_min: int
    value_ms: bytes


def encode_request(days_ago: int) -> bytes:
    """Request for the log of one day of ring time."""
    return pack(HRV_LOG, struct.pack("<I", days_ago))


def decode_request(payload: bytes) -> int:
    """Days ago that a request asks for."""
    (days_ago,) = struct.unpack_from("<I", _body(payload))
    return days_ago


def encode(log: HrvLog) -> list[bytes]:
    """Answer frames of a day, or "nothing"."""
    if not any(log.value_ms):
        return [pack(HRV_LOG, bytes([_NOTHING]))]
    later = range(_FIRST_VALUES, len(log.value_ms), _LATER_VALUES)
    frames = [
        pack(HRV_LOG, bytes([_HEADER, len(later) + 2, log.step_min])),
        pack(HRV_LOG, bytes([_FIRST, log.days_ago]) + log.value_ms[:_FIRST_VALUES]),
    ]
    for number, start in enumerate(later, _FIRST + 1):
        frames.append(pack(HRV_LOG, bytes([number]) + log.value_ms[start : start + _LATER_VALUES]))
    return frames


class HrvAnswer:
    """Collects the frames of an answer; `log` is there when it is complete and not empty."""

    command = HRV_LOG

    def __init__(self) -> None:
        self.log: HrvLog | None = None
        self._frames = 0
        self._step_min = 0
        self._days_ago = 0
        self._values = bytearray()
        self._next = _HEADER

    def feed(self, payload: bytes) -> bool:
        """Take one frame; True when the answer is complete.

        Raises
        ------
        DecodeError
            When the frame is not the next one of an answer.
        """
        body = _body(payload)
        number = body[0]
        if number == _NOTHING:
            return True
        if number != self._next:
            raise DecodeError(f"ring: variability frame {number} instead of {self._next}")
        self._next += 1
        if number == _HEADER:
            self._frames, self._step_min = body[1], body[2]
            if self._frames < 2 or not self._step_min:
                raise DecodeError(f"ring: log of {self._frames} frames every {self._step_min} min")
            return False
        if number == _FIRST:
            self._days_ago = body[1]
            self._values += body[2:]
        else:
            self._values += body[1:]
        if self._next < self._frames:
            return False
        slots = _DAY_MIN // self._step_min
        self.log = HrvLog(self._days_ago, self._step_min, bytes(self._values[:slots]).ljust(slots, b"\0"))
        return True


def _body(payload: bytes) -> bytes:
    command, body = unpack(payload)
    if command != HRV_LOG:
        raise DecodeError(f"ring: command 0x{command:02x} instead of 0x{HRV_LOG:02x}")
    return body
