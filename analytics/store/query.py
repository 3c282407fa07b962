"""Ask the published snapshot."""

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
    with duckdb.connect(str(catalog), read_only=True) as con:
        con.execute("set TimeZone = 'UTC'")
        try:
            rows = con.sql(sql)
            if rows is None:
                raise QueryError("not a query: the snapshot can be read, nothing else")
            return rows.to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(_one_line(error)) from error


def _one_line(error: duckdb.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # the message, and the hint DuckDB gives below it; not the picture of the query
    hints = [line for line in lines[1:] if line.startswith(("Did you mean", "Candidate bindings"))]
    return " ".join([lines[0], *hints]) if lines else "the query failed"
