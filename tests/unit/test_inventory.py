"""What reopens a night: a late file touches exactly the nights it overlaps, and every score after them."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from devices.clock import HOUR, to_utc
from flows import inventory
from flows.inventory import Manifest

DAYS = [date(2026, 1, 1) + timedelta(days=n) for n in range(10)]


def noon(day: date) -> int:
    return to_utc(datetime(day.year, day.month, day.day, 12, tzinfo=UTC))


def prints(spans: dict[Path, tuple[int, int]]) -> dict[date, str]:
    return inventory.feature_fingerprints(spans, "enrolment", DAYS)


def test_a_late_file_reopens_the_nights_it_touches_and_no_others() -> None:
    old = {Path("a.parquet"): (noon(DAYS[0]), noon(DAYS[9]))}
    late = old | {Path("b.parquet"): (noon(DAYS[4]), noon(DAYS[4]) + HOUR)}
    before, after = prints(old), prints(late)
    reopened = [day for day in DAYS if before[day] != after[day]]
    # the local day of any zone, and the night that ends on the next one
    assert DAYS[4] in reopened
    assert DAYS[5] in reopened
    assert set(reopened) <= set(DAYS[3:7])


def test_scores_are_reopened_from_the_first_changed_night_on() -> None:
    old = {Path("a.parquet"): (noon(DAYS[0]), noon(DAYS[9]))}
    late = old | {Path("b.parquet"): (noon(DAYS[4]), noon(DAYS[4]))}
    notes = dict.fromkeys(DAYS, "")
    before, after = (inventory.score_fingerprints(prints(spans), notes) for spans in (old, late))
    changed = [day for day in DAYS if before[day] != after[day]]
    assert changed == DAYS[DAYS.index(changed[0]) :]
    assert changed[0] in DAYS[3:5]


def test_scores_are_reopened_from_the_first_night_a_note_holds() -> None:
    features = prints({Path("a.parquet"): (noon(DAYS[0]), noon(DAYS[9]))})
    before = inventory.score_fingerprints(features, dict.fromkeys(DAYS, ""))
    after = inventory.score_fingerprints(features, {day: "x" if day >= DAYS[5] else "" for day in DAYS})
    assert [day for day in DAYS if before[day] != after[day]] == DAYS[5:]


def test_another_enrolment_or_another_formula_is_another_night(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = {Path("a.parquet"): (noon(DAYS[0]), noon(DAYS[9]))}
    first = prints(spans)
    assert inventory.feature_fingerprints(spans, "other", DAYS)[DAYS[0]] != first[DAYS[0]]
    monkeypatch.setattr(inventory, "code_version", lambda: "other")
    assert prints(spans)[DAYS[0]] != first[DAYS[0]]


def test_the_manifest_remembers_what_was_done(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "manifest.json")
    manifest.mark("features", {DAYS[0]: "print"})
    assert not Manifest(manifest.path).is_done("features", DAYS[0], "print"), "not before it is saved"
    manifest.save()
    again = Manifest(manifest.path)
    assert again.is_done("features", DAYS[0], "print")
    assert not again.is_done("features", DAYS[0], "changed")
    assert not again.is_done("scores", DAYS[0], "print")
    assert not again.is_done("features", DAYS[1], "print")


def test_an_empty_lake_has_no_first_day() -> None:
    assert inventory.first_day({}) is None
