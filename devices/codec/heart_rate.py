"""Heart Rate Measurement (0x2A37): rate, contact, energy and RR intervals.

Bluetooth GSS 3.115. Flags u8 {0: rate is u16, 1: contact detected, 2: contact
supported, 3: energy present, 4: RR present}; rate; [energy u16]; RR u16 each, in
1/1024 s, oldest first. There is no time and no sequence number in a frame.
"""

import struct
from dataclasses import dataclass
from typing import Final

from devices.codec.uuids import sig_uuid
from devices.errors import DecodeError
from devices.units import ms_to_ticks, ticks_to_ms

SERVICE: Final = sig_uuid(0x180D)
MEASUREMENT: Final = sig_uuid(0x2A37)
BODY_LOCATION: Final = sig_uuid(0x2A38)
SOURCE: Final = "sig-heart-rate/1"

_WIDE, _CONTACT, _CONTACT_SUPPORTED, _ENERGY, _RR = 1, 2, 4, 8, 16


@dataclass(frozen=True, slots=True)
class Measurement:
    """One notification of the Heart Rate Service.

    Attributes
    ----------
    bpm : int
        Heart rate, beats per minute; 0 when the strap has none.
    has_contact : bool or None
        Skin contact; ``None`` when the strap cannot tell.
    energy_kj : int or None
        Cumulative energy, kJ.
    rr_ticks : tuple of int
        RR intervals, 1/1024 s, oldest first.
    """

    bpm: int
    has_contact: bool | None = None
    energy_kj: int | None = None
    rr_ticks: tuple[int, ...] = ()

    @property
    def rr_ms(self) -> tuple[int, ...]:
        """RR intervals in whole milliseconds."""
        return tuple(map(ticks_to_ms, self.rr_ticks))


def decode(payload: bytes) -> Measurement:
    """Measurement of a notification.

    Raises
    ------
    DecodeError
        When the frame is shorter or longer than its flags say.
    """
    if not payload:
        raise DecodeError("heart rate: empty frame")
    flags = payload[0]
    rate_end = 3 if flags & _WIDE else 2
    rr_start = rate_end + (2 if flags & _ENERGY else 0)
    if len(payload) < rr_start:
        raise DecodeError("heart rate: frame is shorter than its flags say")
    spare = len(payload) - rr_start
    if spare and not flags & _RR:
        raise DecodeError("heart rate: bytes after the last field")
    if spare % 2:
        raise DecodeError("heart rate: half an RR interval")
    return Measurement(
        bpm=int.from_bytes(payload[1:rate_end], "little"),
        has_contact=bool(flags & _CONTACT) if flags & _CONTACT_SUPPORTED else None,
        energy_kj=int.from_bytes(payload[rate_end:rr_start], "little") if flags & _ENERGY else None,
        rr_ticks=struct.unpack_from(f"<{spare // 2}H", payload, rr_start),
    )


def encode(measurement: Measurement) -> bytes:
    """Frame of a measurement; the rate is wide only when it must be."""
    wide = measurement.bpm > 255
    flags = _WIDE if wide else 0
    if measurement.has_contact is not None:
        flags |= _CONTACT_SUPPORTED | (_CONTACT if measurement.has_contact else 0)
    energy = b""
    if measurement.energy_kj is not None:
        flags |= _ENERGY
        energy = struct.pack("<H", measurement.energy_kj)
    if measurement.rr_ticks:
        flags |= _RR
    rate = struct.pack("<H" if wide else "<B", measurement.bpm)
    return (
        bytes([flags]) + rate + energy + struct.pack(f"<{len(measurement.rr_ticks)}H", *measurement.rr_ticks)
    )


def encode_beats(bpm: int, rr_ms: tuple[int, ...]) -> bytes:
    """Frame of a worn strap: rate (beats per minute) and RR intervals (ms)."""
    return encode(Measurement(bpm, has_contact=True, rr_ticks=tuple(map(ms_to_ticks, rr_ms))))
