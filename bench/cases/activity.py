"""Rest-activity rhythm of a cohort: from minutes in Parquet to IS, IV, RA and SRI."""

import resource
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analytics.features.rhythm import clock_minutes, hourly, rhythms, sleep_regularity
from bench.harness import Bench, CannotMeasure, Result, case

PATIENTS = 10_000
DAYS = 28
DAY_MIN = 1440
#: Patients of one file and of one step of the work; 40 million minutes are about 400 MB.
SHARE = 1000
#: Ours against a plain reading of a few patients.
CHECKED = 3


def _share(seed: int) -> tuple[NDArray[np.uint16], NDArray[np.int8]]:
    """Steps and sleep states of a share of the cohort, minute by minute; every share is the same people."""
    random = np.random.default_rng(seed)
    minute = np.arange(DAY_MIN)
    asleep = ((minute + random.integers(0, 120, (SHARE, DAYS, 1))) % DAY_MIN < 480).astype(np.int8)
    steps = random.poisson(7, (SHARE, DAYS, DAY_MIN)).astype(np.uint16) * (1 - asleep).astype(np.uint16)
    return steps, asleep


def _write(folder: Path) -> list[Path]:
    paths: list[Path] = []
    steps, asleep = _share(0)
    for number in range(PATIENTS // SHARE):
        path = folder / f"{number}.parquet"
        pq.write_table(
            pa.table({"steps": steps.reshape(-1), "is_asleep": asleep.reshape(-1)}), path, compression="zstd"
        )
        paths.append(path)
    return paths


def _compute(paths: list[Path]) -> dict[str, NDArray[Any]]:
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("is", "iv", "ra", "sri")}
    at = clock_minutes(DAY_MIN, 0, 0)
    for path in paths:
        rows = pq.read_table(path)
        steps = rows["steps"].combine_chunks().to_numpy().reshape(-1, DAY_MIN)
        values = hourly(steps.astype(np.float64), at).reshape(-1, DAYS, 24)
        found = rhythms(values)
        states = rows["is_asleep"].combine_chunks().to_numpy().reshape(-1, DAYS, DAY_MIN)
        parts["is"].append(found.interdaily_stability)
        parts["iv"].append(found.intradaily_variability)
        parts["ra"].append(found.relative_amplitude)
        parts["sri"].append(sleep_regularity(states)[0])
    return {name: np.concatenate(values) for name, values in parts.items()}


def _check(found: dict[str, NDArray[Any]]) -> None:
    """Raise when the values are not those of a plain reading."""
    steps, asleep = _share(0)
    for patient in range(CHECKED):
        x = steps[patient].astype(np.float64).reshape(DAYS, 24, 60).sum(axis=2)
        flat, total = x.reshape(-1), ((x - x.mean()) ** 2).sum()
        stability = DAYS * ((x.mean(axis=0) - x.mean()) ** 2).sum() / total
        variability = len(flat) * (np.diff(flat) ** 2).sum() / ((len(flat) - 1) * total)
        regularity = 200 * (asleep[patient, 1:] == asleep[patient, :-1]).mean() - 100
        ours = [found[name][patient] for name in ("is", "iv", "sri")]
        if not np.allclose(ours, [stability, variability, regularity], rtol=1e-9):
            raise CannotMeasure(f"values of patient {patient} differ: {ours}")


@case
def activity_rhythm(bench: Bench) -> list[Result]:
    """IS, IV, RA and SRI of 10,000 patients over 28 days, against reading the same columns only."""
    with TemporaryDirectory() as folder:
        paths = _write(Path(folder))
        names = ", ".join(f"'{path}'" for path in paths)
        _check(_compute(paths[:1]))

        def scan() -> object:
            with duckdb.connect() as con:
                con.execute("set threads = 1")
                con.execute("set enable_progress_bar = false")
                return con.execute(
                    f"select sum(steps), sum(is_asleep) from read_parquet([{names}])"
                ).fetchall()

        timing = bench.paired(lambda: _compute(paths), scan, repeats=3)
    against = "DuckDB, sum of the same columns, one thread"
    minutes = PATIENTS * DAYS * DAY_MIN / 1e6
    return [
        timing.duration("activity_rhythm.cohort", against),
        timing.throughput("activity_rhythm.speed", minutes, "million minutes/s", against),
        Result("activity_rhythm.memory", _peak_mib(), "MiB", None, None, 1),
    ]


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
