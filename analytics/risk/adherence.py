"""How much of the last four weeks was worn, slept and answered, and why the longest gap was one."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.risk.arrays import Array, Marks
from analytics.risk.panel import Panel

ADHERENCE_DAYS: Final = 28
PRACTICE_DAYS: Final = 7


@dataclass(frozen=True)
class Adherence:
    """Counts per patient over the days that end on one; arrays (patients,)."""

    wear_days: NDArray[np.int64]
    nights: NDArray[np.int64]
    report_days: NDArray[np.int64]
    practice_days: NDArray[np.int64]
    longest_gap: NDArray[np.int64]
    gap_reason: list[str | None]


def adherence(panel: Panel, column: int) -> Adherence:
    """Adherence of every patient as of a column."""
    part = slice(max(0, column - ADHERENCE_DAYS + 1), column + 1)
    worn = ~np.isnan(panel.values["steps"][:, part])
    practised = panel.is_practised[:, max(0, column - PRACTICE_DAYS + 1) : column + 1]
    longest, last = _longest_gap(panel.is_present[:, part], worn)
    return Adherence(
        wear_days=worn.sum(axis=1),
        nights=(~np.isnan(panel.values["tst_min"][:, part])).sum(axis=1),
        report_days=(~np.isnan(panel.values["nrs"][:, part])).sum(axis=1),
        practice_days=practised.sum(axis=1) if practised.size else np.zeros(len(worn), np.int64),
        longest_gap=longest,
        gap_reason=_reasons(panel, part.start, longest, last),
    )


def _longest_gap(is_present: Marks, worn: Marks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Length of the longest run of enrolled days without wear, and its last day; the latest of equals."""
    run, longest, last = (np.zeros(len(worn), np.int64) for _ in range(3))
    for day in range(worn.shape[1]):
        run = np.where(is_present[:, day] & ~worn[:, day], run + 1, 0)
        is_longest = (run >= longest) & (run > 0)
        longest = np.where(is_longest, run, longest)
        last = np.where(is_longest, day, last)
    return longest, last


def _reasons(panel: Panel, start: int, longest: Array, last: Array) -> list[str | None]:
    if not panel.quality.size:
        return [None] * len(longest)
    codes = np.where(longest > 0, panel.quality[np.arange(len(longest)), start + last], -1)
    return [panel.qualities[code] if code >= 0 else None for code in codes.tolist()]
