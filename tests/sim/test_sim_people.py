"""Synthetic people: identifiers that give nothing away, medians within what is documented."""

from dataclasses import asdict
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np

from devices.ids import check_id
from devices.observations import Battery
from devices.sim.made import Made
from devices.sim.people import RANGES, enrolment_rows, make_people

SINCE = 1_767_225_600_000_000  # 2026-01-01T00:00Z


def test_ids_are_unique_slugs() -> None:
    people = make_people(300, seed=5)
    ids = [text for p in people for text in (p.patient, p.gateway, *p.devices)]
    assert len(set(ids)) == len(ids) == 300 * 5
    for text in [*ids, *(p.site for p in people)]:
        check_id(text)


def test_device_and_gateway_ids_do_not_tell_the_patient() -> None:
    for person in make_people(300, seed=5):
        for text in (person.gateway, *person.devices):
            tail = text.split("-", 1)[1]
            assert person.patient not in text
            assert str(person.number).zfill(5) not in tail
            assert int(tail, 16) > 1 << 20, "a small number could be a counter"


def test_ids_change_with_the_seed_and_medians_do_too() -> None:
    first, second = make_people(1, seed=1)[0], make_people(1, seed=2)[0]
    assert first.gateway != second.gateway
    assert first.steps != second.steps


def test_a_person_does_not_depend_on_the_count() -> None:
    assert make_people(60, seed=3)[:7] == make_people(7, seed=3)


def test_medians_lie_in_the_documented_ranges_and_fill_them() -> None:
    people = [asdict(person) for person in make_people(400, seed=1)]
    for name, (low, high) in RANGES.items():
        values = np.array([person[name] for person in people])
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values.max() <= high


def test_zones_with_and_without_summer_time() -> None:
    zones = {person.zone for person in make_people(40, seed=1)}
    winter, summer = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 7, 15, tzinfo=UTC)
    shifts = {
        zone: winter.replace(tzinfo=ZoneInfo(zone)).utcoffset()
        != summer.replace(tzinfo=ZoneInfo(zone)).utcoffset()
        for zone in zones
    }
    assert sum(shifts.values()) >= 3
    assert sum(not shifting for shifting in shifts.values()) >= 3


def test_one_traveller_in_forty_and_both_kinds_of_people() -> None:
    people = make_people(40, seed=1)
    assert sum(person.is_traveller for person in people) == 1
    assert 15 <= sum(person.is_predictable for person in people) <= 33


def test_enrolment_has_one_open_row_per_device() -> None:
    people = make_people(3, seed=1)
    rows = enrolment_rows(people, valid_from_utc=SINCE)
    assert [row["device"] for row in rows] == [device for person in people for device in person.devices]
    assert list(rows[0]) == ["patient", "site", "zone", "gateway", "device", "valid_from_utc", "valid_to_utc"]
    assert {(row["valid_from_utc"], row["valid_to_utc"]) for row in rows} == {
        ("2026-01-01T00:00:00+00:00", "")
    }


def test_made_counts_samples_by_kind() -> None:
    made = Made()
    for _ in range(3):
        made.add(Battery(device="band-1", start_utc=SINCE, source="synthetic/1", level_pct=50))
    assert made.by_kind()["battery"] == made.total() == 3
    assert made.by_kind()["rr_interval"] == 0
