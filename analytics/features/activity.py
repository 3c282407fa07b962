"""Steps, cadence, sedentary bouts and wear per local date, from minutes.

Dates are those of the zone the patient is enrolled in: a traveller's steps stay on
the dates of home until an enrolment row says otherwise. The date of a move has the
minutes from the old midnight to the new one, and the steps of all of them. A vendor's
daily total is never counted where the device tells minutes too; :func:`vendor_disagreement`
tells how far it is from them.
"""

from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analytics.features import day_clock
from analytics.features.calendar import Calendar
from analytics.features.day_clock import ClockDays, clock_days
from analytics.features.minutes import LONGEST_DAY_MIN, Minutes, chunks

#: Fewer worn minutes say little about a day (common actigraphy practice).
VALID_DAY_MIN: Final = 600
#: Lower ends of the cadence bands, steps per minute (Tudor-Locke 2011).
CADENCE_BANDS: Final = (0, 1, 20, 40, 60, 80, 100, 120)
BAND_NAMES: Final = tuple(
    f"cadence_{name}_min" for name in ("0", "1_19", "20_39", "40_59", "60_79", "80_99", "100_119", "120")
)
#: Cadence of at least moderate intensity in adults (Tudor-Locke 2018, CADENCE-Adults).
MVPA_SPM: Final = 100
#: Sitting in one go that is worth a count of its own (Diaz 2017).
LONG_BOUT_MIN: Final = 30
#: A vendor's total further from its minutes than this share of them is reported.
VENDOR_TOLERANCE: Final = 0.01

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]


@dataclass(frozen=True)
class Activity:
    """Steps and wear per patient-day of a calendar.

    `steps` are NaN on days that are not valid, with the reason in `quality`; `values`
    on these and where steps are not told minute by minute, with the reason in
    `cadence_quality`. `device` names the devices that counted them.
    """

    steps: Floats
    wear_min: Floats
    not_worn_min: Floats
    is_valid_day: NDArray[np.bool_]
    device: Texts
    quality: Texts
    cadence_quality: Texts
    values: dict[str, Floats]
    #: A vendor's daily total minus the sum of its minutes where they disagree, else NaN.
    vendor_difference: Floats
    #: The same minutes by the clock: rows of the table day_clock.
    by_clock: pa.Table


def daily_activity(con: duckdb.DuckDBPyConnection, calendar: Calendar) -> Activity:
    """Activity of every date of the calendar (table `local_day` of the connection)."""
    names = (*BAND_NAMES, "mvpa_min", "sedentary_min", "sedentary_bout_count", "sedentary_long_bout_count")
    totals = {
        name: np.full(calendar.count, np.nan)
        for name in ("counted", "steps", "worn", "not_worn", "told", *names)
    }
    sums = np.full((calendar.count, 2), np.nan)
    device = np.full(calendar.count, None, np.object_)
    by_clock: list[ClockDays] = []
    for low, high, minutes in chunks(con, calendar):
        by_clock.append(clock_days(calendar, low, minutes))
        for name, values in _totals(minutes).items():
            totals[name][low:high] = values
        device[low:high], sums[low:high] = minutes.devices, minutes.told
    worn, not_worn = totals["worn"], totals["not_worn"]
    quality = np.array(
        [
            _reason(*facts)
            for facts in zip(totals["counted"] > 0, worn.tolist(), not_worn.tolist(), strict=True)
        ],
        np.object_,
    )
    difference, is_reported = vendor_disagreement(*sums.T)
    stands = np.array([reason is None for reason in quality], np.bool_)
    is_told = stands & (totals["told"] >= VALID_DAY_MIN)
    return Activity(
        steps=np.where(stands, totals["steps"], np.nan),
        wear_min=worn,
        not_worn_min=not_worn,
        is_valid_day=worn >= VALID_DAY_MIN,
        device=device,
        quality=quality,
        cadence_quality=np.array(
            [
                None if told else reason or _coarse(minutes)
                for told, reason, minutes in zip(is_told, quality, totals["told"], strict=True)
            ],
            np.object_,
        ),
        values={name: np.where(is_told, totals[name], np.nan) for name in names},
        vendor_difference=np.where(is_reported, difference, np.nan),
        by_clock=day_clock.table(calendar, by_clock),
    )


def _totals(minutes: Minutes) -> dict[str, Floats]:
    known = minutes.is_fine & minutes.is_worn
    band = np.searchsorted(CADENCE_BANDS, minutes.steps, "right") - 1
    still = known & (minutes.steps == 0) & ~minutes.is_asleep
    total, count, long_count = sedentary_bouts(still)
    return {
        "counted": minutes.is_counted.sum(axis=1).astype(np.float64),
        # a slot that was spread over its minutes is whole again
        "steps": np.round(_sums(minutes.steps), 6),
        "worn": minutes.is_worn.sum(axis=1).astype(np.float64),
        "not_worn": minutes.is_not_worn.sum(axis=1).astype(np.float64),
        "told": known.sum(axis=1).astype(np.float64),
        **{name: (known & (band == i)).sum(axis=1) for i, name in enumerate(BAND_NAMES)},
        "mvpa_min": (known & (minutes.steps >= MVPA_SPM)).sum(axis=1),
        "sedentary_min": total,
        "sedentary_bout_count": count,
        "sedentary_long_bout_count": long_count,
    }


def _sums(minutes: Floats) -> Floats:
    """Sum of each row, the same bits in arrays of either width."""
    return minutes.reshape(len(minutes), -1, LONGEST_DAY_MIN).sum(axis=2).sum(axis=1)


def sedentary_bouts(still: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Minutes, bouts, and bouts of at least 30 minutes, per row of still minutes (rows, minutes)."""
    edges = np.diff(np.pad(still, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, first = np.nonzero(edges == 1)
    _, last = np.nonzero(edges == -1)
    length = (last - first).astype(np.float64)
    sums = [
        np.bincount(row, weights, len(still)).astype(np.float64)
        for weights in (length, np.ones(len(row)), (length >= LONG_BOUT_MIN).astype(np.float64))
    ]
    return sums[0], sums[1], sums[2]


def vendor_disagreement(minute_sum: Any, vendor_total: Any) -> tuple[Floats, NDArray[np.bool_]]:
    """Vendor's daily total minus the sum of its own minutes, and whether that is worth a report.

    Parameters
    ----------
    minute_sum, vendor_total : arrays (days,), steps
        NaN where there is none; such a day is not reported.
    """
    minute_sum, vendor_total = np.asarray(minute_sum, np.float64), np.asarray(vendor_total, np.float64)
    difference = vendor_total - minute_sum
    with np.errstate(invalid="ignore"):
        return difference, np.abs(difference) > VENDOR_TOLERANCE * minute_sum


def _coarse(told_min: float) -> str:
    """Why a valid day has no cadence: counts in slots of many minutes have none."""
    return f"steps told minute by minute in {told_min:.0f} worn min, at least {VALID_DAY_MIN} needed"


def _reason(has_steps: bool, worn_min: float, not_worn_min: float) -> str | None:
    if worn_min == 0:
        if not_worn_min:
            return "not worn"
        return "whether it was worn is not known" if has_steps else "nothing received"
    if not has_steps:
        return "no step counts"
    if worn_min < VALID_DAY_MIN:
        return f"worn {worn_min:.0f} min, at least {VALID_DAY_MIN} needed"
    return None
