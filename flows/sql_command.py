"""`flarecast sql`: ask the published snapshot, in words of one's own or by a starter query."""

import json
from pathlib import Path

import polars as pl
import pyarrow as pa

from analytics.store import query, starters
from flows import settings
from flows.clinic import Clinic


def run_sql(home: Path, text: str | None, *, snapshot: str | None, as_json: bool) -> int:
    """Print the rows of a query; returns the exit code."""
    if text is None:
        print(starters.overview())
        return 0
    statement = starters.read(text[1:]) if text.startswith("@") else text
    rows = _rows(home, snapshot, statement)
    if as_json:
        print(json.dumps(rows.to_pylist(), default=str))
        return 0
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, fmt_str_lengths=2000):
        print(pl.from_arrow(rows))
    return 0


def _rows(home: Path, snapshot: str | None, statement: str) -> pa.Table:
    if snapshot is None or not snapshot.startswith("s3://"):
        return query.run(Path(snapshot) if snapshot else Clinic(home).current, statement)
    from flows import shared_snapshot

    return shared_snapshot.run(settings.place_of(snapshot), statement)
