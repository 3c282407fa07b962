"""Simulated Bangle.js: a month of ten-minute blocks, told line by line in pieces."""

from collections.abc import Iterable

from devices.clock import Clock
from devices.codec import banglejs
from devices.codec.banglejs import AskTime, Block, Fetch, FetchState, Message, SetTime
from devices.errors import DecodeError
from devices.sim.wearable import Characteristic, Property, Service, Wearable


class BangleWatch(Wearable):
    """Bangle.js with its Android app.

    Parameters
    ----------
    clock : Clock
        True time, microseconds UTC.
    offset_us : int
        Error of its clock.
    chunk : int
        Bytes per notification.
    """

    def __init__(self, name: str, address: str, *, clock: Clock, offset_us: int = 0, chunk: int = 20) -> None:
        self.offset_us = offset_us
        #: Bytes it prints amid a history: what a console, or a fault, adds.
        self.noise = b""
        #: Ends a history after so many blocks, without a word.
        self.breaks_after: int | None = None
        self._clock = clock
        self._chunk = chunk
        self._blocks: dict[int, Block] = {}
        self._lines = banglejs.Lines()
        uart = Service(
            banglejs.SERVICE,
            (
                Characteristic(
                    banglejs.WRITE, Property.WRITE | Property.WRITE_WITHOUT_RESPONSE, write=self._on_write
                ),
                Characteristic(banglejs.NOTIFY, Property.NOTIFY),
            ),
        )
        super().__init__(name, address, (uart,), (banglejs.SERVICE,))

    def remember(self, blocks: Iterable[Block]) -> None:
        """Store blocks; a later one of the same time replaces the earlier."""
        self._blocks.update({block.end_ms: block for block in blocks})

    async def _on_write(self, payload: bytes) -> None:
        for line in self._lines.feed(payload):
            try:
                request = banglejs.decode_request(line)
            except DecodeError:
                await self._say(b'Uncaught SyntaxError: Got "?"\r\n>')
                continue
            match request:
                case AskTime():
                    await self._tell(banglejs.Clock(self._now_ms))
                case SetTime():
                    self.offset_us = request.ms * 1000 - self._clock()
                case Fetch():
                    await self._tell_history(request.since_ms)

    @property
    def _now_ms(self) -> int:
        return (self._clock() + self.offset_us) // 1000

    async def _tell_history(self, since_ms: int) -> None:
        await self._tell(FetchState())
        found = [self._blocks[at] for at in sorted(self._blocks) if at >= since_ms]
        for index, block in enumerate(found):
            if index == self.breaks_after:
                return
            await self._tell(block)
        await self._say(self.noise)
        await self._tell(FetchState(len(found)))

    async def _tell(self, message: Message) -> None:
        await self._say(banglejs.encode_message(message))

    async def _say(self, text: bytes) -> None:
        for at in range(0, len(text), self._chunk):
            await self.notify(banglejs.NOTIFY, text[at : at + self._chunk])
