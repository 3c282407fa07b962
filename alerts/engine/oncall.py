"""Who is on call: an iCalendar whose events name a member of staff in their SUMMARY. Pure."""

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from alerts.errors import JournalError
from devices.clock import DAY, from_utc, to_utc

# slow to load, and most commands read no calendar
if TYPE_CHECKING:
    import icalendar

#: So far ahead a hole in the schedule is looked for.
AHEAD: Final = 14 * DAY


def read_calendar(text: str) -> "icalendar.Calendar":
    """Parsed calendar.

    Raises
    ------
    JournalError
        When the text is none, or has an event without a SUMMARY.
    """
    import icalendar

    try:
        calendar = icalendar.Calendar.from_ical(text)
    except (ValueError, IndexError) as fault:
        raise JournalError(f"not an iCalendar: {fault}") from None
    events: list[Any] = list(calendar.walk("VEVENT"))
    if not events:
        raise JournalError("the calendar has no event")
    if any(not str(event.get("SUMMARY", "")).strip() for event in events):
        raise JournalError("an event of the calendar has no SUMMARY: it names who is on call")
    return calendar


def named(calendar: "icalendar.Calendar") -> frozenset[str]:
    """Whom the events name."""
    return frozenset(str(event["SUMMARY"]).strip() for event in calendar.walk("VEVENT"))


def shifts(text: str, begin: int, end: int) -> tuple[tuple[int, int, str], ...]:
    """Shifts that touch the time from `begin` to `end`: (start, end, staff), in order; microseconds UTC."""
    import recurring_ical_events

    calendar = _parsed(text)
    found: list[Any] = recurring_ical_events.of(calendar).between(from_utc(begin), from_utc(end))
    parts = [(_instant(e["DTSTART"].dt), _end(e), str(e["SUMMARY"]).strip()) for e in found]
    return tuple(sorted(part for part in parts if part[0] < end and part[1] > begin))


def on_call(text: str, now: int) -> tuple[str, ...]:
    """Staff on call at the instant."""
    return tuple(dict.fromkeys(name for begin, end, name in shifts(text, now, now + 1) if begin <= now < end))


def gaps(text: str, begin: int, end: int, known: frozenset[str]) -> list[tuple[int, int]]:
    """Times from `begin` to `end` when nobody of `known` is on call."""
    found: list[tuple[int, int]] = []
    covered = begin
    for start, stop, name in shifts(text, begin, end):
        if name not in known:
            continue
        if start > covered:
            found.append((covered, start))
        covered = max(covered, stop)
    if covered < end:
        found.append((covered, end))
    return found


@lru_cache(maxsize=32)
def _parsed(text: str) -> "icalendar.Calendar":
    return read_calendar(text)


def _instant(moment: date | datetime) -> int:
    """A time without a zone, and a whole day, are UTC's."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time(0), ZoneInfo("UTC"))
    return to_utc(moment if moment.tzinfo is not None else moment.replace(tzinfo=ZoneInfo("UTC")))


def _end(event: Any) -> int:
    if "DTEND" in event:
        return _instant(event["DTEND"].dt)
    start = event["DTSTART"].dt
    length = event["DURATION"].dt if "DURATION" in event else timedelta(days=1)
    return _instant(start + length)
