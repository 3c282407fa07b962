"""Current Time (0x2A2B) and Local Time Information (0x2A0F).

A wearable shows wall time and knows no zone: moments here are wall time written
as if it were UTC. Who sets the clock records the offset.
"""

import struct
from datetime import UTC, datetime
from typing import Final, NamedTuple

from devices.codec.uuids import sig_uuid
from devices.errors import DecodeError

SERVICE: Final = sig_uuid(0x1805)
CURRENT_TIME: Final = sig_uuid(0x2A2B)
LOCAL_TIME: Final = sig_uuid(0x2A0F)

#: Adjust-reason bits.
MANUAL, EXTERNAL, ZONE_CHANGE, DST_CHANGE = 1, 2, 4, 8
_ZONE_STEP_MIN = 15
_UNKNOWN_ZONE = -128


class WallTime(NamedTuple):
    """Wall time as if UTC (1/256 s resolution) and why it was last adjusted."""

    moment: datetime
    adjust_reason: int = 0


def decode(payload: bytes) -> WallTime:
    """Wall time of a Current Time value.

    Raises
    ------
    DecodeError
        When it is not ten bytes, or not a known date and time.
    """
    if len(payload) != 10:
        raise DecodeError(f"current time: {len(payload)} bytes instead of 10")
    year, month, day, hour, minute, second, weekday, fraction, reason = struct.unpack("<H8B", payload)
    if weekday > 7:
        raise DecodeError(f"current time: weekday {weekday}")
    try:
        # the fraction is rounded up here and down in `encode`, so that it comes back the same
        moment = datetime(year, month, day, hour, minute, second, -(-fraction * 1_000_000 // 256), tzinfo=UTC)
    except ValueError as error:
        raise DecodeError(f"current time: {error}") from None
    return WallTime(moment, reason)


def encode(time: WallTime) -> bytes:
    """Ten bytes of a Current Time value; weekday is 1 for Monday."""
    moment = time.moment
    return struct.pack(
        "<H8B",
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.isoweekday(),
        moment.microsecond * 256 // 1_000_000,
        time.adjust_reason,
    )


def decode_local(payload: bytes) -> tuple[int | None, int]:
    """Zone offset (minutes east; ``None`` unknown) and daylight-saving code.

    Raises
    ------
    DecodeError
        When it is not two bytes or the offset is not one a zone can have.
    """
    if len(payload) != 2:
        raise DecodeError(f"local time: {len(payload)} bytes instead of 2")
    steps, saving = struct.unpack("<bB", payload)
    if steps == _UNKNOWN_ZONE:
        return None, saving
    if not -48 <= steps <= 56:
        raise DecodeError(f"local time: zone of {steps} quarter hours")
    return steps * _ZONE_STEP_MIN, saving


def encode_local(offset_min: int | None, saving: int) -> bytes:
    """Two bytes of a Local Time Information value."""
    steps = _UNKNOWN_ZONE if offset_min is None else offset_min // _ZONE_STEP_MIN
    return struct.pack("<bB", steps, saving)
