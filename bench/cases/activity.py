"""Rest-activity rhythm of a cohort: from the days kept in Parquet to IS, IV, RA and SRI."""

from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analytics.features import day_clock, four_weeks
from analytics.features.rhythm import clock_minutes, hourly
from analytics.tables import DAY_CLOCK, NIGHT
from bench.apart import apart
from bench.harness import Bench, CannotMeasure, Result, case

PATIENTS: Final = 10_000
DAYS: Final = four_weeks.DAYS
DAY_MIN: Final = day_clock.DAY_MIN
LAST: Final = date(2026, 5, 28)
#: Different people; everybody else's days are one of theirs.
PEOPLE: Final = 500
#: Ours against a plain reading of a few patients.
CHECKED: Final = 3
REPEATS: Final = 3


def _minutes() -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Steps and sleep minute by minute (people, days, 1440); worn all the time."""
    random = np.random.default_rng(0)
    minute = np.arange(DAY_MIN)
    asleep = (minute + random.integers(0, 120, (PEOPLE, DAYS, 1))) % DAY_MIN < 480
    steps = random.poisson(7, (PEOPLE, DAYS, DAY_MIN)).astype(np.uint16) * ~asleep
    return steps, asleep


def _make(folder: str) -> None:
    """Rows of the table day_clock, a file per date as the night writes them."""
    steps, asleep = _minutes()
    at = clock_minutes(DAY_MIN, 0, 0)
    whose = pa.array(np.arange(PATIENTS) % PEOPLE)
    for day in range(DAYS):
        hours = hourly(steps[:, day].astype(np.float64), at)
        offsets = pa.array(np.arange(PEOPLE + 1, dtype=np.int32) * 24)
        columns = [
            pa.ListArray.from_arrays(offsets, pa.array(hours.reshape(-1))),
            day_clock.turns(asleep[:, day]),
            day_clock.turns(~asleep[:, day]),
        ]
        names = pa.array([f"p-{number:05}" for number in range(PATIENTS)])
        dates = pa.array([LAST - timedelta(days=DAYS - 1 - day)] * PATIENTS, pa.date32())
        rows = pa.table([names, dates, *(column.take(whose) for column in columns)], schema=DAY_CLOCK)
        pq.write_table(rows, Path(folder) / f"{day:02}.parquet", compression="zstd")


def _files(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("*.parquet"))


def _compute(folder: str) -> dict[str, Any]:
    """Rhythms of everybody on the last date; those of a few patients, for comparison."""
    days = pa.concat_tables([pq.ParquetFile(path).read() for path in _files(folder)])
    rows = four_weeks.compute(days, NIGHT.empty_table(), {}, LAST, LAST)
    names = ("interdaily_stability", "intradaily_variability", "relative_amplitude", "sleep_regularity")
    few = {name: rows[name].to_pylist()[:CHECKED] for name in names}
    return few | {"counts": [len(rows[name].drop_null()) for name in names]}


def _scan(folder: str) -> float:
    """DuckDB's sum of the same columns on one thread: what has to be read in any case."""
    names = ", ".join(f"'{path}'" for path in _files(folder))
    sums = ", ".join(f"sum(list_sum({name}))" for name in ("hourly_steps", "asleep_min", "awake_min"))
    with duckdb.connect() as con:
        con.execute("set threads = 1")
        found = con.execute(f"select {sums} from read_parquet([{names}])").fetchone()
    return float(found[0]) if found else 0.0


def _check(found: dict[str, Any]) -> None:
    """Raise when the values are not those of a plain reading of the minutes."""
    steps, asleep = _minutes()
    if found["counts"] != [PATIENTS] * 4:
        raise CannotMeasure(f"{found['counts']} values stand, not {PATIENTS} of each")
    for patient in range(CHECKED):
        x = steps[patient].astype(np.float64).reshape(DAYS, 24, 60).sum(axis=2)
        flat, total, mean = x.reshape(-1), ((x - x.mean()) ** 2).sum(), x.mean(axis=0)
        least, most = (np.array([np.roll(mean, -k)[:hours].mean() for k in range(24)]) for hours in (5, 10))
        wanted = {
            "interdaily_stability": DAYS * ((mean - x.mean()) ** 2).sum() / total,
            "intradaily_variability": len(flat) * (np.diff(flat) ** 2).sum() / ((len(flat) - 1) * total),
            "relative_amplitude": (most.max() - least.min()) / (most.max() + least.min()),
            "sleep_regularity": 200 * (asleep[patient, 1:] == asleep[patient, :-1]).mean() - 100,
        }
        for name, value in wanted.items():
            if not np.isclose(found[name][patient], value, rtol=1e-9):
                raise CannotMeasure(
                    f"{name} of patient {patient}: {found[name][patient]}, read plainly {value}"
                )


@case
def activity_rhythm(bench: Bench) -> list[Result]:
    """IS, IV, RA and SRI of 10,000 patients over 28 days, against reading the same columns only."""
    with TemporaryDirectory() as folder:
        apart(_make, folder)
        runs = sorted((apart(_compute, folder) for _ in range(REPEATS)), key=lambda run: run.cpu_s)
        floors = sorted((apart(_scan, folder) for _ in range(REPEATS)), key=lambda run: run.cpu_s)
    ours, floor = runs[REPEATS // 2], floors[REPEATS // 2]
    _check(ours.answer)
    against = "DuckDB, sum of the same columns (CPU)"
    days = PATIENTS * DAYS / 1e6
    return [
        Result("activity_rhythm.cpu", ours.cpu_s, "s", ours.cpu_s / floor.cpu_s, against, REPEATS),
        Result("activity_rhythm.speed", days / ours.cpu_s, "million days/s", None, None, REPEATS),
        Result("activity_rhythm.memory", ours.peak_mib, "MiB", None, None, REPEATS),
    ]
