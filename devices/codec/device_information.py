"""Device Information (0x180A): who made the wearable, and which one it is.

The serial number is the stable identity of a wearable whose address rotates.
"""

from typing import Final

from devices.codec.uuids import sig_uuid
from devices.errors import DecodeError

SERVICE: Final = sig_uuid(0x180A)
SYSTEM_ID: Final = sig_uuid(0x2A23)
MODEL: Final = sig_uuid(0x2A24)
SERIAL: Final = sig_uuid(0x2A25)
FIRMWARE: Final = sig_uuid(0x2A26)
HARDWARE: Final = sig_uuid(0x2A27)
SOFTWARE: Final = sig_uuid(0x2A28)
MAKER: Final = sig_uuid(0x2A29)


def decode_text(payload: bytes) -> str:
    """Text of a string characteristic, without the zero bytes some firmware pads with.

    Raises
    ------
    DecodeError
        When it is not UTF-8.
    """
    try:
        return payload.rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError:
        raise DecodeError("device information: not UTF-8") from None


def encode_text(text: str) -> bytes:
    """Bytes of a string characteristic."""
    return text.encode("utf-8")


def decode_system_id(payload: bytes) -> tuple[int, int]:
    """Manufacturer (40 bits) and organisation (24 bits) numbers of a System ID.

    Raises
    ------
    DecodeError
        When it is not eight bytes.
    """
    if len(payload) != 8:
        raise DecodeError(f"device information: system id of {len(payload)} bytes instead of 8")
    return int.from_bytes(payload[:5], "little"), int.from_bytes(payload[5:], "little")


def encode_system_id(manufacturer: int, organisation: int) -> bytes:
    """Bytes of a System ID."""
    return manufacturer.to_bytes(5, "little") + organisation.to_bytes(3, "little")
