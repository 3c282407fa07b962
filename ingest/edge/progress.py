"""How far a gateway has come with each wearable, and what it could not get."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from devices.blobs import unpack_u16
from devices.clock import SECOND
from devices.drivers.session import Gap
from devices.ids import DeviceId
from devices.observations import DeviceHrv, HeartRate, Observation, SleepStage, StepCount, Wear

logger = logging.getLogger(__name__)

#: Called with each gap as it is found.
GapCallback = Callable[[DeviceId, Gap], None]

GAPS_KEPT: Final = 1000
#: A week of a ring: sleep by the minute, rates and steps.
SAID_KEPT: Final = 16_000


class SaidSamples:
    """Values that a wearable's memory has given, by (kind, start), since this process began."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, int], int] = {}

    def note(self, observations: Iterable[Observation]) -> int:
        """Remember these; returns how many had another value before."""
        revised = 0
        for observation in observations:
            for start, value in _slots(observation):
                key = (observation.kind, start)
                revised += self._values.pop(key, value) != value
                self._values[key] = value
        for key in list(self._values)[: max(0, len(self._values) - SAID_KEPT)]:
            del self._values[key]
        return revised


def _slots(observation: Observation) -> Iterator[tuple[int, int]]:
    match observation:
        case StepCount():
            values, period_s = list(unpack_u16(observation.counts)), observation.period_s
        case SleepStage():
            values, period_s = list(observation.stages), observation.epoch_s
        case HeartRate():
            values, period_s = list(observation.bpm), observation.period_s
        case DeviceHrv():
            values, period_s = [observation.value_ms], observation.period_s
        case Wear():
            values, period_s = [int(observation.is_worn)], observation.duration_s
        case _:
            return
    for index, value in enumerate(values):
        yield observation.start_utc + index * period_s * SECOND, value


class Progress:
    """How far one wearable has come.

    Parameters
    ----------
    on_gap : callable, optional
        Takes each gap as it is found: device, gap.

    Attributes
    ----------
    arrived, appended : int
        Streamed notifications: stamped on arrival; accounted for in the spool
        (or rejected).
    samples : int
        Samples appended to the spool.
    rejected : Counter
        Refused frames by reason.
    connections : int
        Connections made.
    is_listening : bool
        Whether a subscription stands: what is notified now is heard.
    revised : int
        History samples said again with another value: the later word wins, none counts twice.
    heard_utc : int or None
        When something last came, microseconds UTC.
    gaps : deque of Gap
        Times for which nothing is known, with the reason; the latest thousand.
    """

    def __init__(self, on_gap: GapCallback | None = None) -> None:
        self._on_gap = on_gap
        self.arrived = 0
        self.appended = 0
        self.samples = 0
        self.rejected: Counter[str] = Counter()
        self.connections = 0
        self.is_listening = False
        self.revised = 0
        self.said = SaidSamples()
        self.heard_utc: int | None = None
        self.gaps: deque[Gap] = deque(maxlen=GAPS_KEPT)
        self._change: asyncio.Future[None] | None = None

    def on_listening(self, is_listening: bool) -> None:
        """Note that a subscription stands, or is gone."""
        self.is_listening = is_listening
        self._tell()

    def on_arrival(self) -> None:
        """Count a notification."""
        self.arrived += 1
        self._tell()

    def on_append(self, notifications: int, samples: int) -> None:
        """Count what a harvest brought into the spool."""
        self.appended += notifications
        self.samples += samples
        self._tell()

    async def until_listening(self) -> None:
        """Wait until a subscription stands."""
        while not self.is_listening:
            await self._next_change()

    async def until_arrived(self, count: int) -> None:
        """Wait until `count` notifications have been stamped by the gateway's clock."""
        while self.arrived < count:
            await self._next_change()

    async def until_appended(self, count: int) -> None:
        """Wait until `count` notifications are accounted for in the spool."""
        while self.appended < count:
            await self._next_change()

    def on_gap(self, device: DeviceId, gap: Gap) -> None:
        """Put a gap on record."""
        self.gaps.append(gap)
        if self._on_gap is not None:
            self._on_gap(device, gap)
        length_ms = (gap.end_utc - gap.start_utc) // 1000
        logger.info(
            "gap device=%s start_utc=%d ms=%d reason=%s", device, gap.start_utc, length_ms, gap.reason
        )

    def _tell(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    async def _next_change(self) -> None:
        if self._change is None or self._change.done():
            self._change = asyncio.get_running_loop().create_future()
        # shielded: one waiter that gives up must not take the future from the others
        await asyncio.shield(self._change)
