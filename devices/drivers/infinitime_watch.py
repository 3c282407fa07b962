"""PineTime with InfiniTime: step counter and heart rate, streamed live; its clock set.

The watch keeps no history but the steps of its day. While the link stands every
change of the counter is heard, so steps come by the minute; after a lost link what
was added comes as one long interval, because nobody knows when in it they were made.
"""

from collections.abc import AsyncGenerator
from typing import Final

from devices.clock import DAY, MINUTE
from devices.codec import heart_rate, infinitime
from devices.drivers.hr_strap import read_frame
from devices.drivers.merge import Labelled, Merged, subscribed
from devices.drivers.readings import read_battery
from devices.drivers.session import Harvest, Item, Plan, Rejected, Session
from devices.drivers.step_counter import SETTLED_LOG, VALUE_LOG, StepCounter
from devices.drivers.wall_clock import set_clock
from devices.errors import DecodeError
from devices.observations import HeartRate, StepCount

_GATHER_S: Final = 0.05
#: How often the gateway looks whether a minute is over when the watch says nothing.
_LOOK_S: Final = 10.0


class InfiniTime:
    """Sets the clock, reads the step counter, then streams steps and heart rates."""

    name: str = "infinitime"
    plan: Plan = "live"
    services: tuple[str, ...] = (infinitime.SERVICE,)
    #: Says nothing while it lies still: an hour of silence is a wearer asleep, more is looked into.
    silence_s: float = 3600.0
    #: By the Battery Service.
    read_battery = staticmethod(read_battery)

    async def run(self, session: Session) -> AsyncGenerator[Harvest]:
        """Stream until the link ends."""
        yield await read_battery(session)
        watch = _Watch(session)
        # the counter is absolute: nothing can slip in between reading and subscribing
        yield await watch.begin()
        streams = (infinitime.STEPS, heart_rate.MEASUREMENT)
        async with subscribed(session, streams, gather_s=_GATHER_S) as together:
            async for harvest in watch.stream(together):
                yield harvest


class _Watch:
    """One connection to the watch."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._counter: StepCounter | None = None
        self._clock_set = session.now()
        self._heard = session.now()
        self._has_pulse = False

    async def begin(self) -> Harvest:
        """Read the counter, then set the clock, which may begin a new day on the watch."""
        payload = await self._session.read(infinitime.STEPS)
        now = self._session.now()
        clock = await set_clock(self._session)
        try:
            reading = infinitime.decode_steps(payload)
        except DecodeError as error:
            return Harvest((*clock.rejected, Rejected(StepCount.kind, str(error), payload)), clock.cursors)
        self._counter = self._resume(reading, now, clock.midnight_utc)
        if not self._counter.is_ripe(now):
            return Harvest(clock.rejected, clock.cursors)
        begun = self._counter.settle(now, is_worn=False)
        return Harvest((*clock.rejected, *begun.items), {**clock.cursors, **begun.cursors}, gaps=begun.gaps)

    def _resume(self, reading: int, now: int, midnight: int | None) -> StepCounter:
        until, value = self._session.cursor(SETTLED_LOG), self._session.cursor(VALUE_LOG)
        settled = None if until is None or value is None else (until, value)
        return StepCounter.resume(
            self._session.device, infinitime.SOURCE, reading, now, settled=settled, midnight=midnight
        )

    async def stream(self, together: Merged) -> AsyncGenerator[Harvest]:
        """Heart rates as they come, steps by the minute, until the link ends."""
        while True:
            try:
                batch = await together.take(_LOOK_S)
            except TimeoutError:
                batch = []
            except Exception:
                # the link is gone: what was counted is worth keeping before midnight takes it
                yield self._last_words()
                raise
            for labelled in batch:
                yield self._read(labelled)
            if (settled := self._settle(self._session.now())) is not None:
                yield settled
            if self._session.now() - self._clock_set >= DAY:
                clock = await set_clock(self._session)
                self._clock_set = self._session.now()
                yield Harvest(clock.rejected, clock.cursors)

    def _read(self, labelled: Labelled) -> Harvest:
        frame = labelled.frame
        before = self._settle(frame.arrival_utc)
        items: tuple[Item, ...] = ()
        if labelled.characteristic == heart_rate.MEASUREMENT:
            items = read_frame(self._session.device, frame)
            self._has_pulse |= any(isinstance(item, HeartRate) for item in items)
        else:
            items = self._read_steps(frame.payload, frame.arrival_utc)
        self._heard = frame.arrival_utc
        if before is None:
            return Harvest(items, notifications=1)
        return Harvest((*before.items, *items), before.cursors, notifications=1, gaps=before.gaps)

    def _read_steps(self, payload: bytes, now: int) -> tuple[Item, ...]:
        try:
            reading = infinitime.decode_steps(payload)
        except DecodeError as error:
            return (Rejected(StepCount.kind, str(error), payload),)
        if self._counter is None:
            self._counter = self._resume(reading, now, None)
        else:
            self._counter.read(reading)
        return ()

    def _settle(self, now: int) -> Harvest | None:
        """The minutes that are over, as one interval; a minute goes on until its steps fit into it."""
        counter, minute = self._counter, now // MINUTE * MINUTE
        if counter is None:
            return None
        counter.heed_clock(now)
        if not counter.is_ripe(minute):
            return None
        harvest = counter.settle(minute, is_worn=self._has_pulse)
        self._has_pulse = False
        return harvest

    def _last_words(self) -> Harvest:
        counter = self._counter
        if counter is None or not counter.pending or not counter.is_ripe(self._heard):
            return Harvest(())
        return counter.settle(self._heard, is_worn=self._has_pulse)
