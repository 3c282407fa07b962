"""How an analyst's rows are printed: as a table, or a value per line where the screen is too narrow."""

import os
import sys
from typing import Any, Final

import polars as pl
import pyarrow as pa

#: Characters of a value beside which a column can be wrapped and still be read.
_READABLE: Final = 12
_CELL_EDGES: Final = 3


def show(rows: pa.Table) -> None:
    """Print rows; a file or another program gets every row on one line, uncut."""
    frame: Any = pl.from_arrow(rows)
    width = os.get_terminal_size().columns if sys.stdout.isatty() else None
    if width is not None and _least_width(frame) > width:
        _show_each(frame)
        return
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_hide_dataframe_shape=True,
        fmt_str_lengths=2000,
        tbl_width_chars=width or -1,
    ):
        print(frame)


def _least_width(frame: pl.DataFrame) -> int:
    """Characters of the narrowest table whose headers are whole."""
    return 1 + sum(max(len(name), _READABLE) + _CELL_EDGES for name in frame.columns)


def _show_each(frame: pl.DataFrame) -> None:
    longest = max(map(len, frame.columns))
    for number, row in enumerate(frame.iter_rows(named=True), start=1):
        print(f"row {number}")
        for name, value in row.items():
            shown = "null" if value is None else f"{value:.6g}" if isinstance(value, float) else value
            print(f"  {name:{longest}}  {shown}")
    if frame.is_empty():
        print(f"no rows of {', '.join(frame.columns)}")
