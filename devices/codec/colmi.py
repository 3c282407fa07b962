"""Colmi R02-family rings ("QRing"): 16-byte commands and the big-data service.

Small frames: command u8, 14 bytes, sum of both modulo 256; a refused command
comes back with bit 7 set. Big frames: 0xBC, kind u8, length u16, CRC-16/MODBUS of
the payload u16, payload; they may span notifications. Everything is ring time,
which carries no zone. Layouts after colmi_r02_client (MIT) and its tests; facts on
sleep from Gadgetbridge and bluering.
"""

import struct
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

from devices.errors import DecodeError

SERVICE: Final = "6e40fff0-b5a3-f393-e0a9-e50e24dcca9e"
WRITE: Final = "6e400002-b5a3-f393-e0a9-e50e24dcca9e"
NOTIFY: Final = "6e400003-b5a3-f393-e0a9-e50e24dcca9e"
BIG_SERVICE: Final = "de5bf728-d711-4e47-af26-65e3012a5dc7"
BIG_WRITE: Final = "de5bf72a-d711-4e47-af26-65e3012a5dc7"
BIG_NOTIFY: Final = "de5bf729-d711-4e47-af26-65e3012a5dc7"
SOURCE: Final = "colmi/1"

SET_TIME, BATTERY, HEART_RATE_LOG, STEPS = 0x01, 0x03, 0x15, 0x43
#: What the ring says of its own accord (battery, steps so far).
PUSH: Final = 0x73
SLEEP: Final = 0x27
_BIG_MARK: Final = 0xBC
_BIG_HEAD: Final = 6
_REFUSED: Final = 0x80
_NOTHING: Final = 0xFF
_STEPS_HEADER: Final = 0xF0
SLOTS_PER_DAY: Final = 96
_ENGLISH: Final = 1


class StepSlot(NamedTuple):
    """Activity of one quarter of an hour of ring time.

    `slot` counts quarters from ring midnight (0-95); `energy_cal` is in small
    calories, `distance_m` in metres.
    """

    day: date
    slot: int
    steps: int
    energy_cal: int = 0
    distance_m: int = 0


class SleepDay(NamedTuple):
    """One sleep episode: `start_min` and `end_min` count from ring midnight of the day it ended.

    `start_min` is negative when it began the day before. `stages` holds (stage
    code of the ring, minutes).
    """

    days_ago: int
    start_min: int
    end_min: int
    stages: tuple[tuple[int, int], ...]


class HeartRateLog(NamedTuple):
    """A day of heart rates: `step_min` apart from `midnight` (ring time as if UTC); 0 is none."""

    midnight: datetime
    step_min: int
    bpm: bytes


def pack(command: int, body: bytes = b"") -> bytes:
    """Small frame: command, 14 bytes, checksum."""
    frame = bytes([command]) + body.ljust(14, b"\0")
    return frame + bytes([sum(frame) & 0xFF])


def unpack(payload: bytes) -> tuple[int, bytes]:
    """Command and the 14 bytes of a small frame.

    Raises
    ------
    DecodeError
        Wrong length, wrong checksum, or the ring refused the command.
    """
    if len(payload) != 16:
        raise DecodeError(f"ring: {len(payload)} bytes instead of 16")
    if sum(payload[:15]) & 0xFF != payload[15]:
        raise DecodeError("ring: wrong checksum")
    if payload[0] & _REFUSED:
        raise DecodeError(f"ring: refused command 0x{payload[0] & 0x7F:02x}")
    return payload[0], payload[1:15]


def _bcd(number: int) -> int:
    return number // 10 << 4 | number % 10


def _from_bcd(byte: int) -> int:
    high, low = byte >> 4, byte & 15
    if high > 9 or low > 9:
        raise DecodeError(f"ring: 0x{byte:02x} is not a decimal number")
    return high * 10 + low


def _date(fields: bytes) -> date:
    year, month, day = map(_from_bcd, fields)
    try:
        return date(2000 + year, month, day)
    except ValueError as error:
        raise DecodeError(f"ring: {error}") from None


def _expect(payload: bytes, command: int) -> bytes:
    got, body = unpack(payload)
    if got != command:
        raise DecodeError(f"ring: command 0x{got:02x} instead of 0x{command:02x}")
    return body


def encode_set_time(moment: datetime) -> bytes:
    """Request that sets the ring's clock to the wall time of `moment`, whole seconds."""
    parts = (moment.year % 100, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    return pack(SET_TIME, bytes([*map(_bcd, parts), _ENGLISH]))


def decode_set_time(payload: bytes) -> datetime:
    """Wall time (as if UTC) of a set-time request."""
    body = _expect(payload, SET_TIME)
    day = _date(body[:3])
    hour, minute, second = map(_from_bcd, body[3:6])
    try:
        return datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise DecodeError(f"ring: {error}") from None


def encode_battery(level_pct: int, is_charging: bool = False) -> bytes:
    """Answer to a battery request; the request is ``pack(BATTERY)``."""
    return pack(BATTERY, bytes([level_pct, is_charging]))


def decode_battery(payload: bytes) -> tuple[int, bool]:
    """Battery level (percent) and whether the ring is charging."""
    body = _expect(payload, BATTERY)
    if body[0] > 100:
        raise DecodeError(f"ring: battery level of {body[0]} %")
    return body[0], bool(body[1])


def encode_steps_request(days_ago: int) -> bytes:
    """Request for the quarter hours of one day of ring time."""
    return pack(STEPS, bytes([days_ago, 0x0F, 0x00, 0x5F, 0x01]))


def decode_steps_request(payload: bytes) -> int:
    """Days ago that a step request asks for."""
    return _expect(payload, STEPS)[0]


def encode_steps(slots: Sequence[StepSlot]) -> list[bytes]:
    """Answer frames of a day: a header, then one frame per quarter hour; or "nothing"."""
    if not slots:
        return [pack(STEPS, bytes([_NOTHING]))]
    frames = [pack(STEPS, bytes([_STEPS_HEADER, len(slots), 1]))]
    for index, slot in enumerate(slots):
        when = bytes([_bcd(slot.day.year % 100), _bcd(slot.day.month), _bcd(slot.day.day), slot.slot])
        numbers = struct.pack("<HHH", slot.energy_cal // 10, slot.steps, slot.distance_m)
        frames.append(pack(STEPS, when + bytes([index, len(slots)]) + numbers))
    return frames


class StepsAnswer:
    """Collects the frames of a step answer.

    `slots` holds what has come so far, in the ring's order.
    """

    command = STEPS

    def __init__(self) -> None:
        self.slots: list[StepSlot] = []
        self._energy_unit = 1

    def feed(self, payload: bytes) -> bool:
        """Take one frame; True when the answer is complete.

        Raises
        ------
        DecodeError
            When the frame is not the next one of a step answer.
        """
        body = _expect(payload, STEPS)
        if body[0] == _NOTHING:
            return True
        if body[0] == _STEPS_HEADER:
            self.slots.clear()
            self._energy_unit = 10 if body[2] == 1 else 1
            return body[1] == 0
        index, count = body[4], body[5]
        if index != len(self.slots) or index >= count:
            raise DecodeError(f"ring: step frame {index} of {count} after {len(self.slots)}")
        if body[3] >= SLOTS_PER_DAY:
            raise DecodeError(f"ring: step slot {body[3]}")
        energy, steps, distance = struct.unpack_from("<HHH", body, 6)
        self.slots.append(StepSlot(_date(body[:3]), body[3], steps, energy * self._energy_unit, distance))
        return index + 1 == count


_LOG_HEADER, _LOG_FIRST = 0, 1
_FIRST_RATES, _LATER_RATES = 9, 13


def encode_heart_rate_request(midnight: datetime) -> bytes:
    """Request for the heart-rate log of the day that starts at `midnight` (ring time as if UTC)."""
    return pack(HEART_RATE_LOG, struct.pack("<I", int(midnight.timestamp())))


def decode_heart_rate_request(payload: bytes) -> datetime:
    """Ring midnight that a heart-rate request asks for."""
    (seconds,) = struct.unpack_from("<I", _expect(payload, HEART_RATE_LOG))
    return datetime.fromtimestamp(seconds, UTC)


def encode_heart_rates(log: HeartRateLog) -> list[bytes]:
    """Answer frames of a day of heart rates, or "nothing"."""
    if not any(log.bpm):
        return [pack(HEART_RATE_LOG, bytes([_NOTHING]))]
    later = range(_FIRST_RATES, len(log.bpm), _LATER_RATES)
    stamp = struct.pack("<I", int(log.midnight.timestamp()))
    frames = [
        pack(HEART_RATE_LOG, bytes([_LOG_HEADER, len(later) + 2, log.step_min])),
        pack(HEART_RATE_LOG, bytes([_LOG_FIRST]) + stamp + log.bpm[:_FIRST_RATES]),
    ]
    for number, start in enumerate(later, _LOG_FIRST + 1):
        frames.append(pack(HEART_RATE_LOG, bytes([number]) + log.bpm[start : start + _LATER_RATES]))
    return frames


class HeartRateAnswer:
    """Collects the frames of a heart-rate log; `log` is there when it is complete and not empty."""

    command = HEART_RATE_LOG

    def __init__(self) -> None:
        self.log: HeartRateLog | None = None
        self._frames = 0
        self._step_min = 0
        self._midnight = datetime.fromtimestamp(0, UTC)
        self._rates = bytearray()
        self._next = _LOG_HEADER

    def feed(self, payload: bytes) -> bool:
        """Take one frame; True when the answer is complete.

        Raises
        ------
        DecodeError
            When the frame is not the next one of a heart-rate answer.
        """
        body = _expect(payload, HEART_RATE_LOG)
        number = body[0]
        if number == _NOTHING:
            return True
        if number != self._next:
            raise DecodeError(f"ring: heart-rate frame {number} instead of {self._next}")
        self._next += 1
        if number == _LOG_HEADER:
            self._frames, self._step_min = body[1], body[2]
            if self._frames < 2 or not self._step_min:
                raise DecodeError(f"ring: heart-rate log of {self._frames} frames every {self._step_min} min")
            return False
        if number == _LOG_FIRST:
            (seconds,) = struct.unpack_from("<I", body, 1)
            self._midnight = datetime.fromtimestamp(seconds, UTC)
            self._rates += body[5:]
        else:
            self._rates += body[1:]
        if self._next < self._frames:
            return False
        slots = 1440 // self._step_min
        self.log = HeartRateLog(
            self._midnight, self._step_min, bytes(self._rates[:slots]).ljust(slots, b"\0")
        )
        return True


def crc16(payload: bytes) -> int:
    """CRC-16/MODBUS."""
    crc = 0xFFFF
    for byte in payload:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def pack_big(kind: int, payload: bytes) -> bytes:
    """Big-data frame."""
    return struct.pack("<BBHH", _BIG_MARK, kind, len(payload), crc16(payload)) + payload


class BigAnswer:
    """Puts a big-data frame together from the notifications it spans."""

    def __init__(self, kind: int) -> None:
        self._kind = kind
        self._buffer = bytearray()
        self.payload = b""

    def feed(self, payload: bytes) -> bool:
        """Take one notification; True when `payload` is complete.

        Raises
        ------
        DecodeError
            When it is not the frame asked for, runs over its length, or its
            checksum is wrong.
        """
        self._buffer += payload
        if len(self._buffer) >= 2 and (self._buffer[0] != _BIG_MARK or self._buffer[1] != self._kind):
            raise DecodeError(f"ring: not a big-data frame of kind 0x{self._kind:02x}")
        if len(self._buffer) < _BIG_HEAD:
            return False
        length, crc = struct.unpack_from("<HH", self._buffer, 2)
        if len(self._buffer) < _BIG_HEAD + length:
            return False
        self.payload = bytes(self._buffer[_BIG_HEAD:])
        if len(self.payload) > length:
            raise DecodeError("ring: bytes after the end of a big-data frame")
        if crc16(self.payload) != crc:
            raise DecodeError("ring: wrong checksum of a big-data frame")
        return True


def encode_sleep_request() -> bytes:
    """Request for every night the ring holds."""
    return pack_big(SLEEP, b"\xff")


def encode_sleep(days: Sequence[SleepDay]) -> bytes:
    """Big-data answer with sleep episodes; stages of more than 255 minutes are cut in two."""
    out = bytearray([len(days)])
    for day in days:
        stages = bytearray()
        for stage, minutes in day.stages:
            for start in range(0, minutes, 255):
                stages += bytes([stage, min(255, minutes - start)])
        out += struct.pack("<BBHH", day.days_ago, 4 + len(stages), day.start_min % 1440, day.end_min) + stages
    return pack_big(SLEEP, bytes(out))


def decode_sleep(payload: bytes) -> tuple[SleepDay, ...]:
    """Sleep episodes in the payload of a big-data frame.

    Raises
    ------
    DecodeError
        When lengths do not add up or a minute lies outside its day.
    """
    if not payload:
        raise DecodeError("ring: empty sleep answer")
    days: list[SleepDay] = []
    at = 1
    for _ in range(payload[0]):
        if at + 2 > len(payload):
            raise DecodeError("ring: sleep answer ends early")
        days_ago, size = payload[at], payload[at + 1]
        body = payload[at + 2 : at + 2 + size]
        if size < 4 or size % 2 or len(body) < size:
            raise DecodeError("ring: sleep day of a wrong length")
        start, end = struct.unpack_from("<HH", body)
        if max(start, end) > 1440:
            raise DecodeError(f"ring: sleep from minute {start} to {end}")
        stages = tuple((body[i], body[i + 1]) for i in range(4, size, 2))
        days.append(SleepDay(days_ago, start - 1440 if start > end else start, end, stages))
        at += 2 + size
    if at != len(payload):
        raise DecodeError("ring: bytes after the last sleep day")
    return tuple(days)
