"""What patients said per local date: pain, mood, flares, practice."""

from dataclasses import dataclass
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analytics.features.calendar import Calendar
from analytics.features.statements import select

#: Asked after a flare was reported: harder to tolerate than usual? stopped you doing things?
FLARE_ITEMS: Final = ("is_harder_to_tolerate", "has_stopped_activities")


@dataclass(frozen=True)
class Answers:
    """Answers per patient-day of a calendar; NaN where nothing was said."""

    nrs: NDArray[np.float64]
    mood: NDArray[np.float64]
    is_flare_reported: NDArray[np.bool_]
    practice_min: NDArray[np.float64]
    #: Columns is_harder_to_tolerate and has_stopped_activities; null where nobody answered.
    flare_items: dict[str, pa.ChunkedArray]


def daily_answers(con: duckdb.DuckDBPyConnection, calendar: Calendar) -> Answers:
    """Answers of every date of the calendar (table `local_day` of the connection)."""
    rows = select(con, "select_answers", calendar.day_arguments())
    nrs, mood, count, practice = (
        rows[name].combine_chunks().to_numpy(zero_copy_only=False)
        for name in ("nrs", "mood", "flare_count", "practice_min")
    )
    return Answers(
        nrs=nrs.astype(np.float64),
        mood=mood.astype(np.float64),
        is_flare_reported=count > 0,
        practice_min=practice.astype(np.float64),
        flare_items={name: rows[name] for name in FLARE_ITEMS},
    )
