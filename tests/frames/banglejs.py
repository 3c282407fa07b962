"""Readers of banglejs.toml."""

from collections.abc import Callable
from typing import Any

from devices.codec import banglejs
from tests.frames.reading import Encode, one


def lines(frames: list[bytes]) -> list[bytes]:
    joined = banglejs.Lines()
    return [line for frame in frames for line in joined.feed(frame)]


def line(encode: Callable[[Any], bytes]) -> Encode:
    return lambda value: [encode(value).rstrip(b"\n")]


def named(message: Any) -> list[Any]:
    """A message says in the file which of the many it is."""
    return [type(message).__name__, *message]


CODECS = {
    "message": (one(banglejs.decode_message), line(banglejs.encode_message)),
    "request": (one(banglejs.decode_request), line(banglejs.encode_request)),
    "lines": (lines, None),
}
IN_WORDS = dict.fromkeys(
    (banglejs.Block, banglejs.Live, banglejs.FetchState, banglejs.Other, banglejs.Fetch, banglejs.SetTime),
    named,
)
