"""Publish a snapshot: everything derived, as files by name and as one DuckDB catalog, at once or not at all.

``<root>/snapshots/<id>/manifest.json`` names every file the snapshot consists of,
``<root>/catalogs/<id>.duckdb`` shows them to SQL, and the symlink ``<root>/current.duckdb``
is replaced in one step when both are on disk. Nothing published is changed again: a
reader that follows the link once sees one state for as long as it likes. Files of derived
tables are never copied: their names say their content.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import devices.tables
from analytics.features.instruments import score_statement, t_score_statement
from analytics.store import warehouse
from analytics.store.parts import Part
from analytics.tables import SNAPSHOT, TABLES
from devices.clock import Clock, from_utc, to_utc
from devices.durable import sync_folder

CURRENT: Final = "current.duckdb"
#: Held by who publishes: one at a time.
LOCK: Final = "publish.lock"
#: A snapshot's own name inside those of its files: when it was made.
_INSTANT: Final = "%Y%m%dT%H%M%S.%f"
_NAME: Final = re.compile(r"(\d{8}T\d{6}\.\d{6})Z")
#: What a snapshot consists of, in its folder.
MANIFEST: Final = "manifest.json"

#: Views over the tables for the questions most often asked: name -> (statement, what a row is, column docs).
VIEWS: Final[dict[str, tuple[str, str, dict[str, str]]]] = {
    "coverage": (
        """select
            p.patient,
            p.local_date,
            p.wear_min,
            p.is_valid_day,
            p.steps is not null as has_steps,
            p.tst_min is not null as has_sleep,
            p.rmssd_ms is not null as has_hrv,
            p.nrs is not null as has_pain_score,
            n.window_count,
            p.quality as steps_quality,
            n.sleep_quality,
            n.hrv_quality
        from patient_day p left join night n using (patient, local_date)""",
        "what is there of a patient's day and night, and why the rest is not",
        {
            "has_steps": "steps stand",
            "has_sleep": "sleep values stand",
            "has_hrv": "HRV values stand",
            "has_pain_score": "a pain score was given",
            "steps_quality": "why steps are null",
        },
    ),
    "rhythm_weekly": (
        """select * from rhythm where isodow(local_date) = 7""",
        "a patient's rhythm of the four weeks that end with a week, on its Sunday",
        {},
    ),
    "pro_scores": (
        f"""select patient, local_date, instrument, score, 0 as recall_days, instrument || '/1' as version,
            null::varchar as quality
        from (
            select patient, local_date, 'nrs' as instrument, nrs as score from patient_day
            union all
            select patient, local_date, 'mood', mood from patient_day
        )
        where score is not null
        union all
        ({score_statement()})""",
        "one score of one questionnaire and day",
        {
            "instrument": "nrs: pain 0-10; mood: low mood 0-10; a questionnaire, or a form of t_score",
            "score": "by the rule of that version; of nrs and mood the mean of the day [{score}]",
            "recall_days": "days the questions ask about; 0: now [d]",
            "version": "version of the scoring rule",
            "quality": "why there is no score; null when it stands",
        },
    ),
}


def publish(
    root: Path,
    tables: Mapping[str, pa.Table],
    observations: Mapping[str, Sequence[Path]],
    *,
    clock: Clock,
    enrolment: pa.Table | None = None,
    is_synthetic: bool = False,
    parts: Mapping[str, Sequence[Part]] | None = None,
    parts_root: Path | None = None,
    made_of: str = "",
) -> Path:
    """Write a new snapshot and make it the current one.

    Parameters
    ----------
    root : Path
        Folder of the publications.
    tables : mapping of str to Table
        Tables copied into the catalog; their field metadata (doc, unit) becomes the column comments.
    observations : mapping of str to sequence of Path
        Observation kind -> lake files behind the views ``observations_<kind>``.
    clock : Clock
        Names the snapshot.
    enrolment : Table, optional
        When given, the observation views carry patient, site and zone.
    is_synthetic : bool
        The people are simulated: the table ``snapshot`` says so to every reader.
    parts : mapping of str to sequence of Part, optional
        Derived table -> its files below `parts_root`: a view each.
    made_of : str
        Digest of everything the snapshot shows, kept in its manifest.

    Returns
    -------
    Path
        ``root/current.duckdb``, a symlink to the new catalog.
    """
    for folder in ("snapshots", "catalogs"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    with alone(root):
        for path in left_behind(root):
            delete(path)
        _forget_unshown(root)
        return _publish(
            root,
            tables,
            observations,
            clock=clock,
            enrolment=enrolment,
            is_synthetic=is_synthetic,
            parts=parts or {},
            parts_root=parts_root or root,
            made_of=made_of,
        )


@contextmanager
def alone(root: Path) -> Generator[None]:
    """Context in which nobody else publishes below `root`; waits for it."""
    with (root / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def left_behind(root: Path) -> list[Path]:
    """What killed publishers left half made; for whoever is :func:`alone`, where nobody is making any."""
    folders = (root / "catalogs", root / "snapshots")
    return [*root.glob(f".{CURRENT}.*"), *(path for folder in folders for path in folder.glob(".*"))]


def delete(path: Path) -> None:
    """Delete a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _forget_unshown(root: Path) -> None:
    """Delete snapshots newer than the current one: their publishers were killed and nobody saw them."""
    current = root / CURRENT
    if not current.exists():
        return
    shown = current.resolve().stem
    for path in (root / "snapshots").glob("[!.]*"):
        if path.name > shown:
            (root / "catalogs" / f"{path.name}.duckdb").unlink(missing_ok=True)
            shutil.rmtree(path)


def _publish(
    root: Path,
    tables: Mapping[str, pa.Table],
    observations: Mapping[str, Sequence[Path]],
    *,
    clock: Clock,
    enrolment: pa.Table | None,
    is_synthetic: bool,
    parts: Mapping[str, Sequence[Part]],
    parts_root: Path,
    made_of: str,
) -> Path:
    snapshots, catalogs = root / "snapshots", root / "catalogs"
    name = _new_name(snapshots, clock)
    files = {
        table: [_File(parts_root / part.path, part.width) for part in own] for table, own in parts.items()
    }
    manifest = {
        "made_of": made_of,
        "tables": {table: [str(file.path.resolve()) for file in own] for table, own in files.items()},
        "observations": {kind: [str(path.resolve()) for path in own] for kind, own in observations.items()},
    }
    _write_files(snapshots / name, tables, manifest)
    about = _about(name, clock, is_synthetic=is_synthetic)
    catalog = catalogs / f"{name}.duckdb"
    _write_catalog(catalog, {"snapshot": about, **tables}, files, observations, enrolment)
    for folder in (snapshots, catalogs):
        sync_folder(folder)
    staged = root / f".{CURRENT}.{name}"
    staged.symlink_to(catalog.relative_to(root))
    current = root / CURRENT
    staged.replace(current)
    sync_folder(root)
    return current


def made_of(root: Path) -> str | None:
    """Digest of what the current snapshot shows; None when there is none, or it cannot be told."""
    current = root / CURRENT
    manifest = root / "snapshots" / current.resolve().stem / MANIFEST
    return _stored(manifest).get("made_of") if current.exists() else None


def files_of(root: Path, snapshot: str) -> set[Path]:
    """Every file a snapshot shows and does not own; empty for one whose manifest is gone or spoilt."""
    stored = _stored(root / "snapshots" / snapshot / MANIFEST)
    return {
        Path(path)
        for group in ("tables", "observations")
        for own in stored.get(group, {}).values()
        for path in own
    }


def _stored(manifest: Path) -> dict[str, Any]:
    """A manifest; of one that is not there or is spoilt nothing, and the next night publishes anew."""
    try:
        return json.loads(manifest.read_text())
    except (FileNotFoundError, ValueError):
        return {}


class _File(NamedTuple):
    """File of a derived table and how many columns it has."""

    path: Path
    width: int


def _about(name: str, clock: Clock, *, is_synthetic: bool) -> pa.Table:
    people = "SYNTHETIC" if is_synthetic else "patients"
    row = {"snapshot": name, "made_utc": clock(), "people": people}
    return pa.Table.from_pylist([row], schema=SNAPSHOT)


def _new_name(snapshots: Path, clock: Clock) -> str:
    """Instant of the snapshot, later than that of every other: names sort as snapshots were made.

    A clock that was put back, or reads the same twice, is passed by a microsecond.
    """
    last = max((made_utc(path.name) or 0 for path in snapshots.glob("[!.]*")), default=0)
    return f"{from_utc(max(clock(), last + 1)):{_INSTANT}}Z"


def made_utc(name: str) -> int | None:
    """Instant in the name of a snapshot or of one of its files, staged ones too; None without one."""
    found = _NAME.search(name)
    return None if found is None else to_utc(datetime.strptime(found[1], _INSTANT).replace(tzinfo=UTC))


def _write_files(folder: Path, tables: Mapping[str, pa.Table], manifest: Mapping[str, object]) -> None:
    staged = folder.with_name(f".{folder.name}.tmp")
    staged.mkdir()
    with (staged / MANIFEST).open("w") as stream:
        json.dump(manifest, stream)
        stream.flush()
        os.fsync(stream.fileno())
    for name, rows in tables.items():
        with (staged / f"{name}.parquet").open("wb") as stream:
            pq.write_table(rows, stream, compression="zstd")
            stream.flush()
            os.fsync(stream.fileno())
    sync_folder(staged)
    staged.rename(folder)


def _write_catalog(
    path: Path,
    tables: Mapping[str, pa.Table],
    files: Mapping[str, Sequence[_File]],
    observations: Mapping[str, Sequence[Path]],
    enrolment: pa.Table | None,
) -> None:
    staged = path.with_name(f".{path.name}.tmp")
    with duckdb.connect(str(staged)) as con:
        con.execute("set TimeZone = 'UTC'")
        # hundreds of comments: each of its own would be synced by itself
        con.begin()
        for name, rows in tables.items():
            _add_table(con, name, rows)
        for name, own in files.items():
            _add_view(con, name, own)
        if enrolment is not None:
            _add_table(con, "enrolment", enrolment.cast(devices.tables.ENROLMENT))
        for kind, schema in devices.tables.TABLES.items():
            paths = [file.resolve() for file in observations.get(kind, ())]
            con.execute(warehouse.observation_view(con, kind, paths, has_enrolment=enrolment is not None))
            fields = [*devices.tables.ENROLMENT, *schema]
            grain = f"observations of the kind {kind}, each sample once"
            columns = {field.name: _comment(field) for field in fields}
            _comment_on(con, "view", f"observations_{kind}", grain, columns)
        schemas = [*(rows.schema for rows in tables.values()), *(TABLES[name] for name in files)]
        docs = {field.name: _comment(field) for schema in schemas for field in schema}
        for name, (statement, grain, own_docs) in VIEWS.items():
            # whose answers they are stands in the enrolment
            if {"patient_day", "night", "rhythm"} <= {*tables, *files} and (
                name != "pro_scores" or enrolment is not None
            ):
                if name == "pro_scores" and "t_score" in tables:
                    statement = f"{statement} union all ({t_score_statement()})"
                con.execute(f"create view {name} as {statement}")
                _comment_on(con, "view", name, grain, docs | own_docs)
        con.commit()
        con.execute("checkpoint")
    sync_folder(staged)
    staged.replace(path)


def _add_table(con: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    con.register("published_rows", rows)
    con.execute(f"create table {name} as select * from published_rows")
    con.unregister("published_rows")
    grain = (rows.schema.metadata or {}).get(b"doc", b"").decode()
    _comment_on(con, "table", name, grain, {field.name: _comment(field) for field in rows.schema})


def _add_view(con: duckdb.DuckDBPyConnection, name: str, files: Sequence[_File]) -> None:
    """View over the files of a derived table; what a file is too old to know is null."""
    schema = TABLES[name]
    groups: dict[int, list[str]] = {}
    for file in files:
        groups.setdefault(file.width, []).append(_quoted(str(file.path.resolve())))
    selects = [warehouse.typed_nothing(schema)]
    for width, paths in sorted(groups.items()):
        columns = ", ".join(
            field.name if number < width else f"null::{warehouse.sql_type(field.type)} as {field.name}"
            for number, field in enumerate(schema)
        )
        source = f"read_parquet([{', '.join(paths)}], hive_partitioning = false)"
        selects.append(f"select {columns} from {source}")
    con.execute(f"create view {name} as {' union all '.join(selects)}")
    grain = (schema.metadata or {}).get(b"doc", b"").decode()
    _comment_on(con, "view", name, grain, {field.name: _comment(field) for field in schema})


def _comment(field: pa.Field) -> str:
    """Meaning and unit of a column."""
    metadata = field.metadata or {}
    doc, unit = metadata.get(b"doc", b"").decode(), metadata.get(b"unit", b"").decode()
    return f"{doc} [{unit}]" if unit else doc


def _comment_on(
    con: duckdb.DuckDBPyConnection, kind: str, name: str, grain: str, columns: Mapping[str, str]
) -> None:
    if grain:
        con.execute(f"comment on {kind} {name} is {_quoted(grain)}")
    for column in con.sql(f"select * from {name} limit 0").columns:
        con.execute(f"comment on column {name}.{column} is {_quoted(columns[column])}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
