"""HRV: one night against NeuroKit2, and the time domain against DuckDB's bare scan."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analytics.features import hrv
from bench.apart import apart
from bench.harness import Bench, CannotMeasure, Result, case

NIGHT_BEATS = 30_000
PEER = "neurokit2==0.2.13"
PEER_HOME = Path(__file__).parents[2] / ".cache" / "bench-neurokit2"

#: What an analyst writes with NeuroKit2: beats corrected, five-minute windows, both domains.
_PEER_PROGRAM = """
import json, sys, time, warnings
import numpy as np, pyarrow.parquet as pq
warnings.simplefilter("ignore")
import neurokit2 as nk
def night(path):
    rr = pq.read_table(path)["rr_ms"].to_numpy().astype(float)
    peaks = np.concatenate([[0], np.cumsum(rr)]).astype(int)
    _, peaks = nk.signal_fixpeaks(peaks, sampling_rate=1000, method="Kubios", iterative=False)
    found = []
    for start in range(0, int(peaks[-1]) - 300_000, 300_000):
        own = peaks[(peaks > start) & (peaks <= start + 300_000)]
        time_domain = nk.hrv_time(own, sampling_rate=1000)
        nk.hrv_frequency(own, sampling_rate=1000)
        found.append(float(time_domain["HRV_RMSSD"].iloc[0]))
    return found
began = time.process_time()
found = night(sys.argv[1])
print(json.dumps({"seconds": time.process_time() - began, "rmssd": float(np.median(found))}))
"""


def _night(path: Path) -> hrv.Windows:
    # one core, as the peer's program has it
    rr = pq.ParquetFile(path).read(use_threads=False)["rr_ms"].to_numpy()
    ends = np.cumsum(rr.astype(np.int64)) * 1000
    return hrv.windows(rr, ends, np.arange(len(rr)) == 0, start_us=0)


def _cpu_s(function: Callable[[], object], repeats: int) -> float:
    seconds: list[float] = []
    for _ in range(repeats):
        began = time.process_time()
        function()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)


def _peer() -> Path:
    """Interpreter of the peer's own environment, made at the first use."""
    python = PEER_HOME / "bin" / "python"
    if not (PEER_HOME / "ready").exists():
        steps = ([sys.executable, "-m", "venv", "--clear", str(PEER_HOME)],)
        steps += ([str(python), "-m", "pip", "install", "--quiet", PEER, "pyarrow"],)
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                raise CannotMeasure(f"{PEER} cannot be installed: {done.stderr.strip()[-200:]}")
        (PEER_HOME / "ready").touch()
    return python


def _write(path: Path, beats: int, seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    breath = 25 * np.sin(np.arange(beats) * 2 * np.pi / 4)
    rr = np.rint(950 + breath + rng.normal(0, 20, beats)).astype(np.uint16)
    pq.write_table(pa.table({"rr_ms": rr}), path, compression="zstd")


@case
def hrv_night(bench: Bench) -> list[Result]:
    """Read, artifacts, windows, both domains: CPU time of one night, NeuroKit2 doing the same."""
    python = _peer()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "night.parquet"
        _write(path, NIGHT_BEATS)
        found = _night(path)
        ours_s = _cpu_s(lambda: _night(path), 21)
        theirs: list[dict[str, float]] = []
        for _ in range(3):
            command = [str(python), "-c", _PEER_PROGRAM, str(path)]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            theirs.append(json.loads(done.stdout))
    rmssd = float(np.median(found.rmssd_ms[found.is_kept]))
    if abs(rmssd / theirs[0]["rmssd"] - 1) > 0.01:
        raise AssertionError(f"median RMSSD {rmssd} here, {theirs[0]['rmssd']} there")
    theirs_s = statistics.median(run["seconds"] for run in theirs)
    return [
        Result("hrv_night.cpu", ours_s, "s", ours_s / theirs_s, PEER, 21),
        Result("hrv_night.rmssd", rmssd, "ms", rmssd / theirs[0]["rmssd"], PEER, 1),
    ]


@case
def hrv_start(bench: Bench) -> list[Result]:
    """First HRV of a process: compiled anew, and from numba's cache on disk."""
    with TemporaryDirectory() as folder:
        anew, cached, again = (
            apart(_first_window, settings={"NUMBA_CACHE_DIR": folder}).cpu_s for _ in range(3)
        )
    cached = min(cached, again)
    return [
        Result("hrv_start.compiled", anew, "s", None, None, 1),
        Result("hrv_start.cached", cached, "s", cached / anew, "compiled anew", 2),
    ]


def _first_window() -> int:
    rr = (900 + np.arange(400) % 7).astype(np.uint16)
    ends = np.cumsum(rr.astype(np.int64)) * 1000
    return int(hrv.windows(rr, ends, np.arange(len(rr)) == 0, start_us=0).is_kept.sum())


#: Intervals of one recording in the scan: what an analyst asks the time domain of.
_SCANNED: Final = 1_000_000


@case
def hrv_scan(bench: Bench) -> list[Result]:
    """Time domain of 1e8 intervals from Parquet against DuckDB's sum of the same column, one thread each."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rr.parquet"
        _write(path, 100_000_000)
        _time_domains(path)
        pairs = [(_cpu_s(lambda: _time_domains(path), 1), _cpu_s(lambda: _scan(path), 1)) for _ in range(5)]
        ours, theirs = _time_domains(path)[0], _sql(path, _SCANNED)
        memory = apart(_count_domains, path).peak_mib
    values = (ours.mean_nn_ms, ours.sdnn_ms, ours.rmssd_ms, ours.pnn50_pct, ours.sd1_ms, ours.sd2_ms)
    if not np.allclose(values, theirs, rtol=1e-9):
        raise CannotMeasure(f"time domain {values} here, {theirs} of the same intervals in SQL")
    ours_s, theirs_s = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(theirs / ours for ours, theirs in pairs)
    against = "DuckDB's bare scan (CPU)"
    return [
        Result("hrv_scan.speed", 100 / ours_s, "million RR/s", ratio, against, len(pairs)),
        Result("hrv_scan.floor", 100 / theirs_s, "million RR/s", None, None, len(pairs)),
        Result("hrv_scan.memory", memory, "MiB", None, None, 1),
    ]


def _time_domains(path: Path) -> list[hrv.TimeDomain]:
    batches = pq.ParquetFile(path).iter_batches(_SCANNED, use_threads=False)
    return [hrv.time_domain(batch.column(0).to_numpy()) for batch in batches]


def _count_domains(path: str) -> int:
    return len(_time_domains(Path(path)))


def _scan(path: Path) -> None:
    with duckdb.connect() as con:
        con.execute("set threads = 1")
        con.execute("select sum(rr_ms) from read_parquet(?)", [str(path)]).fetchall()


def _sql(path: Path, count: int) -> tuple[float, ...]:
    """Time domain of the first intervals as SQL says it."""
    with duckdb.connect() as con:
        con.execute("set threads = 1")
        found = con.execute(
            """
            with beat as (
                select file_row_number as place, rr_ms::double as rr
                from read_parquet(?, file_row_number = true)
                where file_row_number < ?
            ),
            step as (select rr, rr - lag(rr) over (order by place) as d from beat)
            select avg(rr), stddev_samp(rr), sqrt(avg(d * d)), 100 * avg((abs(d) > 50)::int),
                sqrt(var_samp(d) / 2), sqrt(2 * var_samp(rr) - var_samp(d) / 2)
            from step
            """,
            [str(path), count],
        ).fetchone()
    return found or ()
