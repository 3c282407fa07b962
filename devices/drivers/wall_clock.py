"""The clock of a wearable that shows local time to who wears it (Current Time Service).

The gateway knows UTC and no zone, the wearable a wall time and no zone. The whole
quarter hours between the two are the zone that a phone once set, and stay; the rest
is drift, and is set right. A clock that is days off (a lost battery) gets the zone
it had before.
"""

from typing import Final, NamedTuple

from devices.clock import DAY, HOUR, MINUTE, SECOND, from_utc, to_utc
from devices.codec import current_time
from devices.codec.current_time import MANUAL, WallTime
from devices.drivers.session import Rejected, Session, UnansweredError
from devices.errors import DecodeError

#: Seconds the wearable is ahead of UTC as set; milliseconds it was off that before, and after; when set.
OFFSET_LOG: Final = "clock-offset-s"
DRIFT_LOG: Final = "clock-drift-ms"
AFTER_LOG: Final = "clock-drift-after-ms"
CLOCK_SET_LOG: Final = "clock-set"
KIND: Final = "clock"

_QUARTER: Final = 15 * MINUTE
#: UTC+14 is the zone farthest from UTC.
_FARTHEST: Final = 14 * HOUR


class ClockSet(NamedTuple):
    """What became of the clock.

    `midnight_utc` is when its day had begun before it was set, ``None`` when its clock
    was days off. `cursors` and `rejected` are for the harvest.
    """

    midnight_utc: int | None
    cursors: dict[str, int]
    rejected: tuple[Rejected, ...] = ()


def zone_of(ahead_us: int) -> int | None:
    """Zone (microseconds east) that explains a clock `ahead_us` ahead of UTC; ``None`` when none does."""
    zone = (ahead_us + _QUARTER // 2) // _QUARTER * _QUARTER
    return zone if abs(zone) <= _FARTHEST else None


async def set_clock(session: Session) -> ClockSet:
    """Read the clock, set it right in its zone, and say how far it was off before and after."""
    if not session.has(current_time.CURRENT_TIME):
        return ClockSet(None, {})
    cursors: dict[str, int] = {}
    midnight = None
    try:
        wall, now = await _read_clock(session), session.now()
        offset = zone_of(wall - now)
        if offset is None:
            offset = (session.cursor(OFFSET_LOG) or 0) * SECOND
        else:
            midnight = now - wall % DAY
        cursors[DRIFT_LOG] = (wall - now - offset) // 1000
        right = WallTime(from_utc(now + offset), MANUAL)
        await session.write(current_time.CURRENT_TIME, current_time.encode(right))
        cursors |= {OFFSET_LOG: offset // SECOND, CLOCK_SET_LOG: now}
        cursors[AFTER_LOG] = (await _read_clock(session) - session.now() - offset) // 1000
    except UnansweredError as error:
        return ClockSet(midnight, cursors, (Rejected(KIND, f"clock not set: {error}", b""),))
    except DecodeError as error:
        return ClockSet(midnight, cursors, (Rejected(KIND, str(error), b""),))
    return ClockSet(midnight, cursors)


async def _read_clock(session: Session) -> int:
    """Wall time of the wearable, microseconds as if UTC."""
    return to_utc(current_time.decode(await session.read(current_time.CURRENT_TIME)).moment)
