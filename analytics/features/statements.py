"""SQL of the features: one file per statement, its grain and arguments in its header."""

from functools import cache
from importlib.resources import files
from typing import Any

import duckdb
import pyarrow as pa


@cache
def statement(name: str) -> str:
    """Text of ``sql/<name>.sql``."""
    return (files("analytics.features") / "sql" / f"{name}.sql").read_text()


def select(con: duckdb.DuckDBPyConnection, name: str, arguments: dict[str, Any]) -> pa.Table:
    """Rows of a statement, as an Arrow table."""
    return con.sql(statement(name), params=arguments).to_arrow_table()
