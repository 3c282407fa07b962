"""The whole path, as its commands: real recordings from strap to nightly numbers, and the demo's weeks."""

import json
import os
import shutil
import subprocess
import sys
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from bench.harness import Bench, CannotMeasure, Result, case
from devices.observations import KINDS
from devices.units import RR_MAX_MS

REAL_DATA = Path(
    os.environ.get("FLARECAST_REAL_DATA", Path(__file__).parents[3] / "shared" / "data")
).resolve()
#: The recordings begin at noon of the day before.
REPLAYED_NIGHT = date(2024, 1, 16)
PER_NOTIFICATION = 9
#: A night whose number rests on less than five hours of windows is not counted.
ENOUGH_WINDOWS, ENOUGH_RECORDINGS = 60, 12

PEOPLE, DAYS = 40, 60


def _flarecast(*arguments: str | Path) -> dict[str, Any]:
    """Run the command as a user would; its JSON object."""
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command[1:])} answered {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def _landed(home: Path, kind: str) -> list[str]:
    return [str(path) for path in sorted((home / "lake" / "landing" / kind).glob("*/*.parquet"))]


def _stored_rr(home: Path) -> dict[str, list[int]]:
    """Device -> its stored intervals in order, every run once."""
    with duckdb.connect() as con:
        rows = con.execute(
            "with runs as (select device, start_utc, rr_ms from read_parquet(?) "
            "qualify row_number() over (partition by device, start_utc order by received_utc desc) = 1) "
            "select device, flatten(list(rr_ms order by start_utc)) from runs group by device",
            [_landed(home, "rr_interval")],
        ).fetchall()
    return dict(rows)


def _recorded_rr(source: Path) -> dict[str, list[int]]:
    """Device -> the intervals of its recording that a frame can say, in order."""
    table = pl.read_parquet(source).sort("rec", "beat").filter(pl.col("rr_ms") <= RR_MAX_MS)
    return {
        f"strap-{name}": rows["rr_ms"].to_list()
        for (name,), rows in table.partition_by("rec", as_dict=True).items()
    }


def _recordings_with_a_night(snapshot: str) -> int:
    """Recordings whose assumed night has enough five-minute windows that stand."""
    with duckdb.connect(snapshot, read_only=True) as con:
        row = con.execute(
            "select count(*) from (select patient from hrv_window semi join night "
            "on night.patient = hrv_window.patient and night.local_date = hrv_window.local_date "
            "and night.sleep_source = 'assumed_night' "
            "where hrv_window.local_date = ? and rmssd_ms is not null group by patient having count(*) >= ?)",
            [REPLAYED_NIGHT, ENOUGH_WINDOWS],
        ).fetchone()
    assert row is not None
    return row[0]


@case
def path_replay(bench: Bench) -> list[Result]:
    """Sixteen recorded days over BLE, MQTT and Parquet to the nightly numbers; every interval compared."""
    source = REAL_DATA / "rr" / "nsr2db_16.parquet"
    if not source.is_file():
        raise CannotMeasure("the real recordings are not here (../shared/data)")
    recorded = _recorded_rr(source)
    with TemporaryDirectory() as folder:
        home = Path(folder) / "replay"
        replay = ("replay", source, "--per-notification", str(PER_NOTIFICATION), "--out", home)
        replayed, replay_s = bench.timed(partial(_flarecast, *replay))
        nightly, nightly_s = bench.timed(
            partial(_flarecast, "nightly", "--home", home, "--date", REPLAYED_NIGHT.isoformat())
        )
        if replayed["missing"] or _stored_rr(home) != recorded:
            raise AssertionError(f"{replayed['missing']} samples missing, or other intervals than recorded")
        with_a_night = _recordings_with_a_night(nightly["snapshot"])
    if with_a_night < ENOUGH_RECORDINGS:
        raise AssertionError(f"only {with_a_night} recordings have a night of {ENOUGH_WINDOWS} windows")
    beats = sum(map(len, recorded.values()))
    rate = beats / (replay_s + nightly_s)
    pace = beats / (sum(map(sum, recorded.values())) / 1000)
    return [
        Result("path_replay.speed", rate, "RR/s", rate / pace, "the hearts, one after another", 1),
        Result("path_replay.equal", beats, "RR", 1.0, "RR of the recordings, in order and value", 1),
        Result(
            "path_replay.nights",
            with_a_night,
            f"recordings with {ENOUGH_WINDOWS} windows",
            with_a_night / len(recorded),
            f"{len(recorded)} recordings",
            1,
        ),
    ]


def _write_bare(tables: dict[str, pa.Table], folder: Path) -> None:
    for kind, table in tables.items():
        pq.write_table(table, folder / f"{kind}.parquet", compression="zstd")


@case
def path_demo(bench: Bench) -> list[Result]:
    """The demo as `make demo` runs it, and its nights computed again from the same lake."""
    with TemporaryDirectory() as folder:
        home, fresh = Path(folder) / "demo", Path(folder) / "fresh"
        # the first run compiles and fills the file cache
        _flarecast("demo", "--people", "2", "--days", "2", "--out", home)
        made, demo_s = bench.timed(
            partial(_flarecast, "demo", "--people", str(PEOPLE), "--days", str(DAYS), "--out", home)
        )
        if made["missing"] or made["made"] != made["stored"]:
            raise AssertionError(f"the demo made {made['made']} samples and stored {made['stored']}")
        tables = {
            kind: pa.concat_tables(map(pq.read_table, files))
            for kind in KINDS
            if (files := _landed(home, kind))
        }
        _, bare_s = bench.timed(partial(_write_bare, tables, Path(folder)), repeats=5)
        fresh.mkdir()
        shutil.copy(home / "enrolment.csv", fresh)
        nights = _nights(made["snapshot"])
        again = partial(_flarecast, "nightly", "--home", fresh, "--lake", home / "lake", *nights)
        first, first_s = bench.timed(again)
        second, again_s = bench.timed(again, repeats=5)
    if second["written"] or first["nights"] != second["nights"]:
        raise AssertionError(f"the same command again wrote {second['written']} files")
    rate = made["made"] / demo_s
    bare = f"pyarrow writing the same {sum(t.num_rows for t in tables.values()):,} rows, made already"
    size = f"{PEOPLE} people x {DAYS} days"
    return [
        Result("path_demo.seconds", demo_s, "s", None, f"{size}, all six steps", 1),
        Result("path_demo.speed", rate, "samples/s", rate / (made["made"] / bare_s), bare, 1),
        Result(
            "path_demo.nightly", first["nights"] / first_s, "patient nights/s", None, f"{size}, first time", 1
        ),
        Result("path_demo.nightly_again", again_s, "s", again_s / first_s, "the first time", 5),
    ]


def _nights(snapshot: str) -> tuple[str, ...]:
    """Arguments for all nights of a snapshot."""
    with duckdb.connect(snapshot, read_only=True) as con:
        row = con.execute("select min(local_date), max(local_date) from patient_day").fetchone()
    assert row is not None
    return ("--from", str(row[0]), "--to", str(row[1]))
