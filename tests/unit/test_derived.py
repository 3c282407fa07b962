"""Dated files of derived tables: replaced whole, only when their rows changed."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analytics.store.derived import DerivedStore
from analytics.tables import TABLES

FIRST = date(2026, 1, 1)
LAST = FIRST + timedelta(days=2)


def trend(rows: list[tuple[str, date, str]]) -> pa.Table:
    def full(patient: str, day: date, sentence: str) -> dict[str, Any]:
        empty = dict.fromkeys(TABLES["trend"].names)
        empty |= {"message": "trend_none", "parameters": "{}"}
        return empty | {"patient": patient, "local_date": day, "metric": "steps", "sentence": sentence}

    return pa.Table.from_pylist([full(*row) for row in rows], schema=TABLES["trend"])


@pytest.fixture
def store(tmp_path: Path) -> DerivedStore:
    return DerivedStore(tmp_path)


def test_the_same_rows_again_write_nothing(store: DerivedStore) -> None:
    rows = trend([("a", FIRST, "one"), ("b", FIRST, "two"), ("a", LAST, "three")])
    assert store.replace({"trend": rows}, FIRST, LAST) == 3
    assert store.replace({"trend": rows}, FIRST, LAST) == 0
    assert store.replace({"trend": rows.take([2, 1, 0])}, FIRST, LAST) == 0, "order is not content"
    assert store.read("trend", FIRST, LAST).num_rows == 3


def test_only_the_date_that_changed_is_written(store: DerivedStore) -> None:
    store.replace({"trend": trend([("a", FIRST, "one"), ("a", LAST, "two")])}, FIRST, LAST)
    before = store.path("trend", FIRST).stat().st_mtime_ns
    assert store.replace({"trend": trend([("a", FIRST, "one"), ("a", LAST, "new")])}, FIRST, LAST) == 1
    assert store.path("trend", FIRST).stat().st_mtime_ns == before
    assert store.read("trend", LAST, LAST)["sentence"].to_pylist() == ["new"]


def test_rows_that_are_gone_are_gone(store: DerivedStore) -> None:
    store.replace({"trend": trend([("a", FIRST, "one")])}, FIRST, LAST)
    store.replace({"trend": trend([])}, FIRST, LAST)
    assert store.read("trend", FIRST, LAST).num_rows == 0


def test_one_patient_is_replaced_and_the_others_stay(store: DerivedStore) -> None:
    store.replace({"trend": trend([("a", FIRST, "one"), ("b", FIRST, "two")])}, FIRST, LAST)
    store.replace({"trend": trend([("a", FIRST, "new")])}, FIRST, FIRST, patients=["a"])
    rows = store.read("trend", FIRST, FIRST).to_pylist()
    assert [(row["patient"], row["sentence"]) for row in rows] == [("a", "new"), ("b", "two")]


def test_nothing_stored_reads_as_an_empty_table(store: DerivedStore) -> None:
    assert store.read("trend", FIRST, LAST).schema == TABLES["trend"]


def test_no_staged_file_is_left_or_read(store: DerivedStore) -> None:
    store.replace({"trend": trend([("a", FIRST, "one")])}, FIRST, LAST)
    names = sorted(path.name for path in (store.root / "trend").iterdir())
    assert names == [f"date={FIRST + timedelta(days=n)}.parquet" for n in range(3)]
