"""Flares as patients report them: the label, never from sensors.

A day is a flare day when the patient taps, or when pain exceeds the own recent
mean on it and on another day within two. Known at t + 2. An episode closes after
3 reported days without a flare, or 7 days of any kind; its first day is the onset.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from analytics.risk.baseline import ENOUGH, GAP, LEAST, LONGEST, SHORT_GAP
from analytics.risk.panel import Floats, Marks, Panel

#: Two points are "much worse" (Farrar 2001).
EXCESS: Final = 2.0
LEAST_EXCESS: Final = 1.0
#: Days until a label is known: the second day of excess may come two days later.
KNOWN_AFTER: Final = 2
CLOSED_AFTER_REPORTED: Final = 3
CLOSED_AFTER: Final = 7


@dataclass(frozen=True)
class Labels:
    """Matrices (patients, days). `is_flare_day` and `is_onset` of a day are known two days later."""

    mean_nrs: Floats
    exceeds: Marks
    is_tapped: Marks
    is_flare_day: Marks
    is_onset: Marks


def flare_labels(panel: Panel) -> Labels:
    """Label every day of the panel."""
    nrs = panel.values["nrs"]
    mean = _recent_mean(nrs)
    with np.errstate(invalid="ignore"):
        # near the top of the scale less has to do; above a mean of 9 nothing can, and only the tap speaks
        exceeds = nrs - mean >= np.minimum(EXCESS, np.maximum(10 - mean - 0.5, LEAST_EXCESS))
    paired = np.zeros_like(exceeds)
    for lag in (1, 2):
        both = exceeds[:, lag:] & exceeds[:, :-lag]
        paired[:, lag:] |= both
        paired[:, :-lag] |= both
    is_flare_day = panel.is_flare_reported | paired
    onset = _onsets(is_flare_day, ~np.isnan(nrs))
    return Labels(mean, exceeds, panel.is_flare_reported, is_flare_day, onset)


def _recent_mean(nrs: Floats) -> Floats:
    """Mean pain of days t-35 to t-8; with fewer than 7 reports t-35 to t-2; with fewer than 5 none."""
    old_sum, old_count = _window_sums(nrs, GAP)
    new_sum, new_count = _window_sums(nrs, SHORT_GAP)
    is_enough = old_count >= ENOUGH
    count = np.where(is_enough, old_count, new_count)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(is_enough, old_sum, new_sum) / count
    return np.where(count >= LEAST, mean, np.nan)


def _window_sums(values: Floats, gap: int) -> tuple[Floats, Floats]:
    """Sum and count over the days t-35 to t-gap."""
    days = values.shape[1]
    edges = np.arange(days)
    low, high = np.maximum(edges - LONGEST, 0), np.maximum(edges - gap + 1, 0)
    sums: list[Floats] = []
    for part in (np.nan_to_num(values), (~np.isnan(values)).astype(np.float64)):
        total = np.concatenate([np.zeros((len(part), 1)), np.cumsum(part, axis=1)], axis=1)
        sums.append(total[:, high] - total[:, low])
    return sums[0], np.rint(sums[1])


def _onsets(is_flare_day: Marks, is_reported: Marks) -> Marks:
    """First days of episodes."""
    onset = np.zeros_like(is_flare_day)
    is_open = np.zeros(len(onset), np.bool_)
    quiet_reports = np.zeros(len(onset), np.int64)
    quiet_days = np.zeros(len(onset), np.int64)
    for column in range(onset.shape[1]):
        flare = is_flare_day[:, column]
        quiet_days = np.where(flare, 0, quiet_days + 1)
        quiet_reports = np.where(flare, 0, quiet_reports + is_reported[:, column])
        onset[:, column] = flare & ~is_open
        has_closed = (quiet_reports >= CLOSED_AFTER_REPORTED) | (quiet_days >= CLOSED_AFTER)
        is_open = flare | (is_open & ~has_closed)
    return onset
