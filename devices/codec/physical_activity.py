"""Physical Activity Monitor Service (0x183E) - draft: checked against no shipping wearable.

Every frame: header u8, flags, session u16, sub-session u16, time u32 (s since the
session began), sequence u32, then the fields that the flags name, each u24 unless
said otherwise. The header's segmentation bits are those of the draft: 0x80 is a
frame of one segment, and no other is read here.

Sources: field order and widths after a public description of the 2017 draft, flag
bits after PAMS 1.0, tables 3.17-3.22. The units of latency and of the worn field
of a sleep instant are not verified: the former is given raw, the latter taken as
seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from devices.codec.uuids import sig_uuid
from devices.errors import DecodeError

SERVICE: Final = sig_uuid(0x183E)
STEP_SUMMARY: Final = sig_uuid(0x2B40)
SLEEP_INSTANT: Final = sig_uuid(0x2B41)
SLEEP_SUMMARY: Final = sig_uuid(0x2B42)
#: "draft" stays with every sample.
SOURCE: Final = "sig-pams-draft/1"

_ONE_SEGMENT: Final = 0x80
#: Bits of a sleep instant's stage (PAMS 1.0).
WAKE, SLEEP, REM, NON_REM, LIGHT, DEEP, N1, N2, N3, N4 = range(10)
STAGE_UNKNOWN: Final = 23

_Layout = tuple[tuple[str, int], ...]
_STEP_FIELDS: Final[_Layout] = (
    ("walking_steps", 3),
    ("intense_steps", 3),
    ("floor_steps", 3),
    ("distance_m", 3),
    ("worn_s", 3),
)
_SLEEP_FIELDS: Final[_Layout] = (
    ("total_sleep_s", 3),
    ("total_wake_s", 3),
    ("bed_s", 3),
    ("awakenings", 2),
    ("latency", 2),
    ("efficiency_pct", 1),
    ("snoozes", 2),
    ("turns", 2),
    ("awake_after_alarm_s", 3),
    *((f"light_level_{number}", 3) for number in range(1, 10)),
    ("average_bpm", 1),
    ("worn_s", 3),
)
#: Flag bits 5-14 of a sleep instant are reserved.
_INSTANT_FIELDS: Final[_Layout] = (
    ("visible_light", 3),
    ("uv_light", 3),
    ("ir_light", 3),
    ("stage_bits", 3),
    ("bpm", 1),
    *(("", 0) for _ in range(5, 15)),
    ("worn_s", 3),
)


class Head(NamedTuple):
    """Where a frame belongs; `time_s` counts from the start of the session."""

    session: int
    sub_session: int
    time_s: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSummary:
    """Steps of a sub-session so far, by kind; ``None`` where the wearable does not say."""

    head: Head
    walking_steps: int | None = None
    intense_steps: int | None = None
    floor_steps: int | None = None
    distance_m: int | None = None
    worn_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepInstant:
    """What the wearable sees at one time of the night; `stage_bits` is a set of stages."""

    head: Head
    visible_light: int | None = None
    uv_light: int | None = None
    ir_light: int | None = None
    stage_bits: int | None = None
    bpm: int | None = None
    worn_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepSummary:
    """A sub-session of sleep in numbers; `light_levels` in the order of the frame, where given."""

    head: Head
    total_sleep_s: int | None = None
    total_wake_s: int | None = None
    bed_s: int | None = None
    awakenings: int | None = None
    latency: int | None = None
    efficiency_pct: int | None = None
    snoozes: int | None = None
    turns: int | None = None
    awake_after_alarm_s: int | None = None
    light_levels: tuple[int | None, ...] = (None,) * 9
    average_bpm: int | None = None
    worn_s: int | None = None


def decode_step_summary(payload: bytes) -> StepSummary:
    """Step summary (0x2B40).

    Raises
    ------
    DecodeError
        When the frame is segmented, reserved, shorter or longer than its flags say.
    """
    head, fields = _unpack(payload, 1, _STEP_FIELDS)
    return StepSummary(head=head, **fields)


def encode_step_summary(summary: StepSummary) -> bytes:
    """Frame of a step summary."""
    return _pack(summary.head, 1, _STEP_FIELDS, [getattr(summary, name) for name, _ in _STEP_FIELDS])


def decode_sleep_instant(payload: bytes) -> SleepInstant:
    """Sleep instant (0x2B41).

    Raises
    ------
    DecodeError
        When the frame is segmented, reserved, shorter or longer than its flags say.
    """
    head, fields = _unpack(payload, 2, _INSTANT_FIELDS)
    return SleepInstant(head=head, **fields)


def encode_sleep_instant(instant: SleepInstant) -> bytes:
    """Frame of a sleep instant."""
    values = [getattr(instant, name) if name else None for name, _ in _INSTANT_FIELDS]
    return _pack(instant.head, 2, _INSTANT_FIELDS, values)


def decode_sleep_summary(payload: bytes) -> SleepSummary:
    """Sleep summary (0x2B42).

    Raises
    ------
    DecodeError
        When the frame is segmented, reserved, shorter or longer than its flags
        say, or the efficiency is above 100 %.
    """
    head, fields = _unpack(payload, 3, _SLEEP_FIELDS)
    levels = tuple(fields.pop(f"light_level_{number}", None) for number in range(1, 10))
    if fields.get("efficiency_pct", 0) > 100:
        raise DecodeError(f"physical activity: sleep efficiency of {fields['efficiency_pct']} %")
    return SleepSummary(head=head, light_levels=levels, **fields)


def encode_sleep_summary(summary: SleepSummary) -> bytes:
    """Frame of a sleep summary."""
    levels = iter(summary.light_levels)
    values = [
        next(levels) if name.startswith("light_level") else getattr(summary, name)
        for name, _ in _SLEEP_FIELDS
    ]
    return _pack(summary.head, 3, _SLEEP_FIELDS, values)


def _unpack(payload: bytes, flag_bytes: int, layout: _Layout) -> tuple[Head, dict[str, int]]:
    at = 1 + flag_bytes
    if len(payload) < at + 12:
        raise DecodeError(f"physical activity: frame of {len(payload)} bytes")
    if payload[0] != _ONE_SEGMENT:
        raise DecodeError(f"physical activity: segment 0x{payload[0]:02x} of a longer frame")
    flags = int.from_bytes(payload[1:at], "little")
    widths = (2, 2, 4, 4)
    head = Head(*(int.from_bytes(part, "little") for part in _parts(payload[at : at + 12], widths)))
    named = [(name, width) for bit, (name, width) in enumerate(layout) if flags >> bit & 1]
    if flags >> len(layout) or not all(width for _, width in named):
        raise DecodeError(f"physical activity: reserved flags in 0x{flags:x}")
    body = payload[at + 12 :]
    if len(body) != sum(width for _, width in named):
        raise DecodeError(f"physical activity: {len(body)} bytes of fields do not fit the flags")
    parts = _parts(body, [width for _, width in named])
    return head, {name: int.from_bytes(part, "little") for (name, _), part in zip(named, parts, strict=True)}


def _parts(body: bytes, widths: Sequence[int]) -> list[bytes]:
    ends = [sum(widths[: index + 1]) for index in range(len(widths))]
    return [body[end - width : end] for end, width in zip(ends, widths, strict=True)]


def _pack(head: Head, flag_bytes: int, layout: _Layout, values: Sequence[int | None]) -> bytes:
    flags, body = 0, b""
    for bit, ((_, width), value) in enumerate(zip(layout, values, strict=True)):
        if value is not None:
            flags |= 1 << bit
            body += value.to_bytes(width, "little")
    numbers = zip(head, (2, 2, 4, 4), strict=True)
    where = b"".join(number.to_bytes(width, "little") for number, width in numbers)
    return bytes([_ONE_SEGMENT]) + flags.to_bytes(flag_bytes, "little") + where + body
