"""No identifier survives an extract, whatever the people are called, and what analysts need does."""

import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from analytics.store.deid import NUMBERED, SUPPRESSED, Disguise, Person, extract, suppress
from analytics.tables import TABLES

ZONES = ("Europe/Berlin", "America/St_Johns", "Pacific/Chatham", "Asia/Kathmandu")
FIRST = date(2026, 3, 20)  # the clocks change in Berlin within the days below
DAYS = 12
#: Long enough that finding it again in a file is no accident.
names = st.text("abcdefghjkmnpqrstuvwxyz0123456789", min_size=12, max_size=20)


def filled(schema: pa.Schema, **known: Any) -> dict[str, Any]:
    """A row with something in every column; texts are the patient's own."""
    row: dict[str, Any] = {}
    for column in schema:
        if column.name in known:
            row[column.name] = known[column.name]
        elif pa.types.is_timestamp(column.type):
            row[column.name] = datetime.combine(known["local_date"], datetime.min.time(), UTC) + timedelta(
                hours=3
            )
        elif pa.types.is_date(column.type):
            row[column.name] = known["local_date"]
        elif pa.types.is_string(column.type):
            row[column.name] = f"{known['secret']} {column.name}"
        elif pa.types.is_boolean(column.type):
            row[column.name] = True
        elif pa.types.is_list(column.type):
            row[column.name] = [7, 8]
        else:
            row[column.name] = 7
    return row


@st.composite
def clinics(draw: st.DrawFn) -> tuple[dict[str, pa.Table], list[Person], list[str]]:
    people = draw(st.lists(names, min_size=6, max_size=9, unique=True))
    secrets = draw(st.lists(names, min_size=len(people), max_size=len(people), unique=True))
    zones = [draw(st.sampled_from(ZONES)) for _ in people]
    tables = {
        name: pa.Table.from_pylist(
            [
                filled(
                    schema, patient=patient, zone=zone, secret=secret, local_date=FIRST + timedelta(days=day)
                )
                for patient, zone, secret in zip(people, zones, secrets, strict=True)
                for day in range(DAYS)
            ],
            schema=schema,
        )
        for name, schema in TABLES.items()
    }
    taking_part = [
        Person(
            patient,
            FIRST,
            draw(st.integers(1930, 2008) | st.none()),
            draw(st.sampled_from(["female", "male"])),
        )
        for patient in people[:-1]
    ]
    return tables, taking_part, [*people, *secrets, *ZONES]


@given(clinics(), st.binary(min_size=32, max_size=32), st.integers(3, 5))
def test_no_identifier_survives(clinic: Any, key: bytes, min_cell: int) -> None:
    tables, people, identifiers = clinic
    found = extract(tables, people, Disguise(key, min_cell, [18, 30, 45, 65, 80]))
    for name, rows in found.items():
        buffer = io.BytesIO()
        pq.write_table(rows, buffer, compression="none", use_dictionary=False)
        content = buffer.getvalue() + repr(rows.to_pylist()).encode()
        for identifier in identifiers:
            assert identifier.encode() not in content, (name, identifier)
    assert {row["subject"] for row in found["subjects"].to_pylist()} == {
        row["subject"] for row in found["patient_day"].to_pylist()
    }
    assert found["subjects"].num_rows == len(people), "who did not consent is not there"


@given(clinics(), st.binary(min_size=32, max_size=32))
def test_numbers_weekdays_and_distances_survive(clinic: Any, key: bytes) -> None:
    tables, people, _ = clinic
    disguise = Disguise(key, 3, [18])
    found = extract(tables, people, disguise)
    for person in people:
        subject = disguise.subject(person.patient)
        shifts = set()
        for name in TABLES:
            before = [r for r in tables[name].to_pylist() if r["patient"] == person.patient]
            after = [r for r in found[name].to_pylist() if r["subject"] == subject]
            assert len(before) == len(after) == DAYS
            for old, new in zip(before, after, strict=True):
                shifts.add(new["local_date"] - old["local_date"])
                kept = {k: v for k, v in new.items() if isinstance(v, float)}
                assert kept == {k: old[k] for k in kept}
        (shift,) = shifts
        assert shift.days % 7 == 0
        assert shift.days != 0
        assert abs(shift.days) <= 26 * 7


@given(clinics(), st.binary(min_size=32, max_size=32))
def test_instants_are_clock_times(clinic: Any, key: bytes) -> None:
    """03:00 UTC is another hour in every zone; beside a date it must not tell which zone that was."""
    tables, people, _ = clinic
    found = extract(tables, people, Disguise(key, 3, [18]))
    for name, rows in found.items():
        assert not [f.name for f in rows.schema if pa.types.is_timestamp(f.type) and f.type.tz], name
        assert not [f.name for f in rows.schema if f.name.endswith("_utc") or f.name == "zone"], name
        for column in NUMBERED & set(rows.column_names):
            assert set(rows[column].to_pylist()) == {1}


@given(
    st.lists(st.tuples(st.sampled_from("ab") | st.none(), st.integers(0, 5)), max_size=30), st.integers(1, 5)
)
def test_a_word_stands_only_where_enough_share_it(rows: list[tuple[str | None, int]], min_cell: int) -> None:
    values, owners = [v for v, _ in rows], [str(o) for _, o in rows]
    for word, value, _ in zip(suppress(values, owners, min_cell), values, owners, strict=True):
        holders = {o for v, o in rows if v == value}
        if value is None:
            assert word is None
        elif len(holders) < min_cell:
            assert word == SUPPRESSED
        else:
            assert word == value


@given(clinics(), st.binary(min_size=32, max_size=32), st.integers(3, 5))
def test_attributes_are_shared_by_enough(clinic: Any, key: bytes, min_cell: int) -> None:
    tables, people, _ = clinic
    rows = extract(tables, people, Disguise(key, min_cell, [18, 45, 65]))["subjects"].to_pylist()
    cells = [(row["age_band"], row["sex"]) for row in rows]
    for cell in set(cells) - {(None, None)}:
        assert cells.count(cell) >= min_cell


def test_another_study_has_other_names_and_dates() -> None:
    one, other = (Disguise(bytes([n]) * 32, 3, [18]) for n in (1, 2))
    people = [f"patient-{n}" for n in range(200)]
    assert not {one.subject(p) for p in people} & {other.subject(p) for p in people}
    assert len({one.shift(p) for p in people}) > 30, "dates move apart"
    assert any(one.shift(p) != other.shift(p) for p in people)
