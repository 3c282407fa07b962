"""The clock of a Colmi ring, which tells no time: what its memory says of it, and where its stamps belong.

A stamp is ring time, without a zone. The newest quarter hour (or reading) in its
memory has begun, so the ring's clock is there at least: one that lies ahead of now
proves that another application has set the ring ahead. A ring that was set *back*
shows itself when its "today" is an earlier day, or when it writes into quarter
hours that were long over at the visit before. How far it was set follows from the
newest stamp and the zones that people live in: nobody sets a ring 20 minutes ahead.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from devices.clock import MINUTE, SECOND

#: A crystal does not get so far ahead between two visits; another application does.
DRIFT_MOST_S: Final = 450
#: A quarter hour with steps in it has lasted so long: steps take time.
BEGUN_S: Final = 60
_HOUR_S: Final = 3600
#: Zones that are not whole hours (Newfoundland, Marquesas, Iran, Afghanistan, India, Nepal, Myanmar,
#: central Australia). Eucla and the Chatham Islands are not here: who sits still for a quarter of an
#: hour in Tokyo would be moved there.
_BROKEN_ZONES_S: Final = (-34_200, -12_600, -9_000, 12_600, 16_200, 19_800, 20_700, 23_400, 34_200, 37_800)
ZONES_S: Final = tuple(sorted((*range(-12 * _HOUR_S, 15 * _HOUR_S, _HOUR_S), *_BROKEN_ZONES_S)))
#: Quarter hours that ended so long before a visit are over: a ring that changes them was set back.
SETTLED_US: Final = 30 * MINUTE


def zone_above(ahead_s: int) -> int | None:
    """Nearest zone of a clock that is at least `ahead_s` seconds ahead of UTC; ``None`` beyond the earth."""
    return next((zone for zone in ZONES_S if zone >= ahead_s + BEGUN_S), None)


@dataclass(frozen=True, slots=True)
class RingClock:
    """Offsets of a ring (seconds ahead of UTC): now, and before it was last changed by somebody else.

    Attributes
    ----------
    offset_s : int
        Offset it is on.
    before_s, changed_utc : int, optional
        Offset before, and when that ended (microseconds UTC).
    """

    offset_s: int = 0
    before_s: int | None = None
    changed_utc: int | None = None

    def utc(self, ring: int) -> int | None:
        """Instant of a stamp, microseconds UTC; ``None`` where the ring has written twice."""
        now = ring - self.offset_s * SECOND
        if self.before_s is None or self.changed_utc is None:
            return now
        before = ring - self.before_s * SECOND
        if before < self.changed_utc <= now:
            # set back, it wrote over what it had written before: which is which cannot be told
            return None
        # a stamp that by the new offset lies before the change was made by the old one
        return before if now < self.changed_utc else now

    def set_to(self, offset_s: int, since_utc: int | None) -> "RingClock":
        """The same ring found on another offset, which began after the visit at `since_utc`."""
        if since_utc is None:
            return RingClock(offset_s)
        return RingClock(offset_s, self.offset_s, since_utc)

    def overwritten_us(self) -> int:
        """Length of the time, from `changed_utc` on, that the ring wrote over older stamps."""
        return 0 if self.before_s is None else max(0, self.before_s - self.offset_s) * SECOND


def contiguous(stamped: Iterable[tuple[int | None, int]], spacing: int) -> list[tuple[int, list[int]]]:
    """Runs of values that follow each other by `spacing` microseconds, each with its start."""
    runs: list[tuple[int, list[int]]] = []
    for at, value in stamped:
        if at is None:
            continue
        if runs and at == runs[-1][0] + len(runs[-1][1]) * spacing:
            runs[-1][1].append(value)
        else:
            runs.append((at, [value]))
    return runs


def settled_until(ring_now: int) -> int:
    """Ring time up to which quarter hours no longer change."""
    return (ring_now - SETTLED_US) // (15 * MINUTE) * 15 * MINUTE
