"""What patients said per local date: pain, mood, flares."""

from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from analytics.features.calendar import Calendar
from analytics.features.statements import select


@dataclass(frozen=True)
class Answers:
    """Answers per patient-day of a calendar; NaN where nothing was said."""

    nrs: NDArray[np.float64]
    mood: NDArray[np.float64]
    is_flare_reported: NDArray[np.bool_]


def daily_answers(con: duckdb.DuckDBPyConnection, calendar: Calendar) -> Answers:
    """Answers of every date of the calendar (table `local_day` of the connection)."""
    rows = select(con, "select_answers", calendar.day_arguments())
    nrs, mood, count = (
        rows[name].combine_chunks().to_numpy(zero_copy_only=False) for name in ("nrs", "mood", "flare_count")
    )
    return Answers(nrs.astype(np.float64), mood.astype(np.float64), count > 0)
