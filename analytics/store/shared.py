"""A snapshot that lies on object storage, as SQL: its files through pyarrow datasets.

DuckDB 2.0 has no `httpfs` yet: it reads no object storage itself. The catalog is fetched for the
tables it holds; derived tables and observations are scanned where they are, column by column
and row group by row group as a query needs them.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds

import devices.tables
from analytics.store import publish, warehouse
from analytics.tables import TABLES


@contextmanager
def connect(
    catalog: Path, tables: Mapping[str, Sequence[str]], observations: Mapping[str, Sequence[str]], where: Any
) -> Generator[duckdb.DuckDBPyConnection]:
    """Open a snapshot.

    Parameters
    ----------
    catalog : Path
        Its catalog, a copy on this machine; needed only until the first query.
    tables, observations : mapping of str to sequence of str
        Derived table or observation kind -> paths in `where`.
    where : pyarrow.fs.FileSystem
        The storage.

    Returns
    -------
    context of DuckDBPyConnection
        In memory, with the tables and views of the local snapshot; without COMMENTs.
    """
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'")
        name = str(catalog).replace("'", "''")
        con.execute(f"attach '{name}' as catalog_copy (read_only)")
        copied = con.execute(
            "select table_name from duckdb_tables() where database_name = 'catalog_copy'"
        ).fetchall()
        for (table,) in copied:
            con.execute(f"create table {table} as from catalog_copy.{table}")
        con.execute("detach catalog_copy")
        for table, schema in TABLES.items():
            # a column younger than a file is null there, as in the local snapshot
            con.register(f"files_{table}", ds.dataset(list(tables.get(table, ())), schema, "parquet", where))
            con.execute(f"create view {table} as from files_{table}")
        has_enrolment = ("enrolment",) in copied
        for kind, schema in devices.tables.TABLES.items():
            con.register(
                f"files_{kind}", ds.dataset(list(observations.get(kind, ())), schema, "parquet", where)
            )
            rows = f"from files_{kind}"
            con.execute(warehouse.view_over(kind, rows, has_enrolment=has_enrolment))
        for view, (statement, _, _) in publish.VIEWS.items():
            if view != "pro_scores" or has_enrolment:
                con.execute(f"create view {view} as {statement}")
        yield con
