"""InfiniTime (PineTime) motion service: steps of today and acceleration.

The step counter counts from the watch's midnight, when it says 0, or from its
last start, when it says nothing. Heart rates come by the Heart Rate Service,
without RR intervals; the clock is the Current Time Service.
"""

import struct
from typing import Final

from devices.errors import DecodeError

SERVICE: Final = "00030000-78fc-48fe-8e23-433b3a1942d0"
STEPS: Final = "00030001-78fc-48fe-8e23-433b3a1942d0"
MOTION: Final = "00030002-78fc-48fe-8e23-433b3a1942d0"
SOURCE: Final = "infinitime/1"

#: Acceleration per g.
COUNTS_PER_G: Final = 1024


def decode_steps(payload: bytes) -> int:
    """Steps since the counter began.

    Raises
    ------
    DecodeError
        When it is not four bytes.
    """
    if len(payload) != 4:
        raise DecodeError(f"infinitime: step counter of {len(payload)} bytes instead of 4")
    return int.from_bytes(payload, "little")


def encode_steps(steps: int) -> bytes:
    """Value of the step counter."""
    return struct.pack("<I", steps)


def decode_motion(payload: bytes) -> tuple[int, int, int]:
    """Acceleration along x, y and z, 1/1024 g.

    Raises
    ------
    DecodeError
        When it is not six bytes.
    """
    if len(payload) != 6:
        raise DecodeError(f"infinitime: acceleration of {len(payload)} bytes instead of 6")
    x, y, z = struct.unpack("<3h", payload)
    return x, y, z


def encode_motion(x: int, y: int, z: int) -> bytes:
    """Value of the acceleration, 1/1024 g."""
    return struct.pack("<3h", x, y, z)
