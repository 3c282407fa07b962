"""The proof of an erasure: every file below the home is looked into, and the alert store."""

import re
from collections.abc import Sequence
from pathlib import Path

import duckdb

from alerts.store import erasing as store
from alerts.store.database import Database
from analytics.tables import TABLES
from flows.clinic import Clinic
from ingest.lake import erasing as lake_erasing
from ingest.lake.erasing import Worn


def search(clinic: Clinic, patient: str, devices: Sequence[Worn], gateways: Sequence[Worn]) -> list[str]:
    """Where anything of the patient is still found: every file below the home is looked into."""
    found = [str(path) for path in lake_erasing.left(clinic.lake, devices, gateways)]
    word = re.compile(rb"(?<![A-Za-z0-9_.-])" + re.escape(patient.encode()) + rb"(?![A-Za-z0-9_-])")
    for path in sorted(one for one in clinic.home.rglob("*") if one.is_file()):
        if path.suffix == ".parquet":
            has = False  # the lake's are looked into above, derived ones below, all at once
        elif path.suffix == ".duckdb":
            has = path.parent.name == "catalogs" and _has_in_catalog(path, patient)
        else:
            has = word.search(path.read_bytes()) is not None
        if has:
            found.append(str(path))
    found += [name for table in TABLES for name in _with_rows(clinic.derived.root / table, patient)]
    if isinstance(clinic.alert_store, str):
        with Database(clinic.alert_store) as database, database.transaction() as con:
            found += [f"alert store, table {table}" for table in store.left(con, patient)]
    return found


def _with_rows(folder: Path, patient: str) -> list[str]:
    """Files of a derived table with a row of the patient, or which cannot be read."""
    paths = sorted(str(path) for path in folder.rglob("*.parquet"))
    query = "select distinct filename from read_parquet(?, filename = true, union_by_name = true)"

    def holding(some: Sequence[str]) -> list[str]:
        rows = con.execute(f"{query} where patient = ? order by filename", [some, patient]).fetchall()
        return [str(name) for (name,) in rows]

    with duckdb.connect() as con:
        try:
            return holding(paths) if paths else []
        except duckdb.Error:
            found: list[str] = []
            for path in paths:
                try:
                    found += holding([path])
                except duckdb.Error:
                    found.append(path)
            return found


def _has_in_catalog(path: Path, patient: str) -> bool:
    """Whether a table of a catalog has a row of the patient; its views are of files that are looked into."""
    try:
        with duckdb.connect(str(path), read_only=True) as con:
            tables = con.execute(
                "select table_name from duckdb_columns() join duckdb_tables() using (table_name) "
                "where column_name = 'patient' and not duckdb_tables.internal"
            ).fetchall()
            return any(
                (con.execute(f"select count(*) from {name} where patient = ?", [patient]).fetchone() or (0,))[
                    0
                ]
                for (name,) in tables
            )
    except duckdb.Error:
        return True
