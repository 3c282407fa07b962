"""Any wearable with the Physical Activity Monitor Service - draft, tried on a simulated one only.

Summaries count up within a session; what lies between two of them is one interval
of steps. The service knows seconds since a session began: a session is placed on
the gateway's time once, by the arrival of its first frame, and stays there until the gateway's clock is set.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Final

from devices.blobs import pack_u16
from devices.clock import MINUTE, SECOND
from devices.codec import physical_activity as pams
from devices.codec.physical_activity import Head, SleepInstant, StepSummary
from devices.drivers.merge import Labelled, subscribed
from devices.drivers.readings import read_battery
from devices.drivers.session import Gap, Harvest, Item, Plan, Rejected, Session
from devices.errors import DecodeError, ObservationError
from devices.observations import HeartRate, SleepStage, StepCount, Wear

#: Cursors: session, its start (microseconds UTC), sub-session; time, steps, worn seconds of the last summary.
LOGS: Final = ("session", "session-start", "sub-session", "summary-s", "steps-so-far", "worn-so-far-s")
#: An instant speaks for the time since the one before, if that is no longer ago; more is a gap.
LONGEST_EPOCH_S: Final = 300
#: No link stalls for longer: the gateway's clock was set, and the session is placed anew.
CLOCK_STEP_US: Final = 5 * MINUTE
CLOCK_SET: Final = "clock of the gateway was set"
_DAY_S: Final = 86_400
_GATHER_S: Final = 0.05
#: Stage bits, the most certain first -> codes of ``STAGES``; what is not here is unknown.
_STAGES: Final = (
    (pams.WAKE, 1),
    (pams.REM, 4),
    (pams.DEEP, 3),
    (pams.N3, 3),
    (pams.N4, 3),
    (pams.LIGHT, 2),
    (pams.N1, 2),
    (pams.N2, 2),
)


class ActivityMonitor:
    """Takes step summaries and sleep instants as they are indicated; and the battery, once."""

    name: str = "activity_monitor"
    plan: Plan = "live"
    services: tuple[str, ...] = (pams.SERVICE,)
    #: Summaries come by the minute at best, and nothing while it is not worn.
    silence_s: float = 3600.0
    #: By the Battery Service.
    read_battery = staticmethod(read_battery)

    async def run(self, session: Session) -> AsyncGenerator[Harvest]:
        """Stream until the link ends."""
        streams = (pams.STEP_SUMMARY, pams.SLEEP_INSTANT)
        async with subscribed(session, streams, gather_s=_GATHER_S) as together:
            yield await read_battery(session)
            monitor = _Monitor(session)
            while True:
                for labelled in await together.take():
                    yield monitor.read(labelled)


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a session has come, in the order of :data:`LOGS`."""

    session: int = -1
    start_utc: int = 0
    sub_session: int = -1
    time_s: int = 0
    steps: int = 0
    worn_s: int = 0

    def cursors(self) -> dict[str, int]:
        values = (self.session, self.start_utc, self.sub_session, self.time_s, self.steps, self.worn_s)
        return dict(zip(LOGS, values, strict=True))

    def utc(self, time_s: int) -> int:
        return self.start_utc + time_s * SECOND


class _Monitor:
    """One connection to the wearable."""

    def __init__(self, session: Session) -> None:
        self._device = session.device
        known = [session.cursor(log) for log in LOGS]
        self._place = _Place() if None in known else _Place(*(value or 0 for value in known))
        self._slept: Head | None = None
        self._gaps: list[Gap] = []

    def read(self, labelled: Labelled) -> Harvest:
        payload, arrival = labelled.frame
        is_summary = labelled.characteristic == pams.STEP_SUMMARY
        try:
            if is_summary:
                items = self._summary(pams.decode_step_summary(payload), arrival)
            else:
                items = self._instant(pams.decode_sleep_instant(payload), arrival)
        except (DecodeError, ObservationError) as error:
            kind = StepCount.kind if is_summary else SleepStage.kind
            items = [Rejected(kind, str(error), payload)]
        gaps, self._gaps = tuple(self._gaps), []
        return Harvest(tuple(items), self._place.cursors(), notifications=1, gaps=gaps)

    def _enter(self, head: Head, arrival: int, since_s: int) -> None:
        """Begin a session: a new one, or one whose time went back because the wearable restarted."""
        start = (arrival // SECOND - head.time_s) * SECOND
        if head.session != self._place.session or head.time_s < since_s:
            self._place = _Place(head.session, start, head.sub_session)
            self._slept = None
        elif abs(start - self._place.start_utc) > CLOCK_STEP_US:
            self._place, self._slept = replace(self._place, start_utc=start), None
            self._gaps.append(Gap(arrival, arrival, CLOCK_SET))

    def _summary(self, summary: StepSummary, arrival: int) -> list[Item]:
        head = summary.head
        self._enter(head, arrival, self._place.time_s)
        before = self._place
        if head.sub_session != before.sub_session:
            # a sub-session counts from 0, and begins where the one before ended
            before = replace(before, sub_session=head.sub_session, steps=0, worn_s=0)
        steps = (summary.walking_steps or 0) + (summary.intense_steps or 0)
        worn_s = before.worn_s if summary.worn_s is None else summary.worn_s
        span_s = head.time_s - before.time_s
        if span_s == 0:
            # said again
            return []
        self._place = replace(before, time_s=head.time_s, steps=steps, worn_s=worn_s)
        if steps < before.steps or worn_s < before.worn_s:
            raise DecodeError("physical activity: a sum that went down")
        items = self._steps_between(before, head.time_s, steps - before.steps, worn_s > before.worn_s)
        if summary.worn_s is not None and worn_s - before.worn_s in (0, span_s):
            wear = Wear(
                device=self._device,
                start_utc=before.utc(before.time_s),
                source=pams.SOURCE,
                duration_s=span_s,
                is_worn=worn_s > before.worn_s,
            )
            items.append(wear)
        return items

    def _steps_between(self, before: _Place, time_s: int, steps: int, was_worn: bool) -> list[Item]:
        """One interval; no steps is said only of a wearable that was worn."""
        if not steps and not was_worn:
            return []
        start_s = max(before.time_s, time_s - _DAY_S)
        count = StepCount(
            device=self._device,
            start_utc=before.utc(start_s),
            source=pams.SOURCE,
            period_s=time_s - start_s,
            counts=pack_u16([steps]),
        )
        count.check()
        return [count]

    def _instant(self, instant: SleepInstant, arrival: int) -> list[Item]:
        head, before = instant.head, self._slept
        self._enter(head, arrival, 0 if before is None else before.time_s)
        self._slept = head
        at = self._place.utc(head.time_s)
        items: list[Item] = []
        if instant.bpm:
            rate = bytes([instant.bpm])
            items.append(
                HeartRate(
                    device=self._device, start_utc=at - SECOND, source=pams.SOURCE, period_s=1, bpm=rate
                )
            )
        if instant.stage_bits is None or before is None or before.session != head.session:
            return items
        if 0 < (epoch_s := head.time_s - before.time_s) <= LONGEST_EPOCH_S:
            stage = SleepStage(
                device=self._device,
                start_utc=at - epoch_s * SECOND,
                source=pams.SOURCE,
                epoch_s=epoch_s,
                stages=bytes([stage_code(instant.stage_bits)]),
            )
            items.append(stage)
        return items


def stage_code(bits: int) -> int:
    """Code of ``STAGES`` for the stage bits; "asleep" alone is not a stage."""
    return next((code for bit, code in _STAGES if bits >> bit & 1), 0)
