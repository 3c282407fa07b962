"""Battery Level (0x2A19): one byte, 0-100 %."""

from typing import Final

from devices.codec.uuids import sig_uuid
from devices.errors import DecodeError

SERVICE: Final = sig_uuid(0x180F)
LEVEL: Final = sig_uuid(0x2A19)
SOURCE: Final = "sig-battery/1"


def decode(payload: bytes) -> int:
    """Battery level, percent.

    Raises
    ------
    DecodeError
        When it is not one byte of 0-100.
    """
    if len(payload) != 1:
        raise DecodeError(f"battery: {len(payload)} bytes instead of 1")
    if payload[0] > 100:
        raise DecodeError(f"battery: level of {payload[0]} %")
    return payload[0]


def encode(level_pct: int) -> bytes:
    """Frame of a battery level, percent."""
    return bytes([level_pct])
