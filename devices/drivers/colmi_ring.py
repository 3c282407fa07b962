"""Colmi R02-family ring: seven days of steps, heart rates, sleep and a vendor's variability number.

Ring time has no zone. This driver keeps the ring at one offset from UTC, zero
unless it is found at another: ring days are then 24 hours long, and the local day
is made at the clinic from the patient's zone. A ring that another application has
set keeps that offset, so that no two times ever share a stamp, and its memory is
converted by it; how it is noticed is told in :mod:`devices.drivers.colmi_clock`.
The offsets before and after each visit are recorded with the history cursors. A
ring tells no time, so that a drift of less than a quarter hour cannot be seen; it
is ended by setting the clock at every visit.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final, Protocol

from devices.clock import DAY, HOUR, MINUTE, SECOND, from_utc, to_utc
from devices.codec import colmi, colmi_hrv
from devices.drivers.colmi_clock import DRIFT_MOST_S, RingClock, settled_until, zone_above
from devices.drivers.colmi_memory import (
    midnight_of,
    rate_runs,
    sleep_runs,
    slot_ring,
    step_runs,
    steps_until,
    variability_readings,
)
from devices.drivers.session import Gap, Harvest, Item, Plan, Rejected, Session, Stream
from devices.errors import DecodeError, ObservationError
from devices.observations import Battery, DeviceHrv, HeartRate, Observation, SleepStage, StepCount

STEPS_LOG, RATES_LOG, SLEEP_LOG = StepCount.kind, HeartRate.kind, SleepStage.kind
HRV_LOG = DeviceHrv.kind
#: Seconds ring time is ahead of UTC: as set at the last visit, and as found at it.
OFFSET_LOG: Final = "clock-offset-s"
FOUND_LOG: Final = "clock-offset-found-s"
#: The offset before the last change, and when it ended (microseconds UTC): older memory is on it.
BEFORE_LOG: Final = "clock-offset-before-s"
CHANGED_LOG: Final = "clock-changed"
#: When the clock was last set, microseconds UTC.
CLOCK_SET_LOG: Final = "clock-set"
#: Seconds its newest stamp was ahead of the gateway at the visit: its clock was there at least.
NEWEST_LOG: Final = "clock-newest-s"
#: Steps of a day up to a ring time at which they no longer change: more of them, and the ring was set back.
SETTLED_LOG: Final = "steps-settled"
SETTLED_SUM_LOG: Final = "steps-settled-sum"

MEMORY_DAYS: Final = 7
#: A clock that is farther behind is in no zone: it was lost.
_FARTHEST_US: Final = 12 * HOUR
#: A ring answers within a second; some firmware never answers a command it does not know.
ANSWER_TIMEOUT_S: Final = 5.0
#: After a broken answer: this long without a frame and the rest of it is over.
QUIET_S: Final = 0.5
FORGOTTEN: Final = "ring: older than its memory"
NO_SLEEP: Final = "ring: without the service that tells sleep"

SET_BACK: Final = "ring: its clock was set back, and it wrote over what it held"
LOST_CLOCK: Final = "ring: its clock was lost, and what it wrote then has no time"
_PUSH: Final = bytes([colmi.PUSH])


class _Answer(Protocol):
    def feed(self, payload: bytes) -> bool: ...


class ColmiRing:
    """Sets the clock, then reads battery, steps, heart-rate log, sleep and variability log.

    Every pull begins one day before the last one ended: a slot may have grown,
    and the later reading wins. A log whose answer is broken or missing keeps its
    cursor, so the next visit reads it again.
    """

    name: str = "colmi_ring"
    plan: Plan = "history"
    services: tuple[str, ...] = (colmi.SERVICE,)

    async def read_battery(self, session: Session) -> Harvest:
        """Battery level by the ring's own command."""
        async with session.notifications(colmi.NOTIFY) as small:
            return await _Visit(session, small, None).battery()

    async def run(self, session: Session) -> AsyncGenerator[Harvest]:
        """Pull what is new, oldest day first."""
        async with AsyncExitStack() as stack:
            small = await stack.enter_async_context(session.notifications(colmi.NOTIFY))
            has_big = session.has(colmi.BIG_NOTIFY) and session.has(colmi.BIG_WRITE)
            big = (
                await stack.enter_async_context(session.notifications(colmi.BIG_NOTIFY)) if has_big else None
            )
            visit = _Visit(session, small, big)
            await visit.find_offset()
            yield await visit.set_clock()
            yield await visit.battery()
            for days_ago in visit.days_to_read(STEPS_LOG):
                yield await visit.steps(days_ago)
            for days_ago in visit.days_to_read(RATES_LOG):
                yield await visit.heart_rates(days_ago)
            yield await visit.sleep()
            for days_ago in visit.days_to_read(HRV_LOG):
                yield await visit.variability(days_ago)


class _Visit:
    """One connection to the ring."""

    def __init__(self, session: Session, small: Stream, big: Stream | None) -> None:
        self._session = session
        self._small = small
        self._big = big
        self._broken: set[str] = set()
        self._clock = RingClock(
            session.cursor(OFFSET_LOG) or 0, session.cursor(BEFORE_LOG), session.cursor(CHANGED_LOG)
        )
        self._visited = session.cursor(CLOCK_SET_LOG)
        self._newest_s: int | None = None
        self._found_s = self._before_visit_s = self._clock.offset_s
        self._gaps: list[Gap] = []
        self._lost: list[Rejected] = []
        self._midnight = self._ring_midnight()

    def _ring_now(self) -> int:
        """What the ring's clock shows if it is where it was set."""
        return self._session.now() + self._clock.offset_s * SECOND

    def _ring_midnight(self) -> int:
        """Start of the ring's today, in ring time."""
        return midnight_of(self._ring_now())

    async def find_offset(self) -> None:
        """Offset of the ring before anything is set, as far as its memory tells."""
        slots = await self._slots_of(0)
        newest = max(map(slot_ring, slots), default=None)
        if newest is None:
            return
        newest = max(newest, await self._newest_rate(midnight_of(newest)))
        now = self._session.now()
        ahead_s = self._newest_s = (newest - now) // SECOND
        is_ahead = ahead_s - self._clock.offset_s > DRIFT_MOST_S
        if not is_ahead and not await self._is_behind(newest, slots):
            return
        found_s = zone_above(ahead_s)
        if found_s is None or midnight_of(newest) + DAY < now - _FARTHEST_US:
            # a ring whose battery was empty begins anew at a date of its own
            self._found_s = ahead_s
            self._gaps.append(Gap(min(self._visited or now, now), now, LOST_CLOCK))
            lost = [colmi.encode_steps([slot])[-1] for slot in slots]
            self._lost += [Rejected(STEPS_LOG, LOST_CLOCK, frame) for frame in lost]
            return
        if not is_ahead and found_s >= self._clock.offset_s:
            return
        self._found_s = found_s
        changed = self._visited
        if changed is not None and changed > now:
            # the gateway's own clock was ahead at that visit, and set the ring by it: the true time follows
            changed += (self._clock.offset_s - found_s) * SECOND
        self._clock = self._clock.set_to(found_s, changed)
        if (over := self._clock.overwritten_us()) and self._visited is not None:
            self._gaps.append(Gap(self._visited, min(now, self._visited + over), SET_BACK))
        self._midnight = self._ring_midnight()

    async def _slots_of(self, days_ago: int) -> list[colmi.StepSlot]:
        answer = colmi.StepsAnswer()
        request = colmi.encode_steps_request(days_ago)
        await self._ask(colmi.WRITE, request, self._small, answer, FOUND_LOG)
        return answer.slots

    async def _newest_rate(self, midnight: int) -> int:
        """Ring time of the day's last heart rate; more often told than steps are made."""
        answer = colmi.HeartRateAnswer()
        request = colmi.encode_heart_rate_request(from_utc(midnight))
        await self._ask(colmi.WRITE, request, self._small, answer, FOUND_LOG)
        if answer.log is None or not (told := len(answer.log.bpm.rstrip(b"\0"))):
            return 0
        return to_utc(answer.log.midnight) + (told - 1) * answer.log.step_min * MINUTE

    async def _is_behind(self, newest: int, slots: Sequence[colmi.StepSlot]) -> bool:
        """Whether the ring's today is an earlier day, or steps were written into what was long over."""
        if newest < self._midnight and self._ring_now() - self._midnight > DRIFT_MOST_S * SECOND:
            return True
        settled, total = self._session.cursor(SETTLED_LOG), self._session.cursor(SETTLED_SUM_LOG)
        if not settled or total is None or self._session.now() < (self._visited or 0):
            return False
        days_ago = (self._midnight - midnight_of(settled - 1)) // DAY
        if not 0 <= days_ago < MEMORY_DAYS:
            return False
        if days_ago:
            slots = await self._slots_of(days_ago)
        return FOUND_LOG not in self._broken and steps_until(settled, slots) != total

    def days_to_read(self, log: str) -> range:
        """Days ago to read, oldest first: one day before the cursor up to today."""
        cursor = self._session.cursor(log)
        oldest = MEMORY_DAYS - 1
        if cursor is not None:
            last = midnight_of(cursor - DAY + self._clock.offset_s * SECOND)
            oldest = min(oldest, max(0, (self._midnight - last) // DAY))
        return range(oldest, -1, -1)

    async def set_clock(self) -> Harvest:
        now = self._session.now()
        answer = _Acknowledgement(colmi.SET_TIME)
        request = colmi.encode_set_time(from_utc(now + self._clock.offset_s * SECOND))
        rejected = await self._ask(colmi.WRITE, request, self._small, answer, CLOCK_SET_LOG)
        rejected = (*self._lost, *rejected)
        if CLOCK_SET_LOG in self._broken:
            return Harvest(rejected)
        clock = self._clock
        cursors = {OFFSET_LOG: clock.offset_s, FOUND_LOG: self._found_s, CLOCK_SET_LOG: now}
        if self._newest_s is not None:
            cursors[NEWEST_LOG] = self._newest_s
        if clock.before_s is not None and clock.changed_utc is not None:
            cursors |= {BEFORE_LOG: clock.before_s, CHANGED_LOG: clock.changed_utc}
        if self._found_s != self._before_visit_s or now < (self._visited or 0):
            # what was over by another clock is over no more
            cursors[SETTLED_LOG] = 0
        return Harvest(rejected, cursors, gaps=(*self._gaps, *self._forgotten(now)))

    def _forgotten(self, now: int) -> tuple[Gap, ...]:
        """What the ring has overwritten since it was last read."""
        cursor = self._session.cursor(STEPS_LOG)
        oldest = self._midnight - (MEMORY_DAYS - 1) * DAY - self._clock.offset_s * SECOND
        if cursor is None or cursor >= oldest or now < cursor:
            return ()
        return (Gap(cursor, oldest, FORGOTTEN),)

    async def battery(self) -> Harvest:
        answer = _Acknowledgement(colmi.BATTERY)
        rejected = await self._ask(colmi.WRITE, colmi.pack(colmi.BATTERY), self._small, answer, Battery.kind)
        if Battery.kind in self._broken:
            return Harvest(rejected)
        try:
            level, _ = colmi.decode_battery(answer.frame)
        except DecodeError as error:
            return Harvest((Rejected(Battery.kind, str(error), answer.frame),))
        reading = Battery(
            device=self._session.device, start_utc=self._session.now(), source=colmi.SOURCE, level_pct=level
        )
        return Harvest((reading,))

    async def steps(self, days_ago: int) -> Harvest:
        answer = colmi.StepsAnswer()
        request = colmi.encode_steps_request(days_ago)
        rejected = await self._ask(colmi.WRITE, request, self._small, answer, STEPS_LOG)
        found = self._harvest(
            STEPS_LOG, rejected, step_runs(self._session.device, answer.slots, self._clock.utc)
        )
        settled = settled_until(self._ring_now())
        if STEPS_LOG in self._broken or days_ago != (self._midnight - midnight_of(settled - 1)) // DAY:
            return found
        over = {SETTLED_LOG: settled, SETTLED_SUM_LOG: steps_until(settled, answer.slots)}
        return replace(found, cursors={**found.cursors, **over})

    async def heart_rates(self, days_ago: int) -> Harvest:
        answer = colmi.HeartRateAnswer()
        request = colmi.encode_heart_rate_request(from_utc(self._midnight - days_ago * DAY))
        rejected = await self._ask(colmi.WRITE, request, self._small, answer, RATES_LOG)
        found = [] if answer.log is None else rate_runs(self._session.device, answer.log, self._clock.utc)
        return self._harvest(RATES_LOG, rejected, found)

    async def sleep(self) -> Harvest:
        if self._big is None:
            # its steps are worth a visit all the same
            return Harvest((Rejected(SLEEP_LOG, NO_SLEEP, b""),))
        answer = colmi.BigAnswer(colmi.SLEEP)
        request = colmi.encode_sleep_request()
        rejected = await self._ask(colmi.BIG_WRITE, request, self._big, answer, SLEEP_LOG)
        if SLEEP_LOG in self._broken or self._ring_midnight() != self._midnight:
            # "days ago" of an answer that crossed midnight is ambiguous: the next visit reads it
            return Harvest(rejected)
        try:
            days = colmi.decode_sleep(answer.payload)
        except DecodeError as error:
            return Harvest((Rejected(SleepStage.kind, str(error), answer.payload),))
        cursor = self._session.cursor(SLEEP_LOG)
        nights = sleep_runs(self._session.device, days, self._midnight, self._clock.utc)
        fresh = [night for night in nights if cursor is None or night.end_utc > cursor - DAY]
        return self._harvest(SLEEP_LOG, rejected, fresh)

    async def variability(self, days_ago: int) -> Harvest:
        if HRV_LOG in self._broken:
            # firmware without the log never answers: it is waited for once in a visit
            return Harvest(())
        answer = colmi_hrv.HrvAnswer()
        request = colmi_hrv.encode_request(days_ago)
        rejected = await self._ask(colmi.WRITE, request, self._small, answer, HRV_LOG)
        if answer.log is None or self._ring_midnight() != self._midnight:
            # "days ago" of an answer that crossed midnight is ambiguous: the next visit reads it
            return Harvest(rejected)
        if answer.log.days_ago != days_ago:
            reason = f"ring: log of {answer.log.days_ago} days ago instead of {days_ago}"
            return Harvest((*rejected, Rejected(HRV_LOG, reason, bytes(answer.log.value_ms))))
        found = variability_readings(self._session.device, answer.log, self._midnight, self._clock.utc)
        return self._harvest(HRV_LOG, rejected, found)

    def _harvest(self, log: str, rejected: tuple[Rejected, ...], found: Iterable[Observation]) -> Harvest:
        """What is valid is kept even when the answer broke off; the cursor then stays where it was."""
        items: list[Item] = list(rejected)
        newest = 0
        for observation in found:
            try:
                observation.check()
            except ObservationError as error:
                items.append(Rejected(observation.kind, str(error), repr(observation).encode()))
                continue
            items.append(observation)
            newest = max(newest, observation.end_utc)
        if log in self._broken or not newest:
            return Harvest(tuple(items))
        return Harvest(tuple(items), {log: max(newest, self._session.cursor(log) or 0)})

    async def _ask(
        self, characteristic: str, request: bytes, stream: Stream, answer: _Answer, log: str
    ) -> tuple[Rejected, ...]:
        """Send a request and feed the answer; a failure marks `log` as broken for this visit."""
        await self._session.write(characteristic, request)
        try:
            while True:
                for frame in await stream.take(ANSWER_TIMEOUT_S):
                    if stream is self._small and frame.payload[:1] == _PUSH:
                        continue
                    try:
                        if answer.feed(frame.payload):
                            return ()
                    except DecodeError as error:
                        self._broken.add(log)
                        await _drain(stream)
                        return (Rejected(log, str(error), frame.payload),)
        except TimeoutError:
            self._broken.add(log)
            return ()


class _Acknowledgement:
    """Waits for the one frame of a command; what the ring pushes of its own accord passes by."""

    def __init__(self, command: int) -> None:
        self._command = command
        self.frame = b""

    def feed(self, payload: bytes) -> bool:
        got, _ = colmi.unpack(payload)
        self.frame = payload
        return got == self._command


async def _drain(stream: Stream) -> None:
    while True:
        try:
            await stream.take(QUIET_S)
        except TimeoutError:
            return
