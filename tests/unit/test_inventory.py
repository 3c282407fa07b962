"""What reopens a date: a late file those it touches, a change of enrolment its share and its time."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from analytics.features.calendar import calendar
from analytics.store import warehouse
from analytics.store.ledger import Seen
from analytics.store.partitions import Partition, partitions
from analytics.store.parts import Part
from devices.clock import HOUR, from_utc, to_utc
from flows.night import inventory
from flows.night.inventory import Inputs, Notes
from flows.night.plan import ranges
from ingest.lake.enrolment import Cells
from tests.fixtures_analytics import enrolment

DAYS = [date(2026, 1, 1) + timedelta(days=n) for n in range(40)]
SHARES = partitions(8)


def noon(day: date) -> int:
    return to_utc(datetime(day.year, day.month, day.day, 12, tzinfo=UTC))


def row(
    patient: str, device: str, start: date, end: date | None = None, zone: str = "Europe/Berlin"
) -> Cells:
    until = noon(end) if end else None
    words = end.isoformat() if end else ""
    return Cells(patient, "s", zone, "gw", device, start.isoformat(), words, (noon(start), until))


OLD = {"a.parquet": Seen(10, noon(DAYS[0]), noon(DAYS[-1]))}
ROWS = [row("p-1", "band-1", date(2025, 1, 1)), row("p-2", "band-2", date(2025, 1, 1))]


def prints(files: dict[str, Seen] = OLD, rows: Sequence[Cells] = ROWS) -> dict[tuple[date, Partition], str]:
    inputs = Inputs(files, rows, DAYS[0], DAYS[-1])
    return {(day, share): inputs.of(day, share) for day in DAYS for share in SHARES}


def changed(before: dict[tuple[date, Partition], str], after: dict[tuple[date, Partition], str]):
    keys = [key for key in before if before[key] != after[key]]
    return sorted({day for day, _ in keys}), {share for _, share in keys}


def test_a_late_file_reopens_the_dates_it_touches_and_no_others() -> None:
    late = OLD | {"b.parquet": Seen(10, noon(DAYS[4]), noon(DAYS[4]) + HOUR)}
    days, shares = changed(prints(), prints(late))
    # the local day of any zone, and the night that ends on the next one
    assert {DAYS[4], DAYS[5]} <= set(days)
    assert set(days) <= set(DAYS[3:7])
    assert shares == set(SHARES)


def test_a_file_touches_what_its_span_says() -> None:
    late = Seen(10, noon(DAYS[4]), noon(DAYS[4]) + HOUR)
    days, _ = changed(prints(), prints(OLD | {"b.parquet": late}))
    assert (days[0], days[-1]) == inventory.days_touched(late)


def test_a_file_that_cannot_be_read_counts_as_not_arrived() -> None:
    broken = OLD | {"b.parquet": Seen(10, noon(DAYS[4]), noon(DAYS[4]), "no magic")}
    assert prints(broken) == prints()


def test_a_new_patient_reopens_one_share_from_then_on() -> None:
    days, shares = changed(prints(), prints(rows=[*ROWS, row("p-9", "band-9", DAYS[20])]))
    assert len(shares) == 1
    assert set(DAYS[20:]) <= set(days) <= set(DAYS[18:])


def test_a_device_given_back_leaves_the_dates_before_as_they_were() -> None:
    ended = [replace(ROWS[0], valid_to_utc=str(DAYS[30]), interval=(noon(date(2025, 1, 1)), noon(DAYS[30])))]
    days, shares = changed(prints(), prints(rows=[*ended, ROWS[1]]))
    assert len(shares) == 1
    assert set(DAYS[31:]) <= set(days) <= set(DAYS[28:])


def bounds(rows: Sequence[Cells]) -> dict[date, tuple[object, object, object]]:
    """What the dates of p-1 are by the enrolment."""
    named = [
        {"zone": one.zone, "valid_from_utc": from_utc(one.interval[0])}
        | {"valid_to_utc": None if one.interval[1] is None else from_utc(one.interval[1])}
        for one in rows
        if one.interval
    ]
    with warehouse.connect({}, enrolment(*named)) as con:
        found = calendar(con, DAYS[0], DAYS[-1], None).rows.to_pylist()
    return {one["local_date"]: (one["zone"], one["start_utc"], one["end_utc"]) for one in found}


@pytest.mark.parametrize("hour", range(-12, 13, 4))
@pytest.mark.parametrize(
    "zones",
    [("Europe/Berlin", "America/New_York"), ("Etc/GMT+12", "Pacific/Kiritimati")],
)
def test_a_move_reopens_every_date_whose_minutes_it_changes(zones: tuple[str, str], hour: int) -> None:
    for before, after in (zones, zones[::-1]):
        at = noon(DAYS[20]) + hour * HOUR
        home = row("p-1", "band-1", DAYS[1], zone=before)
        assert home.interval
        left = replace(home, valid_to_utc="then", interval=(home.interval[0], at))
        there = replace(home, zone=after, valid_from_utc="then", interval=(at, None))
        days, _ = changed(prints(rows=[home]), prints(rows=[left, there]))
        stayed, moved = bounds([home]), bounds([left, there])
        differing = {day for day in DAYS if stayed.get(day) != moved.get(day)}
        assert differing
        assert differing <= set(days)


def test_the_order_of_files_and_rows_says_nothing() -> None:
    files = OLD | {f"{n}.parquet": Seen(n, noon(DAYS[n]), noon(DAYS[n])) for n in range(9)}
    assert prints(dict(reversed(files.items())), ROWS[::-1]) == prints(files, ROWS)


def test_scores_depend_on_what_they_look_back_on_by_content() -> None:
    def part(day: date, digest: str) -> Part:
        return Part("patient_day", day, SHARES[0], f"patient_day/x.{digest}.parquet", 1, 1, 1)

    history = [part(day, "aa") for day in DAYS]
    known = inventory.score_fingerprint(history, "")
    assert inventory.score_fingerprint(history[::-1], "") == known
    other = [*history[:3], part(DAYS[3], "bb"), *history[4:]]
    assert inventory.score_fingerprint(other, "") != known
    assert inventory.score_fingerprint(history, "x") != known


def test_a_note_reopens_the_scores_of_its_share_from_the_night_it_holds() -> None:
    own = next(share for share in SHARES if share.holds("p-1"))
    before, after = Notes([]), Notes([("p-1", DAYS[5], "travel")])
    changed = {
        (day, share) for day in DAYS for share in SHARES if before.of(day, share) != after.of(day, share)
    }
    assert changed == {(day, own) for day in DAYS[5:]}


def test_runs_are_consecutive_and_no_longer_than_a_job() -> None:
    days = [DAYS[0] + timedelta(days=n) for n in range(100) if n != 50]
    runs = list(ranges(days))
    assert [day for run in runs for day in run] == days
    assert all(len(run) <= 31 and (run[-1] - run[0]).days == len(run) - 1 for run in runs)
    assert len(runs) == 4


def test_an_empty_lake_has_no_first_day() -> None:
    assert inventory.first_day({}, ROWS) is None
    assert inventory.first_day({"a": Seen(1, 0, 0, "broken")}, ROWS) is None


def test_a_clock_that_said_1970_reopens_no_half_century() -> None:
    assert inventory.first_day({"a": Seen(1, 0, noon(DAYS[0]))}, ROWS) == date(2025, 1, 1)


def test_each_stage_has_a_code_of_its_own() -> None:
    assert len({inventory.code_version(stage) for stage in ("features", "scores", "snapshot")}) == 3
