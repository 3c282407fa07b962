"""Bangle.js: JSON lines over the Nordic UART service.

The watch runs a JavaScript console; a command is JavaScript after a 0x10, which
keeps the console from echoing it. The answer comes in pieces of any size: lines of
JSON between whatever else the console prints. History is one line per ten minutes,
stamped (ms since 1970, by the watch's clock) with the *end* of its block.

Layout after espruino/BangleApps (MIT), its Android app.
"""

import json
import math
import re
from typing import Any, Final, NamedTuple, TypeGuard

from devices.errors import DecodeError

SERVICE: Final = "6e400001-b5a3-f393-e0a9-e50e24dcca9e"
WRITE: Final = "6e400002-b5a3-f393-e0a9-e50e24dcca9e"
NOTIFY: Final = "6e400003-b5a3-f393-e0a9-e50e24dcca9e"
SOURCE: Final = "banglejs/1"

BLOCK_S: Final = 600
ACTIVITIES: Final = ("UNKNOWN", "NOT_WORN", "WALKING", "EXERCISE", "LIGHT_SLEEP", "DEEP_SLEEP")
#: Far above any line of the watch: what grows beyond it is not lines.
LONGEST_LINE: Final = 4096
#: Numbers a double keeps exact: JavaScript has no others.
_LARGEST: Final = 2**53
_FETCH: Final = re.compile(rb'\x10GB\(\{"t":"actfetch","ts":(\d{1,16})\}\)')
_SET_TIME: Final = re.compile(rb"\x10setTime\((\d{1,13}\.\d{3})\)")
_ASK_TIME: Final = b'\x10Bluetooth.println(JSON.stringify({t:"clock",ms:Date.now()}))'


class Fetch(NamedTuple):
    """Request for all blocks that end at or after `since_ms` (ms since 1970)."""

    since_ms: int


class SetTime(NamedTuple):
    """Request to set the clock, ms since 1970; the watch keeps its zone."""

    ms: int


class AskTime(NamedTuple):
    """Request for the clock."""


class Clock(NamedTuple):
    """The watch's clock, ms since 1970."""

    ms: int


class FetchState(NamedTuple):
    """Begin (`blocks` is ``None``) or end of a history, with the number of blocks in it."""

    blocks: int | None = None


class Block(NamedTuple):
    """Ten minutes of history.

    `end_ms` is ms since 1970; `bpm` is 0 when there was no reading; `activity` is
    one of :data:`ACTIVITIES`.
    """

    end_ms: int
    steps: int
    bpm: int = 0
    movement: int = 0
    activity: str = "UNKNOWN"


class Live(NamedTuple):
    """Steps since the message before, and the heart rate (0 is none)."""

    steps: int
    bpm: int = 0


class Other(NamedTuple):
    """Another message of the watch (notifications, music ...)."""

    type: str


Request = Fetch | SetTime | AskTime
Message = Clock | FetchState | Block | Live | Other


class Lines:
    """Puts lines together from the notifications they span."""

    def __init__(self) -> None:
        self._open = bytearray()

    def feed(self, payload: bytes) -> list[bytes]:
        """Complete lines, without their ends.

        Raises
        ------
        DecodeError
            When a line is longer than :data:`LONGEST_LINE`; it is dropped.
        """
        self._open += payload
        *whole, rest = self._open.split(b"\n")
        self._open = rest
        if max(map(len, (rest, *whole))) > LONGEST_LINE:
            self._open.clear()
            raise DecodeError(f"banglejs: line of more than {LONGEST_LINE} bytes")
        return [bytes(line).strip(b"\r") for line in whole]


def is_message(line: bytes) -> bool:
    """Whether the line claims to be JSON, or is only what the console prints."""
    return line.lstrip().startswith(b"{")


def encode_request(request: Request) -> bytes:
    """Line that the watch's console runs."""
    match request:
        case Fetch():
            line = b'\x10GB({"t":"actfetch","ts":%d})' % request.since_ms
        case SetTime():
            line = b"\x10setTime(%d.%03d)" % divmod(request.ms, 1000)
        case AskTime():
            line = _ASK_TIME
    return line + b"\n"


def decode_request(line: bytes) -> Request:
    """Request of a line without its end.

    Raises
    ------
    DecodeError
        When it is none of ours.
    """
    if found := _FETCH.fullmatch(line):
        return Fetch(int(found[1]))
    if found := _SET_TIME.fullmatch(line):
        return SetTime(int(found[1].replace(b".", b"")))
    if line == _ASK_TIME:
        return AskTime()
    raise DecodeError("banglejs: not a known request")


def encode_message(message: Message) -> bytes:
    """Line that the watch sends."""
    match message:
        case Clock():
            fields: dict[str, object] = {"t": "clock", "ms": message.ms}
        case FetchState(None):
            fields = {"t": "actfetch", "state": "start"}
        case FetchState():
            fields = {"t": "actfetch", "state": "end", "count": message.blocks}
        case Block():
            names = ("ts", "stp", "hrm", "mov", "act")
            fields = {"t": "act", **dict(zip(names, message, strict=True))}
        case Live():
            fields = {"t": "act", "stp": message.steps, "hrm": message.bpm, "rt": 1}
        case Other():
            fields = {"t": message.type}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def decode_message(line: bytes) -> Message:
    """Message of a line without its end.

    Raises
    ------
    DecodeError
        When it is not JSON, or a field is missing or not what it should be.
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise DecodeError("banglejs: malformed JSON") from None
    if not _is_object(fields) or not isinstance(kind := fields.get("t"), str):
        raise DecodeError("banglejs: message without a type")
    match kind:
        case "clock":
            return Clock(_number(fields, "ms", _LARGEST))
        case "actfetch":
            return _state(fields)
        case "act" if "ts" in fields:
            return _block(fields)
        case "act":
            return Live(_number(fields, "stp", 65_535), _number(fields, "hrm", 255, missing=0))
        case _:
            return Other(kind)


def _is_object(found: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(found, dict)


def _state(fields: dict[str, Any]) -> FetchState:
    match fields.get("state"):
        case "start":
            return FetchState()
        case "end":
            return FetchState(_number(fields, "count", 1_000_000))
        case _:
            raise DecodeError("banglejs: history neither begins nor ends")


def _block(fields: dict[str, Any]) -> Block:
    # watches before the classification say no activity
    activity = fields.get("act", "UNKNOWN")
    if activity not in ACTIVITIES:
        raise DecodeError("banglejs: unknown activity")
    return Block(
        _number(fields, "ts", _LARGEST),
        _number(fields, "stp", 65_535),
        _number(fields, "hrm", 255, missing=0),
        _number(fields, "mov", _LARGEST, missing=0),
        activity,
    )


def _number(fields: dict[str, Any], name: str, most: int, *, missing: int | None = None) -> int:
    """Whole number of 0 to `most`; JavaScript averages, so that a fraction is rounded."""
    found = fields.get(name, missing)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= most:
        raise DecodeError(f"banglejs: {name} is not a number of 0-{most}")
    return math.floor(found + 0.5) if isinstance(found, float) else found
