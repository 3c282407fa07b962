"""Ask the published snapshot."""

import re
from pathlib import Path

import duckdb
import pyarrow as pa

from analytics.errors import QueryError


def run(current: Path, sql: str) -> pa.Table:
    """Rows of a query against the current snapshot, opened read-only.

    Parameters
    ----------
    current : Path
        The symlink of :func:`analytics.store.publish.publish`.
    sql : str
        One select statement.

    Raises
    ------
    QueryError
        When nothing is published yet, or the SQL is wrong; the message is one line.
    """
    # the link is followed once: a snapshot published meanwhile does not change under the query
    catalog = current.resolve()
    if not catalog.is_file():
        raise QueryError(f"nothing published yet at {current}: run `flarecast nightly` first")
    # a database of our own around it: the locks below are nobody else's
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        try:
            name = str(catalog).replace("'", "''")
            con.execute(f"attach '{name}' as snapshot (read_only)")
            con.execute("use snapshot")
        except duckdb.Error as error:
            raise QueryError(f"{catalog} is not a snapshot: {_one_line(error)}") from None
        return answer(con, sql)


def answer(con: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Rows of one query on a database of our own, which can read what its views name and nothing else.

    Raises
    ------
    QueryError
        When the SQL is wrong or no query; the message is one line.
    """
    _close_doors(con)
    try:
        if len(con.extract_statements(sql)) > 1:
            raise QueryError("one query at a time")
        rows = con.sql(sql)
        # no relation comes back from statements that are not queries, whatever the types say
        if rows is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise QueryError("not a query: the snapshot can be read, nothing else")
        return _plain(rows.to_arrow_table())
    except duckdb.Error as error:
        raise QueryError(_one_line(error)) from error


def _close_doors(con: duckdb.DuckDBPyConnection) -> None:
    """Let a query read the files its views name and no others, and write nowhere."""
    views = con.execute("select sql from duckdb_views() where not internal").fetchall()
    paths = {path for (text,) in views for path in re.findall(r"'(/[^']+\.parquet)'", text)}
    con.execute("set allowed_paths = $paths", {"paths": sorted(paths)})
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")


def _plain(rows: pa.Table) -> pa.Table:
    """Whole numbers as 64-bit integers: DuckDB sums them as 128-bit ones, which Arrow calls decimals."""
    for number, field in enumerate(rows.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            try:
                column = rows.column(number).cast(pa.int64())
            except pa.ArrowInvalid:
                continue  # too large for 64 bits: it stays the decimal it is
            rows = rows.set_column(number, field.name, column)
    return rows


def _one_line(error: duckdb.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # the message, and the hint DuckDB gives below it; not the picture of the query
    hints = [line for line in lines[1:] if line.startswith(("Did you mean", "Candidate bindings"))]
    return " ".join([lines[0], *hints]) if lines else "the query failed"
