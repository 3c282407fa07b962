"""Bangle.js watch: ten-minute blocks of steps, heart rate and movement, pulled now and then.

The clock is read, then set to UTC; the watch keeps its own zone for display, and
stamps history with UTC. What the clock was ahead before is recorded.
"""

from collections.abc import AsyncGenerator, Iterable
from typing import Final

from devices.blobs import pack_u16
from devices.clock import DAY, MINUTE, SECOND
from devices.codec import banglejs
from devices.codec.banglejs import AskTime, Block, Clock, Fetch, FetchState, Message, Request, SetTime
from devices.drivers.readings import read_battery
from devices.drivers.session import Harvest, Item, Plan, Rejected, Session, Stream
from devices.errors import DecodeError, ObservationError
from devices.ids import DeviceId
from devices.observations import HeartRate, Observation, SleepStage, StepCount, Wear

#: How far the history has been read: the end of its last block.
HISTORY_LOG: Final = "history"
#: Milliseconds the watch was ahead of the gateway before it was set, and after, and when that was.
DRIFT_LOG: Final = "clock-drift-ms"
AFTER_LOG: Final = "clock-drift-after-ms"
CLOCK_SET_LOG: Final = "clock-set"

MEMORY_DAYS: Final = 31
ANSWER_TIMEOUT_S: Final = 5.0
#: Payload of a write that fits every link.
_PIECE: Final = 20
#: A clock that is off by less is left alone: setting it costs the history its order.
CLOCK_SLACK_MS: Final = 1000
#: A block may end after now by the drift of a clock, not by more.
AHEAD_US: Final = 2 * MINUTE
_STAGES: Final = {"LIGHT_SLEEP": 2, "DEEP_SLEEP": 3}


class Bangle:
    """Sets the clock, then reads the history from one day before the last pull.

    A history that breaks off keeps its cursor, so the next visit reads it again.
    """

    name: str = "bangle"
    plan: Plan = "history"
    services: tuple[str, ...] = (banglejs.SERVICE,)
    #: By the Battery Service.
    read_battery = staticmethod(read_battery)

    async def run(self, session: Session) -> AsyncGenerator[Harvest]:
        """Pull what is new."""
        async with session.notifications(banglejs.NOTIFY) as stream:
            visit = _Visit(session, stream)
            yield await visit.set_clock()
            yield await visit.history()


class _Visit:
    """One connection to the watch."""

    def __init__(self, session: Session, stream: Stream) -> None:
        self._session = session
        self._stream = stream
        self._lines = banglejs.Lines()
        self._waiting: list[Message] = []
        self._rejected: list[Rejected] = []

    async def set_clock(self) -> Harvest:
        """Set the clock where it is off, and say how far it was, and is."""
        before = await self._ahead_ms()
        now = self._session.now()
        if before is not None and abs(before) <= CLOCK_SLACK_MS:
            return Harvest(self._take_rejected(), {DRIFT_LOG: before, AFTER_LOG: before, CLOCK_SET_LOG: now})
        # a watch that does not tell its time is set all the same
        await self._send(SetTime(now // 1000))
        cursors = {CLOCK_SET_LOG: now}
        if before is not None:
            cursors[DRIFT_LOG] = before
            if (after := await self._ahead_ms()) is not None:
                cursors[AFTER_LOG] = after
        return Harvest(self._take_rejected(), cursors)

    async def _ahead_ms(self) -> int | None:
        """Milliseconds that the watch is ahead; ``None`` when it does not tell its time."""
        await self._send(AskTime())
        try:
            while not isinstance(message := await self._next(), Clock):
                pass
        except TimeoutError:
            return None
        return message.ms - self._session.now() // 1000

    async def history(self) -> Harvest:
        """Everything since one day before the cursor."""
        now, cursor = self._session.now(), self._session.cursor(HISTORY_LOG)
        since = now - MEMORY_DAYS * DAY if cursor is None else min(cursor, now) - DAY
        await self._send(Fetch(since // 1000))
        blocks, is_whole = await self._blocks()
        items: list[Item] = []
        newest = cursor or 0
        for block in blocks:
            end = block.end_ms * 1000
            if not since <= end <= now + AHEAD_US:
                reason = "banglejs: block outside the time asked for"
                self._rejected.append(Rejected(StepCount.kind, reason, banglejs.encode_message(block)))
                continue
            items += self._checked(block_observations(self._session.device, block))
            newest = max(newest, end)
        cursors = {HISTORY_LOG: newest} if is_whole and newest else {}
        return Harvest((*self._take_rejected(), *items), cursors)

    async def _blocks(self) -> tuple[list[Block], bool]:
        """Blocks of the answer by their time, and whether all of it came."""
        blocks: list[Block] = []
        is_whole = False
        try:
            while True:
                match await self._next():
                    case Block() as block:
                        blocks.append(block)
                    case FetchState(int() as count):
                        is_whole = count == len(blocks) and not self._rejected
                        break
                    case _:
                        # the beginning; live steps and notifications, which nobody asked for
                        pass
        except TimeoutError:
            pass
        # a clock set back says a block twice: the later word wins
        latest = {block.end_ms: block for block in blocks}
        return [latest[at] for at in sorted(latest)], is_whole

    def _checked(self, observations: Iterable[Observation]) -> list[Observation]:
        kept: list[Observation] = []
        for observation in observations:
            try:
                observation.check()
            except ObservationError as error:
                self._rejected.append(Rejected(observation.kind, str(error), repr(observation).encode()))
            else:
                kept.append(observation)
        return kept

    async def _send(self, request: Request) -> None:
        line = banglejs.encode_request(request)
        for at in range(0, len(line), _PIECE):
            await self._session.write(banglejs.WRITE, line[at : at + _PIECE])

    async def _next(self) -> Message:
        """Next message; what is not one is kept with its reason."""
        while not self._waiting:
            for frame in await self._stream.take(ANSWER_TIMEOUT_S):
                self._read(frame.payload)
        return self._waiting.pop(0)

    def _read(self, payload: bytes) -> None:
        try:
            lines = self._lines.feed(payload)
        except DecodeError as error:
            self._rejected.append(Rejected(StepCount.kind, str(error), payload))
            return
        for line in filter(banglejs.is_message, lines):
            try:
                self._waiting.append(banglejs.decode_message(line))
            except DecodeError as error:
                self._rejected.append(Rejected(StepCount.kind, str(error), line))

    def _take_rejected(self) -> tuple[Rejected, ...]:
        taken, self._rejected = tuple(self._rejected), []
        return taken


def block_observations(device: DeviceId, block: Block) -> list[Observation]:
    """What ten minutes say.

    No steps is said only of a watch that was worn: a pulse or a classified activity
    vouches for it, "UNKNOWN" does not.
    """
    start = block.end_ms * 1000 - banglejs.BLOCK_S * SECOND
    source, period_s = banglejs.SOURCE, banglejs.BLOCK_S
    said: list[Observation] = []
    is_off = block.activity == "NOT_WORN"
    if block.steps or (not is_off and (block.bpm or block.activity != "UNKNOWN")):
        counts = pack_u16([block.steps])
        said.append(
            StepCount(device=device, start_utc=start, source=source, period_s=period_s, counts=counts)
        )
    if block.bpm:
        bpm = bytes([block.bpm])
        said.append(HeartRate(device=device, start_utc=start, source=source, period_s=period_s, bpm=bpm))
    if is_off:
        said.append(Wear(device=device, start_utc=start, source=source, duration_s=period_s, is_worn=False))
    if stage := _STAGES.get(block.activity):
        stages = bytes([stage])
        said.append(
            SleepStage(device=device, start_utc=start, source=source, epoch_s=period_s, stages=stages)
        )
    return said
