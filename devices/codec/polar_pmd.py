"""Polar Measurement Data, pulse-to-pulse intervals (PPI): control commands and frames.

Commands: op u8, measurement u8. Answers: 0xF0, op, measurement, error, [more,
parameters]. A frame: measurement u8, time of its last sample u64 (ns since
2000-01-01, 0 where the sensor does not know), frame type u8, samples. A raw PPI
sample: heart rate u8, interval u16 (ms), error estimate u16 (ms), flags u8 {0:
blocked by movement, 1: skin contact, 2: contact supported}.

Facts after the Polar BLE SDK's tests and documents; no code of it.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from devices.errors import DecodeError

SERVICE: Final = "fb005c80-02e7-f387-1cad-8acd2d8df0c8"
CONTROL: Final = "fb005c81-02e7-f387-1cad-8acd2d8df0c8"
DATA: Final = "fb005c82-02e7-f387-1cad-8acd2d8df0c8"
SOURCE: Final = "polar-ppi/1"

#: 2000-01-01 in microseconds UTC.
EPOCH_UTC: Final = 946_684_800_000_000
#: 2019-01-01: where the clock of H10, OH1 and Verity Sense starts again after a loss of power.
RESET_UTC: Final = EPOCH_UTC + 599_616_000_000_000

SETTINGS, START, STOP = 1, 2, 3
ECG, PPG, ACCELERATION, PPI = 0, 1, 2, 3
OK, ALREADY_STARTED, ON_CHARGER = 0, 6, 13
_ERRORS: Final = (
    "ok",
    "unknown command",
    "unknown measurement",
    "not supported",
    "wrong length",
    "wrong parameter",
    "already started",
    "wrong resolution",
    "wrong sample rate",
    "wrong range",
    "MTU too small",
    "wrong number of channels",
    "wrong state",
    "on the charger",
)
_ANSWER, _FEATURES = 0xF0, 0x0F
_HEAD: Final = struct.Struct("<BQB")
_SAMPLE: Final = struct.Struct("<BHHB")
_BLOCKED, _CONTACT, _CONTACT_SUPPORTED = 1, 2, 4
#: Bits 6 and 7 of the first byte are not part of the measurement.
_MEASUREMENT: Final = 0x3F


class Answer(NamedTuple):
    """Answer to a control command; `error` 0 is success."""

    op: int
    measurement: int
    error: int

    @property
    def reason(self) -> str:
        """The error in words."""
        return _ERRORS[self.error] if self.error < len(_ERRORS) else f"error {self.error}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One pulse-to-pulse interval.

    Attributes
    ----------
    bpm : int
        Heart rate, refreshed every 5 s; 0 when there is none.
    interval_ms : int
        Time between two pulses, ms.
    error_ms : int
        The sensor's estimate of the absolute error, ms.
    is_blocked : bool
        Movement makes the interval invalid.
    has_contact : bool or None
        Skin contact; ``None`` when the sensor cannot tell.
    """

    bpm: int
    interval_ms: int
    error_ms: int = 0
    is_blocked: bool = False
    has_contact: bool | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """Samples, oldest first, and the time of the last (ns since 2000-01-01; ``None`` unknown)."""

    stamp_ns: int | None
    samples: tuple[Sample, ...]

    @property
    def stamp_utc(self) -> int | None:
        """Time of the last sample by the sensor's clock, microseconds."""
        return None if self.stamp_ns is None else EPOCH_UTC + self.stamp_ns // 1000


def encode_command(op: int, measurement: int = PPI) -> bytes:
    """Command without parameters, as PPI needs them: start ``02 03``, stop ``03 03``."""
    return bytes([op, measurement])


def decode_command(payload: bytes) -> tuple[int, int]:
    """Op and measurement of a command; its parameters are left out.

    Raises
    ------
    DecodeError
        When it is shorter than both.
    """
    if len(payload) < 2:
        raise DecodeError(f"polar: command of {len(payload)} bytes")
    return payload[0], payload[1]


def encode_answer(answer: Answer) -> bytes:
    """Answer to a control command, without parameters."""
    return bytes([_ANSWER, *answer, 0])


def decode_answer(payload: bytes) -> Answer:
    """Answer to a control command; its parameters are left out.

    Raises
    ------
    DecodeError
        When it is something else.
    """
    if len(payload) < 4 or payload[0] != _ANSWER:
        raise DecodeError("polar: not an answer to a command")
    return Answer(payload[1], payload[2], payload[3])


def encode_features(measurements: Sequence[int]) -> bytes:
    """Value of the control characteristic: what the sensor can measure."""
    bits = sum(1 << measurement for measurement in set(measurements))
    return bytes([_FEATURES]) + struct.pack("<H", bits)


def decode_features(payload: bytes) -> frozenset[int]:
    """Measurements that the sensor offers.

    Raises
    ------
    DecodeError
        When it is not a list of features.
    """
    if len(payload) < 2 or payload[0] != _FEATURES:
        raise DecodeError("polar: not a list of features")
    bits = int.from_bytes(payload[1:3], "little")
    return frozenset(bit for bit in range(16) if bits >> bit & 1)


def encode_ppi(frame: Frame) -> bytes:
    """Raw PPI frame."""
    return _HEAD.pack(PPI, frame.stamp_ns or 0, 0) + encode_samples(frame.samples)


def encode_samples(samples: Sequence[Sample]) -> bytes:
    """The samples of a frame alone."""
    return b"".join(map(_encode_sample, samples))


def _encode_sample(sample: Sample) -> bytes:
    flags = _BLOCKED if sample.is_blocked else 0
    if sample.has_contact is not None:
        flags |= _CONTACT_SUPPORTED | (_CONTACT if sample.has_contact else 0)
    return _SAMPLE.pack(sample.bpm, sample.interval_ms, sample.error_ms, flags)


def decode_ppi(payload: bytes) -> Frame:
    """Samples of a raw PPI frame.

    Raises
    ------
    DecodeError
        When it is another measurement, compressed, or ends within a sample.
    """
    if len(payload) < _HEAD.size:
        raise DecodeError(f"polar: frame of {len(payload)} bytes")
    measurement, stamp, frame_type = _HEAD.unpack_from(payload)
    if measurement & _MEASUREMENT != PPI:
        raise DecodeError(f"polar: measurement {measurement & _MEASUREMENT} instead of PPI")
    if frame_type != 0:
        raise DecodeError(f"polar: frame type 0x{frame_type:02x} of PPI is not known")
    if (len(payload) - _HEAD.size) % _SAMPLE.size:
        raise DecodeError("polar: frame ends within a sample")
    samples = tuple(map(_decode_sample, _SAMPLE.iter_unpack(payload[_HEAD.size :])))
    return Frame(stamp or None, samples)


def _decode_sample(fields: tuple[int, ...]) -> Sample:
    bpm, interval_ms, error_ms, flags = fields
    has_contact = bool(flags & _CONTACT) if flags & _CONTACT_SUPPORTED else None
    return Sample(bpm, interval_ms, error_ms, bool(flags & _BLOCKED), has_contact)
