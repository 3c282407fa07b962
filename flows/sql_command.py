"""`flarecast sql`: ask the published snapshot, in words of one's own or by a starter query."""

import json
from pathlib import Path

import polars as pl

from analytics.store import query, starters
from flows.clinic import Clinic


def run_sql(home: Path, text: str | None, *, snapshot: Path | None, as_json: bool) -> int:
    """Print the rows of a query; returns the exit code."""
    if text is None:
        print(starters.overview())
        return 0
    statement = starters.read(text[1:]) if text.startswith("@") else text
    rows = query.run(snapshot or Clinic(home).current, statement)
    if as_json:
        print(json.dumps(rows.to_pylist(), default=str))
        return 0
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, fmt_str_lengths=2000):
        print(pl.from_arrow(rows))
    return 0
