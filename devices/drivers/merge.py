"""Notifications of several characteristics, as they come."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from devices.drivers.session import Notification, Session, Stream


class Labelled(NamedTuple):
    """A notification and the characteristic it came by."""

    characteristic: str
    frame: Notification


class Merged:
    """Several streams taken from together; the order within each is kept."""

    def __init__(self, streams: dict[str, Stream], gather_s: float) -> None:
        self._streams = streams
        self._gather_s = gather_s
        self._takes = {name: self._take(stream) for name, stream in streams.items()}

    def _take(self, stream: Stream) -> "asyncio.Task[list[Notification]]":
        return asyncio.create_task(stream.take(gather_s=self._gather_s))

    async def take(self, timeout_s: float | None = None) -> list[Labelled]:
        """All that wait, at least one; raises as :meth:`devices.drivers.session.Stream.take` does."""
        await asyncio.wait(self._takes.values(), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        found: list[Labelled] = []
        ended: BaseException | None = None
        for name, take in list(self._takes.items()):
            if not take.done():
                continue
            if (error := take.exception()) is not None:
                # what another stream still holds comes first
                ended = error
                continue
            found += [Labelled(name, frame) for frame in take.result()]
            self._takes[name] = self._take(self._streams[name])
        if found:
            return found
        raise ended or TimeoutError

    async def aclose(self) -> None:
        """Take no more."""
        for take in self._takes.values():
            take.cancel()
        await asyncio.gather(*self._takes.values(), return_exceptions=True)


@asynccontextmanager
async def subscribed(
    session: Session, characteristics: tuple[str, ...], *, gather_s: float = 0.0
) -> AsyncGenerator[Merged]:
    """Those of the characteristics that the wearable has, for the time of the context.

    A wearable that has none refuses the first, and the link ends with that reason.
    """
    present = [name for name in characteristics if session.has(name)] or characteristics[:1]
    async with AsyncExitStack() as stack:
        streams = {name: await stack.enter_async_context(session.notifications(name)) for name in present}
        together = Merged(streams, gather_s)
        stack.push_async_callback(together.aclose)
        yield together
