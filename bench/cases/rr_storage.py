"""RR intervals on the wire and on disk: one blob per run against one item per beat."""

import json
import os
from array import array
from itertools import accumulate
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from bench.cases.path import REAL_DATA
from bench.harness import Bench, CannotMeasure, Result, Timing, case
from devices.blobs import pack_u16, unpack_u16
from devices.clock import SECOND
from devices.observations import RrInterval
from devices.tables import TABLES, UTC
from devices.units import RR_MAX_MS
from ingest.lake.files import Lake
from ingest.wire.messages import decode_batch, encode_batch, encode_observation

#: A night of eight hours at 60 beats per minute.
NIGHT_BEATS = 28_800
#: What a strap sends between two gaps, about five minutes.
RUN_BEATS = 300
START = 1_705_320_000 * SECOND


def _night(seed: int = 1) -> list[int]:
    """RR intervals that wander as sleeping hearts do; independent numbers would compress otherwise."""
    random = Random(seed)
    level, beats = 1000.0, []
    for _ in range(NIGHT_BEATS):
        level += random.gauss(0, 12) + (1000 - level) * 0.02
        beats.append(round(level + random.gauss(0, 25)))
    return beats


def _runs(beats: list[int]) -> list[RrInterval]:
    starts = list(accumulate(beats, initial=0))
    return [
        RrInterval(
            device="strap-1",
            start_utc=START + 1000 * starts[first],
            source="sig-heart-rate/1",
            connection="c1",
            first_beat=first,
            rr_ms=pack_u16(beats[first : first + RUN_BEATS]),
        )
        for first in range(0, len(beats), RUN_BEATS)
    ]


@case
def rr_wire(bench: Bench) -> list[Result]:
    """A night as messages of five minutes, all checks included, against JSON with a number per beat."""
    runs = _runs(_night())
    messages = [
        encode_batch(number, START, run.kind, [encode_observation(run)]) for number, run in enumerate(runs, 1)
    ]
    texts = [_as_json(run) for run in runs]

    def encode() -> None:
        for number, run in enumerate(runs, 1):
            encode_batch(number, START, run.kind, [encode_observation(run)])

    def decode() -> None:
        for message in messages:
            for run in decode_batch(message, RrInterval.kind).batch.observations:
                assert isinstance(run, RrInterval)
                unpack_u16(run.rr_ms)

    def decode_json() -> None:
        for text in texts:
            array("H", json.loads(text)["rr_ms"])

    against = "JSON, a number per beat (standard library)"
    encoding = bench.paired(encode, lambda: [_as_json(run) for run in runs])
    decoding = bench.paired(decode, decode_json)
    size, other_size = sum(map(len, messages)), sum(map(len, texts))
    return [
        _per_rr("rr_wire.encode", encoding, against),
        _per_rr("rr_wire.decode", decoding, against),
        Result("rr_wire.size", size / NIGHT_BEATS, "bytes/RR", size / other_size, against, 1),
    ]


def _per_rr(name: str, timing: Timing, against: str) -> Result:
    return Result(name, 1e9 * timing.ours_s / NIGHT_BEATS, "ns/RR", timing.ratio, against, timing.repeats)


def _as_json(run: RrInterval) -> bytes:
    return json.dumps({**msgspec.structs.asdict(run), "rr_ms": unpack_u16(run.rr_ms).tolist()}).encode()


def _block_table(runs: list[RrInterval]) -> pa.Table:
    rows = [
        {
            "device": run.device,
            "start_utc": run.start_utc,
            "gateway": "gateway-1",
            "sequence": number,
            "received_utc": run.end_utc,
            "source": run.source,
            "end_utc": run.end_utc,
            "connection": run.connection,
            "first_beat": run.first_beat,
            "rr_ms": unpack_u16(run.rr_ms).tolist(),
            "gap_before_ms": run.gap_before_ms,
            "sensor": run.sensor,
        }
        for number, run in enumerate(runs)
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["rr_interval"])


def _beat_table(beats: list[int]) -> pa.Table:
    ends = [START + 1000 * end for end in accumulate(beats)]
    return pa.table({"end_utc": pa.array(ends, UTC), "rr_ms": pa.array(beats, pa.uint16())})


def _write_synced(table: pa.Table, path: Path) -> None:
    with path.open("wb") as stream:
        pq.write_table(table, stream, compression="zstd")
        stream.flush()
        os.fsync(stream.fileno())


@case
def rr_recorded(bench: Bench) -> list[Result]:
    """What sixteen recorded days of hearts take on the disk, in runs of five minutes as a strap's."""
    source = REAL_DATA / "rr" / "nsr2db_16.parquet"
    if not source.is_file():
        raise CannotMeasure("the real recordings are not here (../shared/data)")
    table = pl.read_parquet(source).sort("rec", "beat").filter(pl.col("rr_ms") <= RR_MAX_MS)
    days = [rows["rr_ms"].to_list() for rows in table.partition_by("rec")]
    blocks = pa.concat_tables(_block_table(_runs(day)) for day in days)
    with TemporaryDirectory() as folder:
        lake = Lake(Path(folder) / "lake")
        _, _ = bench.timed(lambda: lake.commit({"rr_interval": blocks}, writer="bench", now=START))
        size = lake.files("rr_interval")[0].stat().st_size / table.height
    return [Result("rr_recorded.size", size, "bytes/RR", size / 2, "two bytes, what a u16 takes", 1)]


@case
def rr_parquet(bench: Bench) -> list[Result]:
    """Commit a night to the lake, in runs, against bare pyarrow with a row per beat."""
    beats = _night()
    blocks, rows = _block_table(_runs(beats)), _beat_table(beats)
    with TemporaryDirectory() as folder:
        lake, row_file = Lake(Path(folder) / "lake"), Path(folder) / "rows.parquet"
        timing = bench.paired(
            lambda: lake.commit({"rr_interval": blocks}, writer="bench", now=START),
            lambda: _write_synced(rows, row_file),
        )
        size, other_size = lake.files("rr_interval")[0].stat().st_size, row_file.stat().st_size
    against = "bare pyarrow, a row (end, RR) per beat, zstd"
    return [
        timing.throughput("rr_parquet.speed", NIGHT_BEATS / 1e6, "million RR/s", f"{against}, synced"),
        Result("rr_parquet.size", size / NIGHT_BEATS, "bytes/RR", size / other_size, against, 1),
    ]
