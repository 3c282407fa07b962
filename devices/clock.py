"""Time: microsecond UTC instants, and the only functions that make a local date.

An instant is an ``int``: microseconds since 1970-01-01T00:00Z. Intervals are
half-open. A date exists only at a patient's zone; a day there has 23, 24 or 25
hours; the date of a move reaches from the midnight of one zone to that of the other.
A night belongs to the local date on which it ends.
"""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

Clock = Callable[[], int]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A night runs from local noon to local noon: day sleepers and shift workers
#: get one whole night too, and no main sleep is cut at midnight.
NIGHT_TURN_HOUR = 12


def system_clock() -> int:
    """Now, in microseconds UTC."""
    return time.time_ns() // 1000


def to_utc(moment: datetime) -> int:
    """Microseconds UTC of an aware datetime.

    Raises
    ------
    ValueError
        When `moment` carries no zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_utc(utc: int, zone: ZoneInfo | None = None) -> datetime:
    """Aware datetime of an instant, in `zone` or UTC."""
    return (_EPOCH + timedelta(microseconds=utc)).astimezone(zone or UTC)


def local_date(utc: int, zone: ZoneInfo) -> date:
    """Local calendar date on which the instant falls."""
    return from_utc(utc, zone).date()


def local_night(utc: int, zone: ZoneInfo) -> date:
    """Date of the night (local noon to local noon) the instant falls in: the date it ends on."""
    local = from_utc(utc, zone)
    return local.date() + timedelta(days=1) if local.hour >= NIGHT_TURN_HOUR else local.date()


def at_local(day: date, hour: int, zone: ZoneInfo) -> int:
    """Instant of a whole local hour (0-24; 24 is midnight at the end of the day)."""
    turned = day + timedelta(days=hour // 24)
    return to_utc(datetime(turned.year, turned.month, turned.day, hour % 24, tzinfo=zone))


def day_bounds(day: date, zone: ZoneInfo) -> tuple[int, int]:
    """Start and end (exclusive) of a local day; 23, 24 or 25 hours apart."""
    return at_local(day, 0, zone), at_local(day, 24, zone)


def night_bounds(day: date, zone: ZoneInfo) -> tuple[int, int]:
    """Start and end (exclusive) of the night that ends on `day`: noon to noon."""
    return at_local(day - timedelta(days=1), NIGHT_TURN_HOUR, zone), at_local(day, NIGHT_TURN_HOUR, zone)


def offset_minutes(utc: int, zone: ZoneInfo) -> int:
    """Offset from UTC at the instant, in minutes, east positive."""
    shift = from_utc(utc, zone).utcoffset()
    return 0 if shift is None else int(shift.total_seconds() // 60)
