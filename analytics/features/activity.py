"""Steps and wear per local date; ``sql/select_activity.sql`` documents what counts as worn."""

from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from analytics.features.calendar import Calendar
from analytics.features.statements import select

#: Fewer worn minutes say little about a day (common actigraphy practice).
VALID_DAY_MIN: Final = 600

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]


@dataclass(frozen=True)
class Activity:
    """Steps and wear per patient-day of a calendar.

    `steps` is NaN on days that are not valid, with the reason in `quality`;
    `device` names the devices that counted them.
    """

    steps: Floats
    wear_min: Floats
    is_valid_day: NDArray[np.bool_]
    device: Texts
    quality: Texts


def daily_activity(con: duckdb.DuckDBPyConnection, calendar: Calendar) -> Activity:
    """Activity of every date of the calendar (table `local_day` of the connection)."""
    rows = select(con, "select_activity", calendar.day_arguments())
    columns: dict[str, Any] = {
        name: rows[name].combine_chunks().to_numpy(zero_copy_only=False) for name in rows.column_names
    }
    counted, worn = columns["steps"].astype(np.float64), columns["worn_min"]
    is_valid = worn >= VALID_DAY_MIN
    quality = np.array(
        [
            _reason(has_steps, minutes, denied)
            for has_steps, minutes, denied in zip(
                ~np.isnan(counted), worn, columns["not_worn_min"], strict=True
            )
        ],
        np.object_,
    )
    stands = np.array([reason is None for reason in quality], np.bool_)
    return Activity(
        steps=np.where(stands, counted, np.nan),
        wear_min=worn,
        is_valid_day=is_valid,
        device=columns["step_devices"],
        quality=quality,
    )


def _reason(has_steps: bool, worn_min: float, not_worn_min: float) -> str | None:
    if worn_min == 0:
        return "not worn" if not_worn_min else "nothing received"
    if not has_steps:
        return "no step counts"
    if worn_min < VALID_DAY_MIN:
        return f"worn {worn_min:.0f} min, at least {VALID_DAY_MIN} needed"
    return None
