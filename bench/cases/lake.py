"""Compaction: landing files of a night into one sorted file, against pyarrow's bare write of the rows."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.harness import Bench, Result, case
from devices.blobs import pack_u16
from devices.clock import DAY, MINUTE, SECOND
from devices.observations import RrInterval
from ingest.lake.columns import Arrived, to_table
from ingest.lake.compaction import compact
from ingest.lake.enrolment import Enrolment, EnrolmentRow
from ingest.lake.files import WRITER_OPTIONS, Lake

#: Straps, five-minute runs of each, and files they landed in.
STRAPS, RUNS, FILES, RUN_BEATS = 300, 96, 48, 300
START = 1_705_276_800 * SECOND
RR = STRAPS * RUNS * RUN_BEATS


def _land(lake: Lake) -> None:
    """A night of all straps, every file with a slice of it, as collectors leave them."""
    random = np.random.default_rng(1)
    sent: list[Arrived] = []
    for run in range(RUNS):
        for strap in range(STRAPS):
            beats = 1000 + np.cumsum(random.normal(0, 6, RUN_BEATS))
            one = RrInterval(
                device=f"strap-{strap}",
                start_utc=START + run * 5 * MINUTE,
                source="sig-heart-rate/1",
                connection="c1",
                first_beat=run * RUN_BEATS,
                rr_ms=pack_u16(beats.astype(int).tolist()),
            )
            sent.append(Arrived(one, f"gw-{strap}", run + 1))
    size = len(sent) // FILES
    for number in range(FILES):
        rows = sent[number * size : (number + 1) * size]
        now = START + number * MINUTE
        lake.commit({"rr_interval": to_table("rr_interval", rows, now)}, writer="bench", now=now)


def _enrolment() -> Enrolment:
    return Enrolment(
        EnrolmentRow(f"p-{n}", "north", "UTC", f"gw-{n}", f"strap-{n}", 0, None)  # pyright: ignore
        for n in range(STRAPS)
    )


@case
def lake(bench: Bench) -> list[Result]:
    """Read, join, deduplicate, sort, write and enter in the manifest."""
    enrolment = _enrolment()
    with TemporaryDirectory() as folder:
        landed = Lake(Path(folder) / "lake")
        _land(landed)
        tables = [pq.ParquetFile(path).read() for path in landed.files("rr_interval")]
        rows = pa.concat_tables(tables).combine_chunks()
        bare = Path(folder) / "bare.parquet"

        def ours() -> None:
            shutil.rmtree(landed.root / "data", ignore_errors=True)
            compact(landed, enrolment, clock=lambda: START + DAY, kinds=["rr_interval"])

        timing = bench.paired(
            ours, lambda: pq.write_table(rows, bare, row_group_size=8192, **WRITER_OPTIONS["rr_interval"])
        )
        ours()
        size = sum(path.stat().st_size for path in landed.files("rr_interval"))
        other_size = bare.stat().st_size
    against = "bare pyarrow write of the same table"
    return [
        timing.throughput("lake.compaction", RR / 1e6, "million RR/s", against),
        Result("lake.size", size / RR, "bytes/RR", size / other_size, against, 1),
    ]
