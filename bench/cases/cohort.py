"""A night of 10,000 patients with raw RR: from the lake's files to the derived tables."""

from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analytics.features import hrv
from analytics.store.partitions import count_for, partitions
from analytics.store.parts import PartFiles
from bench.apart import apart
from bench.harness import Bench, CannotMeasure, Result, case
from devices.tables import ENROLMENT, TABLES
from flows.night.jobs import FeatureJob, Finished, compute_features
from flows.night.runner import Threads

PATIENTS: Final = 10_000
#: Beats of a night, in blocks as gateways send them.
BEATS: Final = 30_000
BLOCK: Final = 300
#: Different hearts; everybody else's beats are one of theirs.
HEARTS: Final = 40
#: Patients of one file, as after compaction.
SHARE: Final = 500
NIGHT: Final = date(2026, 5, 20)
_START: Final = datetime(2026, 5, 19, 21, 30, tzinfo=UTC)  # half past eleven in Berlin
_LIMIT_S: Final = 300.0
_LIMIT_MIB: Final = 2048.0


def _hearts() -> list[np.ndarray[Any, Any]]:
    found: list[np.ndarray[Any, Any]] = []
    for seed in range(HEARTS):
        rng = np.random.default_rng(seed)
        breath = 25 * np.sin(np.arange(BEATS) * 2 * np.pi / 4)
        rr = np.rint(rng.uniform(850, 1000) + breath + rng.normal(0, 20, BEATS))
        # one beat in two hundred is none
        rr[rng.integers(0, BEATS, BEATS // 200)] *= rng.choice([0.6, 1.8])
        found.append(rr.astype(np.uint16))
    return found


def _usual(schema: pa.Schema, rows: int, device: pa.Array, start_us: np.ndarray[Any, Any]) -> dict[str, Any]:
    received = pa.scalar(datetime(2026, 5, 20, 8, tzinfo=UTC), schema.field("received_utc").type)
    return {
        "start_utc": pa.array(start_us, pa.int64()).cast(schema.field("start_utc").type),
        "device": device,
        "gateway": device,
        "sequence": pa.array(np.arange(rows), schema.field("sequence").type),
        "source": pa.repeat("bench/1", rows),
        "received_utc": pa.repeat(received, rows),
    }


def _write_file(path: Path, kind: str, rows: int, columns: dict[str, Any]) -> None:
    schema = TABLES[kind]
    for name in set(schema.names) - set(columns):
        if not schema.field(name).nullable:
            raise CannotMeasure(f"{kind} has a column {name} that this case does not know")
        columns[name] = pa.nulls(rows, schema.field(name).type)
    table = pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)
    pq.write_table(table, path, compression="zstd")


def _beats(path: Path, first: int, hearts: list[np.ndarray[Any, Any]]) -> None:
    blocks = BEATS // BLOCK
    rows = SHARE * blocks
    own = [hearts[(first + number) % HEARTS] for number in range(SHARE)]
    rr = np.concatenate(own)
    length = rr.astype(np.int64).reshape(rows, BLOCK).sum(axis=1) * 1000
    ends = int(_START.timestamp()) * 1_000_000 + length.reshape(SHARE, blocks).cumsum(axis=1).reshape(-1)
    device = pa.array(np.repeat([f"strap-{first + number}" for number in range(SHARE)], blocks))
    schema = TABLES["rr_interval"]
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * BLOCK)
    columns = _usual(schema, rows, device, ends - length) | {
        "end_utc": pa.array(ends, pa.int64()).cast(schema.field("end_utc").type),
        "connection": device,
        "first_beat": pa.array(np.tile(np.arange(blocks) * BLOCK, SHARE)),
        "gap_before_ms": pa.array(np.tile(np.arange(blocks) * 0, SHARE)),
        "sensor": pa.repeat("ecg", rows),
        "rr_ms": pa.ListArray.from_arrays(offsets, pa.array(rr)),
    }
    _write_file(path, "rr_interval", rows, columns)


def _spans(
    path: Path, kind: str, column: str, first: int, values: np.ndarray[Any, Any], minutes: int
) -> None:
    """The same consecutive spans of `minutes` for everybody of a share."""
    each = len(values)
    step = minutes * 60_000_000
    begin = int(_START.timestamp()) * 1_000_000 + np.tile(np.arange(each) * step, SHARE)
    device = pa.array(np.repeat([f"band-{first + number}" for number in range(SHARE)], each))
    schema = TABLES[kind]
    columns = _usual(schema, len(begin), device, begin) | {
        "end_utc": pa.array(begin + step, pa.int64()).cast(schema.field("end_utc").type),
        column: pa.array(np.tile(values, SHARE)),
    }
    _write_file(path, kind, len(begin), columns)


def _make(folder: str) -> None:
    """The lake of one night: beats, epochs of sleep and minutes of steps of everybody."""
    hearts = _hearts()
    stages = np.repeat([1, 2, 3, 4, 2], [10, 120, 90, 60, 200])
    steps = np.repeat([0, 20, 0, 90], [480, 300, 300, 240])
    for first in range(0, PATIENTS, SHARE):
        root = Path(folder)
        _beats(root / f"rr_interval-{first}.parquet", first, hearts)
        _spans(root / f"sleep_stage-{first}.parquet", "sleep_stage", "stage", first, stages, 1)
        _spans(root / f"step_count-{first}.parquet", "step_count", "steps", first, steps, 1)


def _files(folder: str) -> dict[str, list[Path]]:
    kinds = ("rr_interval", "sleep_stage", "step_count")
    return {kind: sorted(Path(folder).glob(f"{kind}-*.parquet")) for kind in kinds}


def _enrolment() -> pa.Table:
    always = datetime(2026, 1, 1, tzinfo=UTC)
    return pa.Table.from_pylist(
        [
            {
                "patient": f"p-{number:05}",
                "site": "site-1",
                "zone": "Europe/Berlin",
                "gateway": f"gw-{number}",
                "device": f"{what}-{number}",
                "valid_from_utc": always,
                "valid_to_utc": None,
            }
            for number in range(PATIENTS)
            for what in ("strap", "band")
        ],
        schema=ENROLMENT,
    )


def _jobs(folder: str) -> list[FeatureJob]:
    """The shares in which a night of that many patients is computed."""
    enrolment = _enrolment()
    files = {kind: tuple(paths) for kind, paths in _files(folder).items()}
    derived = Path(folder) / "derived"
    return [
        FeatureJob(derived, NIGHT, NIGHT, share, files, share.of(enrolment))
        for share in partitions(count_for(PATIENTS))
    ]


def _nightly(folder: str) -> dict[str, Any]:
    """The night's feature jobs as `flarecast nightly` runs them; some of the numbers, for comparison."""
    found: list[Finished] = []
    for _, done in Threads().each("features", compute_features, _jobs(folder)):
        if isinstance(done, Exception):
            raise done
        found.append(done)
    if any(done.aside for done in found):
        raise CannotMeasure(f"patients were set aside: {found[0].aside[:1]}")
    files = PartFiles(Path(folder) / "derived")
    parts = [part for done in found for part in done.parts]

    def read(table: str, column: str) -> pa.Table:
        return files.read(table, [part for part in parts if part.table == table], ["patient", column])

    night = read("night", "rmssd_ms").sort_by("patient")["rmssd_ms"]
    return {
        "nights": len(night.drop_null()),
        "rmssd_ms": night.to_pylist()[: HEARTS // 10],
        "steps": len(read("patient_day", "steps")["steps"].drop_null()),
    }


def _scan(folder: str) -> int:
    """DuckDB's sum of every interval: what has to be read and unfolded in any case."""
    names = ", ".join(f"'{path}'" for path in _files(folder)["rr_interval"])
    with duckdb.connect() as con:
        con.execute("set threads = 2")
        found = con.execute(f"select sum(list_sum(rr_ms)) from read_parquet([{names}])").fetchone()
    return int(found[0]) if found else 0


def _check(found: dict[str, Any]) -> None:
    """Raise when a night's RMSSD is not the one of its bare array."""
    hearts = _hearts()
    begin = int(_START.timestamp()) * 1_000_000
    asleep = begin + 600_000_000, begin + 480 * 60_000_000
    for number, value in enumerate(found["rmssd_ms"]):
        rr = hearts[number]
        ends = begin + np.cumsum(rr.astype(np.int64)) * 1000
        own = hrv.night(rr, ends, np.arange(BEATS) == 0, start_us=asleep[0], end_us=asleep[1])
        if abs(own.rmssd_ms - value) > 1e-9 * value:
            raise CannotMeasure(f"RMSSD of patient {number}: {value}, of the bare array {own.rmssd_ms}")
    if found["nights"] != PATIENTS or found["steps"] != PATIENTS:
        raise CannotMeasure(f"{found['nights']} nights and {found['steps']} days stand, not {PATIENTS}")


@case
def cohort_night(bench: Bench) -> list[Result]:
    """Features of a night of 10,000 patients (3e8 RR, sleep and steps), in the shares of the night."""
    with TemporaryDirectory() as folder:
        apart(_make, folder)
        ours = apart(_nightly, folder)
        floor = apart(_scan, folder)
    _check(ours.answer)
    beats = PATIENTS * BEATS / 1e6
    against = "DuckDB, sum of the intervals (CPU)"
    within = f"2 GiB; {count_for(PATIENTS)} shares, two at once"
    return [
        Result("cohort_night.wall", ours.wall_s, "s", ours.wall_s / _LIMIT_S, "5 minutes on 2 cores", 1),
        Result("cohort_night.cpu", ours.cpu_s, "s", ours.cpu_s / floor.cpu_s, against, 1),
        Result("cohort_night.speed", beats / ours.wall_s, "million RR/s", None, None, 1),
        Result("cohort_night.memory", ours.peak_mib, "MiB", ours.peak_mib / _LIMIT_MIB, within, 1),
    ]
