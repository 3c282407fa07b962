"""Notifications of several characteristics, as they come."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NamedTuple

from devices.drivers.session import Notification, Stream


class Labelled(NamedTuple):
    """A notification and the number of the stream it came by."""

    stream: int
    frame: Notification


class Merged:
    """Several streams taken from together; the order within each is kept."""

    def __init__(self, streams: tuple[Stream, ...], gather_s: float) -> None:
        self._streams = streams
        self._gather_s = gather_s
        self._takes = [self._take(stream) for stream in streams]

    def _take(self, stream: Stream) -> "asyncio.Task[list[Notification]]":
        return asyncio.create_task(stream.take(gather_s=self._gather_s))

    async def take(self, timeout_s: float | None = None) -> list[Labelled]:
        """All that wait, at least one; raises as :meth:`devices.drivers.session.Stream.take` does."""
        await asyncio.wait(self._takes, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        found: list[Labelled] = []
        ended: BaseException | None = None
        for number, take in enumerate(self._takes):
            if not take.done():
                continue
            if (error := take.exception()) is not None:
                # what another stream still holds comes first
                ended = error
                continue
            found += [Labelled(number, frame) for frame in take.result()]
            self._takes[number] = self._take(self._streams[number])
        if found:
            return found
        raise ended or TimeoutError

    async def aclose(self) -> None:
        """Take no more."""
        for take in self._takes:
            take.cancel()
        await asyncio.gather(*self._takes, return_exceptions=True)


@asynccontextmanager
async def merged(*streams: Stream, gather_s: float = 0.0) -> AsyncGenerator[Merged]:
    """The streams as one, for the time of the context."""
    together = Merged(streams, gather_s)
    try:
        yield together
    finally:
        await together.aclose()
