"""Streams taken together: what one still holds comes before the end that another has met."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from devices.drivers.bangle import Bangle
from devices.drivers.merge import Labelled, Merged
from devices.drivers.session import Notification


class Held:
    """A stream with some notifications, and the end of the link after them."""

    def __init__(self, *held: Notification) -> None:
        self._held = list(held)

    async def take(self, timeout_s: float | None = None, *, gather_s: float = 0.0) -> list[Notification]:
        if not self._held:
            raise ConnectionError("link lost")
        held, self._held = self._held, []
        return held


async def test_what_is_held_comes_before_the_end() -> None:
    frame = Notification(b"x", 1)
    together = Merged({"empty": Held(), "full": Held(frame)}, 0.0)
    try:
        assert await together.take() == [Labelled("full", frame)]
        with pytest.raises(ConnectionError, match="link lost"):
            await together.take()
    finally:
        await together.aclose()


class Console:
    """A Bangle.js that says nothing; keeps what is written to it."""

    device = "watch-1"

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def now(self) -> int:
        return 1_705_320_000_000_000

    @asynccontextmanager
    async def notifications(self, characteristic: str) -> AsyncGenerator[Held]:
        yield Held()

    async def write(self, characteristic: str, value: bytes) -> None:
        self.written.append(value)
        if b"\n" in value:
            raise ConnectionError


async def test_bangle_writes_fit_the_smallest_link() -> None:
    console = Console()
    visits = Bangle().run(console)  # type: ignore[arg-type]
    with pytest.raises(ConnectionError):
        await anext(visits)
    assert max(map(len, console.written)) <= 20
    assert b"".join(console.written).endswith(b"\n")
