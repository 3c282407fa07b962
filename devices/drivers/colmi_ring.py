"""Colmi R02-family ring: seven days of steps, heart rates and sleep, pulled now and then.

Ring time has no zone. This driver keeps the ring at one offset from UTC, zero
unless it is found at another: ring days are then 24 hours long, and the local day
is made at the clinic from the patient's zone. A ring that another application has
set is noticed by a quarter hour that has not begun yet; it keeps that offset, so
that no two times ever share a stamp, and its memory is converted by it. The
offsets before and after each visit are recorded with the history cursors.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final, Protocol

from devices.blobs import pack_u16
from devices.clock import DAY, MINUTE, SECOND, from_utc, to_utc
from devices.codec import colmi
from devices.drivers.session import Gap, Harvest, Item, Plan, Rejected, Session, Stream
from devices.errors import DecodeError, ObservationError
from devices.ids import DeviceId
from devices.observations import Battery, HeartRate, Observation, SleepStage, StepCount

STEPS_LOG, RATES_LOG, SLEEP_LOG = StepCount.kind, HeartRate.kind, SleepStage.kind
#: Seconds ring time is ahead of UTC: as set at the last visit, and as found at it.
OFFSET_LOG: Final = "clock-offset-s"
FOUND_LOG: Final = "clock-offset-found-s"
#: The offset before the last change, and when it ended (microseconds UTC): older memory is on it.
BEFORE_LOG: Final = "clock-offset-before-s"
CHANGED_LOG: Final = "clock-changed"
#: Minute of the visit at which the clock was last set, microseconds UTC.
CLOCK_SET_LOG: Final = "clock-set"

MEMORY_DAYS: Final = 7
SLOT_MIN: Final = 15
#: A ring answers within a second; some firmware never answers a command it does not know.
ANSWER_TIMEOUT_S: Final = 5.0
#: After a broken answer: this long without a frame and the rest of it is over.
QUIET_S: Final = 0.5
FORGOTTEN: Final = "ring: older than its memory"

#: A crystal does not get so far ahead between two visits; another application does.
DRIFT_MOST_S: Final = 450
#: Zones lie whole hours apart, nearly all; and the newest quarter hour may be some minutes old.
_ZONE_S: Final = 3600
_PUSH: Final = bytes([colmi.PUSH])
#: Sleep stages of the ring -> codes of ``STAGES``; what is not here is unknown.
_STAGES: Final = {2: 2, 3: 3, 4: 4, 5: 1}


#: Ring time (microseconds as if UTC) to microseconds UTC.
RingTime = Callable[[int], int]


class _Answer(Protocol):
    def feed(self, payload: bytes) -> bool: ...


class ColmiRing:
    """Sets the clock, then reads battery, steps, heart-rate log and sleep.

    Every pull begins one day before the last one ended: a slot may have grown,
    and the later reading wins. A log whose answer is broken or missing keeps its
    cursor, so the next visit reads it again.
    """

    name: str = "colmi_ring"
    plan: Plan = "history"
    services: tuple[str, ...] = (colmi.SERVICE,)

    async def run(self, session: Session) -> AsyncGenerator[Harvest]:
        """Pull what is new, oldest day first."""
        async with (
            session.notifications(colmi.NOTIFY) as small,
            session.notifications(colmi.BIG_NOTIFY) as big,
        ):
            visit = _Visit(session, small, big)
            await visit.find_offset()
            yield await visit.set_clock()
            yield await visit.battery()
            for days_ago in visit.days_to_read(STEPS_LOG):
                yield await visit.steps(days_ago)
            for days_ago in visit.days_to_read(RATES_LOG):
                yield await visit.heart_rates(days_ago)
            yield await visit.sleep()


class _Visit:
    """One connection to the ring."""

    def __init__(self, session: Session, small: Stream, big: Stream) -> None:
        self._session = session
        self._small = small
        self._big = big
        self._broken: set[str] = set()
        known = session.cursor(OFFSET_LOG)
        self._offset_s = self._found_s = known or 0
        self._before_s = session.cursor(BEFORE_LOG)
        self._changed = session.cursor(CHANGED_LOG)
        self._midnight = self._ring_midnight()

    def _ring_midnight(self) -> int:
        """Start of the ring's today, in ring time."""
        return _midnight(self._session.now() + self._offset_s * SECOND)

    def utc(self, ring: int) -> int:
        """Instant of a stamp of the ring, by the offset it was on when it wrote it."""
        if self._before_s is not None and self._changed is not None:
            before = ring - self._before_s * SECOND
            if before < self._changed:
                return before
        return ring - self._offset_s * SECOND

    async def find_offset(self) -> None:
        """Offset of the ring before anything is set, as far as its newest quarter hour tells."""
        answer = colmi.StepsAnswer()
        request = colmi.encode_steps_request(0)
        await self._ask(colmi.WRITE, request, self._small, answer, FOUND_LOG)
        now, newest = self._session.now(), max(map(_slot_ring, answer.slots), default=0)
        ahead_s = (newest - now) // SECOND
        if ahead_s - self._offset_s <= DRIFT_MOST_S:
            return
        found_s = -(-ahead_s // _ZONE_S) * _ZONE_S
        if (visited := self._session.cursor(CLOCK_SET_LOG)) is not None:
            self._before_s, self._changed = self._offset_s, visited
        self._offset_s = self._found_s = found_s
        self._midnight = self._ring_midnight()

    def days_to_read(self, log: str) -> range:
        """Days ago to read, oldest first: one day before the cursor up to today."""
        cursor = self._session.cursor(log)
        oldest = MEMORY_DAYS - 1
        if cursor is not None:
            last = _midnight(cursor - DAY + self._offset_s * SECOND)
            oldest = min(oldest, max(0, (self._midnight - last) // DAY))
        return range(oldest, -1, -1)

    async def set_clock(self) -> Harvest:
        now = self._session.now()
        answer = _Acknowledgement(colmi.SET_TIME)
        request = colmi.encode_set_time(from_utc(now + self._offset_s * SECOND))
        rejected = await self._ask(colmi.WRITE, request, self._small, answer, CLOCK_SET_LOG)
        if CLOCK_SET_LOG in self._broken:
            return Harvest(rejected)
        cursors = {OFFSET_LOG: self._offset_s, FOUND_LOG: self._found_s, CLOCK_SET_LOG: now}
        if self._before_s is not None and self._changed is not None:
            cursors |= {BEFORE_LOG: self._before_s, CHANGED_LOG: self._changed}
        return Harvest(rejected, cursors, gaps=self._forgotten(now))

    def _forgotten(self, now: int) -> tuple[Gap, ...]:
        """What the ring has overwritten since it was last read."""
        cursor = self._session.cursor(STEPS_LOG)
        oldest = self.utc(self._midnight - (MEMORY_DAYS - 1) * DAY)
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
        return self._harvest(STEPS_LOG, rejected, step_runs(self._session.device, answer.slots, self.utc))

    async def heart_rates(self, days_ago: int) -> Harvest:
        answer = colmi.HeartRateAnswer()
        request = colmi.encode_heart_rate_request(from_utc(self._midnight - days_ago * DAY))
        rejected = await self._ask(colmi.WRITE, request, self._small, answer, RATES_LOG)
        found = [] if answer.log is None else rate_runs(self._session.device, answer.log, self.utc)
        return self._harvest(RATES_LOG, rejected, found)

    async def sleep(self) -> Harvest:
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
        nights = sleep_runs(self._session.device, days, self._midnight, self.utc)
        fresh = [night for night in nights if cursor is None or night.end_utc > cursor - DAY]
        return self._harvest(SLEEP_LOG, rejected, fresh)

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


def _midnight(utc: int) -> int:
    """Start of the ring's day (UTC) that holds an instant."""
    return utc // DAY * DAY


def _slot_ring(slot: colmi.StepSlot) -> int:
    """Ring time at which a quarter hour begins."""
    midnight = datetime.combine(slot.day, datetime.min.time(), tzinfo=from_utc(0).tzinfo)
    return to_utc(midnight) + slot.slot * SLOT_MIN * MINUTE


def step_runs(device: DeviceId, slots: Iterable[colmi.StepSlot], utc: RingTime) -> list[StepCount]:
    """Runs of consecutive quarter hours; a slot that is absent ends a run and is not zero steps."""
    counts = {utc(_slot_ring(slot)): slot.steps for slot in slots}
    length = SLOT_MIN * MINUTE
    runs: list[StepCount] = []
    for _, group in groupby(enumerate(sorted(counts)), lambda pair: pair[1] - pair[0] * length):
        starts = [start for _, start in group]
        run = StepCount(
            device=device,
            start_utc=starts[0],
            source=colmi.SOURCE,
            period_s=SLOT_MIN * 60,
            counts=pack_u16(counts[start] for start in starts),
        )
        runs.append(run)
    return runs


def rate_runs(device: DeviceId, log: colmi.HeartRateLog, utc: RingTime) -> list[HeartRate]:
    """The day's heart rates from the first reading to the last; none when there is no reading."""
    kept = log.bpm.rstrip(b"\0")
    first = len(kept) - len(kept.lstrip(b"\0"))
    if not kept:
        return []
    run = HeartRate(
        device=device,
        start_utc=utc(to_utc(log.midnight) + first * log.step_min * MINUTE),
        source=colmi.SOURCE,
        period_s=log.step_min * 60,
        bpm=kept[first:],
    )
    return [run]


def sleep_runs(
    device: DeviceId, days: Sequence[colmi.SleepDay], midnight: int, utc: RingTime
) -> list[SleepStage]:
    """Sleep episodes as 60 s epochs, oldest first; `midnight` began the ring's today (ring time)."""
    runs: list[SleepStage] = []
    for day in days:
        stages = b"".join(bytes([_STAGES.get(stage, 0)]) * minutes for stage, minutes in day.stages)
        if not stages:
            continue
        run = SleepStage(
            device=device,
            start_utc=utc(midnight - day.days_ago * DAY + day.start_min * MINUTE),
            source=colmi.SOURCE,
            epoch_s=60,
            stages=stages,
        )
        runs.append(run)
    return sorted(runs, key=lambda run: run.start_utc)
