"""Quiet hours, service hours, on-call schedules: any instant, any zone, any rule text."""

import tomllib
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.engine.oncall import gaps, on_call, read_calendar
from alerts.engine.quiet import quiet_end
from alerts.engine.service import add_service_time, is_open
from alerts.errors import JournalError
from alerts.rules.pack import lint, read_text
from alerts.rules.route import Service
from devices.clock import DAY, HOUR, from_utc, to_utc

ZONES = st.sampled_from(
    ["Europe/Berlin", "Europe/London", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "UTC"]
)
YEARS = st.integers(to_utc(datetime(2024, 1, 1, tzinfo=UTC)), to_utc(datetime(2028, 1, 1, tzinfo=UTC)))
CLOCKS = st.builds(time, st.integers(0, 23), st.sampled_from([0, 30]))
OFFICE = Service(
    id="office", zone="Europe/Berlin", days=("mon", "tue", "wed", "thu", "fri"), from_="08:00", to="17:00",
    holidays="DE",
)  # fmt: skip


def is_within(local, begins, ends):
    """Whether the wall clock of the recipient shows a time of the quiet hours."""
    now = local.time().replace(tzinfo=None, fold=0)
    return begins <= now < ends if begins < ends else now >= begins or now < ends


@settings(max_examples=300)
@given(YEARS, ZONES, CLOCKS, CLOCKS)
def test_no_message_lands_in_the_quiet_hours_whatever_the_clocks_do(now, zone, begins, ends):
    place = ZoneInfo(zone)
    end = quiet_end(now, place, begins, ends)
    if begins == ends:
        assert end is None
        return
    if end is None:
        assert not is_within(from_utc(now, place), begins, ends)
        return
    assert now < end <= now + DAY + 2 * HOUR
    assert quiet_end(end, place, begins, ends) is None
    assert not is_within(from_utc(end, place), begins, ends)


@settings(max_examples=200)
@given(YEARS, st.integers(1, 40 * 3600))
def test_service_time_runs_only_while_the_team_answers(start, seconds):
    amount = seconds * 1_000_000
    end = add_service_time(start, amount, OFFICE)
    assert end >= start + amount
    assert is_open(OFFICE, end - 1)
    assert add_service_time(add_service_time(start, amount // 2, OFFICE), amount - amount // 2, OFFICE) == end
    assert add_service_time(start, amount, None) == start + amount


def test_a_service_level_stands_still_over_christmas():
    wednesday = to_utc(datetime(2026, 12, 24, 16, tzinfo=ZoneInfo("Europe/Berlin")))
    due = from_utc(add_service_time(wednesday, 2 * HOUR, OFFICE), ZoneInfo("Europe/Berlin"))
    assert due == datetime(2026, 12, 28, 9, tzinfo=ZoneInfo("Europe/Berlin"))


CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//
BEGIN:VEVENT
UID:1
DTSTAMP:20260101T000000Z
SUMMARY:doc-1
DTSTART;TZID=Europe/Berlin:20260302T080000
DTEND;TZID=Europe/Berlin:20260303T080000
RRULE:FREQ=DAILY;INTERVAL=2
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTAMP:20260101T000000Z
SUMMARY:doc-2
DTSTART;TZID=Europe/Berlin:20260303T080000
DTEND;TZID=Europe/Berlin:20260304T080000
RRULE:FREQ=DAILY;INTERVAL=2
END:VEVENT
END:VCALENDAR
"""


def berlin(day, hour):
    return to_utc(datetime(2026, 3, day, hour, tzinfo=ZoneInfo("Europe/Berlin")))


def test_who_is_on_call_changes_at_eight_also_when_the_clocks_do():
    assert on_call(CALENDAR, berlin(2, 8)) == ("doc-1",)
    assert on_call(CALENDAR, berlin(3, 7)) == ("doc-1",)
    assert on_call(CALENDAR, berlin(3, 8)) == ("doc-2",)
    assert on_call(CALENDAR, berlin(29, 7)) == ("doc-1",)
    assert on_call(CALENDAR, berlin(29, 8)) == ("doc-2",)


def test_a_hole_in_the_schedule_is_seen_ahead():
    both = frozenset({"doc-1", "doc-2"})
    assert gaps(CALENDAR, berlin(2, 8), berlin(16, 8), both) == []
    (first, *_) = gaps(CALENDAR, berlin(2, 8), berlin(16, 8), frozenset({"doc-1"}))
    assert first == (berlin(3, 8), berlin(4, 8))


@pytest.mark.parametrize("text", ["", "no calendar", CALENDAR.replace("SUMMARY:doc-1", "SUMMARY:")])
def test_a_calendar_that_is_none_is_refused(text):
    with pytest.raises(JournalError):
        read_calendar(text)


DEFAULT = read_text(None)[1]


@settings(max_examples=200)
@given(st.integers(0, len(DEFAULT) - 1), st.integers(0, 40), st.text(max_size=12))
def test_a_mangled_pack_is_refused_with_a_reason_or_read(place, length, other):
    text = DEFAULT[:place] + other + DEFAULT[place + length :]
    pack, faults = lint(text, "site.toml", is_staffed=True)
    assert (pack is None) == bool(faults)
    assert all(fault.startswith("site.toml: ") for fault in faults)
    if pack is not None:
        assert len(pack.rule) == len(tomllib.loads(text)["rule"])
