"""How a frame file's decoders and encoders are called: always with a list of frames."""

from collections.abc import Callable
from typing import Any, Protocol

Decode = Callable[[list[bytes]], Any]
Encode = Callable[[Any], list[bytes]]


class Answer(Protocol):
    def feed(self, payload: bytes) -> bool: ...


def one(decode: Callable[[bytes], Any]) -> Decode:
    return lambda frames: decode(frames[0])


def once(encode: Callable[[Any], bytes]) -> Encode:
    return lambda value: [encode(value)]


def spread(encode: Callable[..., bytes]) -> Encode:
    return lambda values: [encode(*values)]


def fed(answer: Answer, frames: list[bytes]) -> None:
    """Feed every frame; the answer is complete with the last and not before."""
    assert [answer.feed(frame) for frame in frames] == [False] * (len(frames) - 1) + [True]
