"""Files of derived tables: named by content, never changed, held by the ledger, read by share."""

import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.errors import LedgerError, PartError
from analytics.store import ledger as ledger_module
from analytics.store.derived import DerivedStore
from analytics.store.ledger import NAME, Done, Ledger
from analytics.store.partitions import COUNTS, Partition, by_partition, partitions
from analytics.store.parts import Part
from analytics.tables import TABLES

FIRST = date(2026, 1, 1)
LAST = FIRST + timedelta(days=2)
ALL = Partition(0, 1)


def trend(rows: list[tuple[str, date, str]]) -> pa.Table:
    def full(patient: str, day: date, sentence: str) -> dict[str, Any]:
        empty = dict.fromkeys(TABLES["trend"].names)
        empty |= {"message": "trend_none", "parameters": "{}"}
        return empty | {"patient": patient, "local_date": day, "metric": "steps", "sentence": sentence}

    return pa.Table.from_pylist([full(*row) for row in rows], schema=TABLES["trend"])


def keep(store: DerivedStore, rows: pa.Table, partition: Partition = ALL) -> int:
    """Write and enter the rows of a share; returns what changed."""
    parts = store.files.write({"trend": rows}, FIRST, LAST, partition)
    with store.ledger() as ledger:
        return ledger.enter("scores", {day: Done("i", "c") for day in (FIRST, LAST)}, partition, parts)


@pytest.fixture
def store(tmp_path: Path) -> DerivedStore:
    return DerivedStore(tmp_path)


def test_the_same_rows_again_are_the_same_files(store: DerivedStore) -> None:
    rows = trend([("a", FIRST, "one"), ("b", FIRST, "two"), ("a", LAST, "three")])
    assert keep(store, rows) == 3
    there = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.parquet")}
    assert keep(store, rows) == 0
    assert keep(store, rows.take([2, 1, 0])) == 0, "order is not content"
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*.parquet")} == there
    assert store.read("trend", FIRST, LAST).num_rows == 3


def test_a_correction_is_another_file_and_the_old_one_stays(store: DerivedStore) -> None:
    keep(store, trend([("a", FIRST, "one"), ("a", LAST, "two")]))
    before = set(store.root.rglob("*.parquet"))
    assert keep(store, trend([("a", FIRST, "one"), ("a", LAST, "new")])) == 1
    assert store.read("trend", LAST, LAST)["sentence"].to_pylist() == ["new"]
    assert before < set(store.root.rglob("*.parquet")), "a published snapshot still names it"


def test_what_was_written_and_not_entered_does_not_hold(store: DerivedStore) -> None:
    store.files.write({"trend": trend([("a", FIRST, "one")])}, FIRST, LAST, ALL)
    assert store.read("trend", FIRST, LAST).equals(TABLES["trend"].empty_table())


@given(st.sets(st.text("abcdef0123456789-", min_size=1, max_size=8), max_size=40))
def test_a_cut_loses_nobody_and_a_finer_one_divides_it(patients: set[str]) -> None:
    cuts = {count: by_partition(patients, count) for count in COUNTS}
    for count, shares in cuts.items():
        assert sorted(p for own in shares.values() for p in own) == sorted(patients), count
    for fine, own in cuts[32].items():
        (coarse,) = [share for share in partitions(8) if share.overlaps(fine)]
        assert set(own) <= set(cuts[8][coarse])


def test_shares_are_those_of_ten_years_ago() -> None:
    assert [next(p.number for p in partitions(32) if p.holds(f"p-{n:04d}")) for n in range(6)] == SHARES


#: As digests gave them on 2026-11-26; another function would part patients from their history.
SHARES = [23, 3, 22, 19, 17, 8]


@pytest.mark.parametrize(("written", "read"), [(8, 32), (32, 8), (16, 16)])
def test_a_table_cut_one_way_is_read_another_way(store: DerivedStore, written: int, read: int) -> None:
    patients = [f"p-{number}" for number in range(60)]
    for share, own in by_partition(patients, written).items():
        keep(store, trend([(patient, FIRST, "x") for patient in own]), share)
    for share, own in by_partition(patients, read).items():
        found = store.read("trend", FIRST, LAST, partition=share, columns=["patient"])
        assert sorted(found["patient"].to_pylist()) == own


def test_a_flipped_bit_is_an_error_and_not_another_number(store: DerivedStore) -> None:
    keep(store, trend([("a", FIRST, "one"), ("a", LAST, "two")]))
    path = next(store.root.rglob(f"*{FIRST}/*.parquet"))
    content = bytearray(path.read_bytes())
    for at in range(4, 40):
        content[at] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(PartError, match="date=2026-01-01"):
        store.read("trend", FIRST, LAST)
    assert store.read("trend", LAST, LAST).num_rows == 1


def test_an_older_file_lacks_a_younger_column(store: DerivedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(store, trend([("a", FIRST, "one")]))
    younger = TABLES["trend"].append(pa.field("younger", pa.float64()))
    monkeypatch.setitem(TABLES, "trend", younger)
    assert store.read("trend", FIRST, FIRST)["younger"].to_pylist() == [None]


def test_damaged_or_gone_is_forgotten_with_its_date_and_share(store: DerivedStore) -> None:
    keep(store, trend([("a", FIRST, "one"), ("a", LAST, "two")]))
    with store.ledger() as ledger:
        (part,) = ledger.parts("trend", FIRST, FIRST)
        assert store.files.is_there(part)
        (store.root / part.path).write_bytes(b"short")
        assert not store.files.is_there(part)
        ledger.forget(part.path)
        assert ledger.parts("trend", FIRST, FIRST) == []
        assert list(ledger.done("scores", FIRST, LAST)) == [(LAST, ALL)]


def test_nothing_stored_reads_as_an_empty_table(store: DerivedStore) -> None:
    assert store.read("trend", FIRST, LAST).schema == TABLES["trend"]


def test_a_ledger_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("no database, but long enough to be taken for one" * 40)
    with pytest.raises(LedgerError, match="restore it from a backup"):
        Ledger(tmp_path / NAME)


def test_a_sound_ledger_is_not_to_be_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds it, or it may not be written: that is no reason to compute every night anew."""
    Ledger(tmp_path / NAME).close()
    monkeypatch.setattr(ledger_module, "BUSY_TIMEOUT_S", 0.05)
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as con:
        con.execute("pragma locking_mode = exclusive")
        con.execute("begin exclusive")
        with pytest.raises(LedgerError, match="locked") as caught:
            Ledger(tmp_path / NAME)
    assert "move it away" not in str(caught.value)


def test_a_share_that_fails_half_way_enters_nothing(store: DerivedStore) -> None:
    part = Part("trend", FIRST, ALL, "trend/x", 1, 1, 1)

    def parts():
        yield part
        raise RuntimeError("killed")

    with store.ledger() as ledger:
        with pytest.raises(RuntimeError):
            ledger.enter("scores", {FIRST: Done("i", "c")}, ALL, parts())
        assert ledger.parts("trend", FIRST, LAST) == []
        assert ledger.done("scores", FIRST, LAST) == {}
