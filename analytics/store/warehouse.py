"""The lake as SQL: one view per observation kind, over Parquet files, in memory.

Files may overlap: a message sent twice lies in two of them. Each view keeps one
row per sample, the one received last, and joins it with the patient who wore the
device at that instant.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from analytics.errors import WarehouseError
from devices.tables import ENROLMENT, LONG_SAMPLES, SAMPLE_KEYS, TABLES

#: Memory of one connection; above it DuckDB spills to disk.
MEMORY_LIMIT: Final = "2GiB"


def connect(
    files: Mapping[str, Sequence[Path]],
    enrolment: pa.Table,
    *,
    threads: int = 2,
    received_before: int | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open an in-memory warehouse over lake files.

    Parameters
    ----------
    files : mapping of str to sequence of Path
        Observation kind -> Parquet files in the schemas of :data:`devices.tables.TABLES`.
    enrolment : Table
        Who wore what, and when (:data:`devices.tables.ENROLMENT`).
    threads : int
        Threads of DuckDB.
    received_before : int, optional
        Only rows received before this instant (microseconds UTC): the lake as it was known then.

    Returns
    -------
    DuckDBPyConnection
        With the table `enrolment` and one view ``observations_<kind>`` per kind: patient,
        site, zone and the columns of the kind. A sample of a device nobody wore at
        that instant is left out.

    Raises
    ------
    WarehouseError
        When files of a kind lack a required column.
    """
    con = duckdb.connect(":memory:")
    con.execute("set TimeZone = 'UTC'")
    con.execute(f"set threads = {int(threads)}")
    con.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
    # the system's page cache holds the files already, and for everybody
    con.execute("set enable_external_file_cache = false")
    con.register("enrolment_rows", enrolment.select(ENROLMENT.names).cast(ENROLMENT))
    con.execute("create table enrolment as select * from enrolment_rows")
    con.unregister("enrolment_rows")
    for kind in TABLES:
        found = files.get(kind, ())
        con.execute(observation_view(con, kind, found, has_enrolment=True, received_before=received_before))
    return con


def observation_view(
    con: duckdb.DuckDBPyConnection,
    kind: str,
    files: Sequence[Path],
    *,
    has_enrolment: bool,
    received_before: int | None = None,
) -> str:
    """Statement that makes the view ``observations_<kind>`` over `files`.

    Without files the view is empty and typed. With `has_enrolment` a table
    `enrolment` is there to join.
    """
    return view_over(
        kind, _rows(con, kind, files), has_enrolment=has_enrolment, received_before=received_before
    )


def sample_key(kind: str) -> str:
    """What names a sample of a kind, as a list of SQL expressions."""
    key = ", ".join(SAMPLE_KEYS[kind])
    if kind in LONG_SAMPLES:
        key += f", epoch_us(end_utc) - epoch_us(start_utc) > {LONG_SAMPLES[kind]:d}"
    return key


def view_over(kind: str, rows: str, *, has_enrolment: bool, received_before: int | None = None) -> str:
    """Statement that makes the view ``observations_<kind>`` over a select of the columns of the kind."""
    key = sample_key(kind)
    # two copies of one message that were cut differently: the choice must not depend on the order of files
    longest = ", end_utc desc" if "end_utc" in TABLES[kind].names else ""
    # whoever is not enrolled here is left out before anything is compared
    wanted = ["device in (select device from enrolment)"] if has_enrolment else []
    if received_before is not None:
        wanted.append(f"received_utc < make_timestamptz({received_before:d})")
    only = f" where {' and '.join(wanted)}" if wanted else ""
    unique = f"""
        select * from ({rows}){only}
        qualify row_number() over (
            partition by {key} order by received_utc desc, sequence desc, gateway desc{longest}
        ) = 1"""
    if not has_enrolment:
        return f"create view observations_{kind} as {unique}"
    columns = ", ".join(f"o.{name}" for name in TABLES[kind].names)
    return f"""
        create view observations_{kind} as
        select e.patient, e.site, e.zone, {columns}
        from ({unique}) o join enrolment e
            on e.device = o.device
            and o.start_utc >= e.valid_from_utc
            and (e.valid_to_utc is null or o.start_utc < e.valid_to_utc)"""


def _rows(con: duckdb.DuckDBPyConnection, kind: str, files: Sequence[Path]) -> str:
    """Select statement with exactly the columns of the kind; a younger column is null in older files."""
    schema = TABLES[kind]
    if not files:
        return typed_nothing(schema)
    names = ", ".join(_quoted(str(path)) for path in files)
    source = f"read_parquet([{names}], union_by_name = true, hive_partitioning = false)"
    try:
        there = set(con.sql(f"select * from {source} limit 0").columns)
    except duckdb.Error as error:
        raise WarehouseError(f"{kind}: cannot read the lake: {str(error).splitlines()[0]}") from error
    missing = [field.name for field in schema if field.name not in there and not field.nullable]
    if missing:
        raise WarehouseError(f"{kind}: lake files lack the column {', '.join(missing)}")
    columns = ", ".join(
        field.name if field.name in there else f"null::{sql_type(field.type)} as {field.name}"
        for field in schema
    )
    return f"select {columns} from {source}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_SQL_TYPES: Final = {
    pa.string(): "varchar",
    pa.timestamp("us", tz="UTC"): "timestamptz",
    pa.date32(): "date",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.uint8(): "utinyint",
    pa.uint16(): "usmallint",
    pa.uint32(): "uinteger",
    pa.uint64(): "ubigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
}


def typed_nothing(schema: pa.Schema) -> str:
    """Select statement of no rows with the columns of a schema."""
    columns = ", ".join(f"null::{sql_type(field.type)} as {field.name}" for field in schema)
    return f"select {columns} where false"


def sql_type(kind: pa.DataType) -> str:
    """DuckDB's name of a type of our schemas."""
    if pa.types.is_list(kind):
        return f"{_SQL_TYPES[kind.value_type]}[]"
    return _SQL_TYPES[kind]
