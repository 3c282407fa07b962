"""Service hours and public holidays: how far a service level has run. Pure."""

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import holidays

from alerts.rules.bounds import parse_wall_clock
from alerts.rules.route import DAYS, Service
from devices.clock import from_utc, to_utc

#: A service that does not open within a year is taken as one that is always open: nothing may wait for ever.
_LONGEST_DAYS: Final = 366


def add_service_time(start: int, amount: int, service: Service | None) -> int:
    """Instant at which `amount` of service time has passed since `start`; microseconds, UTC.

    Without service hours the clock on the wall counts. No time passes on public holidays.
    """
    if service is None:
        return start + amount
    zone = ZoneInfo(service.zone)
    day, left = from_utc(start, zone).date(), amount
    for offset in range(_LONGEST_DAYS):
        hours = open_hours(service, day + timedelta(days=offset))
        if hours is None:
            continue
        begin, end = max(hours[0], start), hours[1]
        if begin >= end:
            continue
        if left <= end - begin:
            return begin + left
        left -= end - begin
    return start + amount


def is_open(service: Service | None, now: int) -> bool:
    """Whether the team answers at the instant."""
    if service is None:
        return True
    hours = open_hours(service, from_utc(now, ZoneInfo(service.zone)).date())
    return hours is not None and hours[0] <= now < hours[1]


def open_hours(service: Service, day: date) -> tuple[int, int] | None:
    """Begin and end of the service on a local date; None when there is none."""
    if DAYS[day.weekday()] not in service.days or _is_holiday(service.holidays, day):
        return None
    zone = ZoneInfo(service.zone)
    begin, end = parse_wall_clock(service.from_), parse_wall_clock(service.to)
    return to_utc(datetime.combine(day, begin, zone)), to_utc(datetime.combine(day, end, zone))


def _is_holiday(place: str | None, day: date) -> bool:
    return place is not None and day in _holidays(place, day.year)


@lru_cache(maxsize=64)
def _holidays(place: str, year: int) -> frozenset[date]:
    country, _, part = place.partition("-")
    return frozenset(holidays.country_holidays(country, subdiv=part or None, years=year))
