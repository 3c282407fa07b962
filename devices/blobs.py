"""Runs of small numbers as bytes: little-endian u16 and plain u8.

A beat costs two bytes from the strap to the Parquet writer and no Python object
on the way; numpy reads the same bytes with ``frombuffer``.
"""

import sys
from array import array
from collections.abc import Iterable

from devices.errors import ObservationError


def pack_u16(values: Iterable[int]) -> bytes:
    """Little-endian u16 blob of `values`.

    Raises
    ------
    ObservationError
        When a value does not fit 0-65,535.
    """
    try:
        numbers = array("H", values)
    except OverflowError as error:
        raise ObservationError(f"value does not fit an unsigned 16-bit number: {error}") from None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpack_u16(blob: bytes) -> "array[int]":
    """Values of a little-endian u16 blob.

    Raises
    ------
    ObservationError
        When the length is odd.
    """
    if len(blob) % 2:
        raise ObservationError(f"u16 blob of odd length {len(blob)}")
    numbers = array("H", blob)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
