"""From a counter that only rises, falls to 0 at midnight and forgets at a restart, to steps in intervals.

Pure: readings in, step counts and gaps out. What has been settled (until when, at
which value) lies in the cursors of the history, so that a lost link or a restart of
the gateway costs no step that the wearable still counts, and counts none twice.
"""

from dataclasses import dataclass, field
from typing import Final

from devices.blobs import pack_u16
from devices.clock import DAY, MINUTE, SECOND
from devices.drivers.session import Gap, Harvest, Rejected
from devices.errors import ObservationError
from devices.ids import DeviceId
from devices.observations import StepCount

#: Until when steps are settled (microseconds UTC), and the counter then.
SETTLED_LOG: Final = StepCount.kind
VALUE_LOG: Final = "step-counter"

#: No link stalls for longer: steps that do not fit into so much time are a glitch.
STALL_US: Final = 5 * MINUTE
RESTARTED: Final = "step counter restarted: steps before are lost"
MIDNIGHT: Final = "step counter began a new day: steps before are lost"
CLOCK_BACK: Final = "clock of the gateway set back"


@dataclass(slots=True)
class StepCounter:
    """Steps between readings of a counter.

    Attributes
    ----------
    device : DeviceId
        Whose steps.
    source : str
        Codec and version.
    settled_utc : int
        End of the last interval, microseconds UTC, on a whole second.
    value : int
        Last reading.
    pending : int
        Steps since `settled_utc`.
    """

    device: DeviceId
    source: str
    settled_utc: int
    value: int
    pending: int = 0
    gaps: list[Gap] = field(default_factory=list[Gap])

    @classmethod
    def resume(
        cls,
        device: DeviceId,
        source: str,
        reading: int,
        now: int,
        *,
        settled: tuple[int, int] | None,
        midnight: int | None,
    ) -> "StepCounter":
        """Go on after a time without a link.

        Parameters
        ----------
        reading : int
            The counter now.
        settled : (int, int), optional
            Until when steps are settled, and the counter then; ``None`` for the
            first time.
        midnight : int, optional
            When the wearable's day began, microseconds UTC; ``None`` when its
            clock was wrong.
        """
        start = now // SECOND * SECOND
        if settled is None:
            # a first reading counts since midnight; without a midnight since nobody knows when
            since = start if midnight is None else min(midnight, start)
            return cls(device, source, since, reading, 0 if midnight is None else reading)
        until, value = settled
        is_back = until > now + SECOND
        until = start if is_back else until
        if midnight is not None and until < midnight:
            counter = cls(device, source, midnight, reading, reading)
            counter.gaps.append(Gap(until, midnight, MIDNIGHT))
        elif now - until >= DAY:
            counter = cls(device, source, start, reading)
            counter.gaps.append(Gap(until, start, MIDNIGHT))
        else:
            counter = cls(device, source, until, value)
            if reading < value:
                counter.gaps.append(Gap(until, start, RESTARTED))
            counter.read(reading)
        if is_back:
            counter.gaps.append(Gap(start, start, CLOCK_BACK))
        return counter

    def heed_clock(self, now: int) -> None:
        """Steps are settled from now on where the gateway's clock was set back: else they wait for it."""
        if self.settled_utc > now + SECOND:
            self.settled_utc = now // SECOND * SECOND
            self.gaps.append(Gap(self.settled_utc, self.settled_utc, CLOCK_BACK))

    def read(self, reading: int) -> None:
        """Take a reading: a lower one began at 0, after the reading before."""
        self.pending += reading - self.value if reading >= self.value else reading
        self.value = reading

    def settle(self, until_utc: int, *, is_worn: bool) -> Harvest:
        """Steps up to `until_utc` (rounded up to a whole second), as one interval; see :meth:`is_ripe`.

        No steps is said only of a wearable that `is_worn`; it may lie on a table.
        """
        end = -(-until_utc // SECOND) * SECOND
        gaps, self.gaps = tuple(self.gaps), []
        items = (self._interval(end),) if self.pending or is_worn else ()
        self.settled_utc, self.pending = end, 0
        return Harvest(items, {SETTLED_LOG: end, VALUE_LOG: self.value}, gaps=gaps)

    def is_ripe(self, until_utc: int) -> bool:
        """Whether to settle up to `until_utc`: steps held back by a stalled link need time to fit into."""
        end = -(-until_utc // SECOND) * SECOND
        if end <= self.settled_utc:
            return False
        return end - self.settled_utc >= STALL_US or isinstance(self._interval(end), StepCount)

    def _interval(self, end: int) -> StepCount | Rejected:
        # a local day has 25 hours at most, an interval 24
        start = max(self.settled_utc, end - DAY)
        try:
            count = StepCount(
                device=self.device,
                start_utc=start,
                source=self.source,
                period_s=(end - start) // SECOND,
                counts=pack_u16([self.pending]),
            )
            count.check()
        except ObservationError as error:
            return Rejected(StepCount.kind, str(error), str(self.pending).encode())
        return count
