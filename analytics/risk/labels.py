"""Flares as patients report them: the label, never from sensors.

A day is a flare day when the patient taps, or when pain exceeds the own recent
mean on it and on another day within two (2 of 3). Known at t + 2. An episode closes
after 3 reported days without a flare, or 7 days of any kind; its first day is the onset.
Mean, not median: medians of whole numbers tie. Above a mean of 9 no score can
exceed it by enough: there the tap alone speaks, and `reason` says so.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from analytics.risk.arrays import Array, Floats, Marks, recent, sum_and_count
from analytics.risk.baseline_kernel import ENOUGH, GAP, LEAST, LONGEST, SHORT_GAP
from analytics.risk.panel import Panel

#: Bumped with every change of the definition; models name the one they were fitted on.
LABEL_VERSION: Final = "label-1"
#: Two points are "much worse" (Farrar 2001).
EXCESS: Final = 2.0
LEAST_EXCESS: Final = 1.0
#: Means of thirds must not decide what is equal.
TIE: Final = 1e-9
#: From here on the scale has no room above the own mean.
NO_ROOM: Final = 9.0
#: Days until a label is known: the second day of excess may come two days later.
KNOWN_AFTER: Final = 2
CLOSED_AFTER_REPORTED: Final = 3
CLOSED_AFTER: Final = 7

#: Where a flare day comes from, by its code in `source`.
SOURCES: Final = ("", "nrs", "tap", "nrs and tap")
#: Why the pain scores cannot speak, by their code in `unavailable`.
TOO_FEW, CEILING = 1, 2


@dataclass(frozen=True)
class Labels:
    """Matrices (patients, days). `is_flare_day`, `is_onset` and `source` of a day are known two days later.

    Parameters
    ----------
    mean_nrs : matrix
        Own recent mean pain, NaN with fewer than 5 reports.
    exceeds : matrix of bool
        Pain of the day exceeds it.
    unavailable : matrix of int
        0: the rule on pain scores can speak; 1: fewer than 5 reports; 2: own mean above 9.
        In both the tap alone speaks.
    source : matrix of int
        Index into :data:`SOURCES`; 0 where no flare day.
    is_at_risk : matrix of bool
        As known on the day: no tap and no excess on it and on the two before it.
    """

    mean_nrs: Floats
    exceeds: Marks
    is_tapped: Marks
    is_flare_day: Marks
    is_onset: Marks
    unavailable: Array
    source: Array
    is_at_risk: Marks


def flare_labels(panel: Panel, first: int = 0) -> Labels:
    """Label every day of the panel; no day before column `first` exceeds anything."""
    nrs = panel.values["nrs"]
    mean = np.full(panel.shape, np.nan)
    mean[:, first:] = _recent_mean(nrs, first)
    with np.errstate(invalid="ignore"):
        # near the top of the scale less has to do; above a mean of 9 nothing can, and only the tap speaks
        exceeds = nrs - mean >= np.minimum(EXCESS, np.maximum(10 - mean - 0.5, LEAST_EXCESS)) - TIE
        unavailable = np.where(np.isnan(mean), TOO_FEW, np.where(mean > NO_ROOM + TIE, CEILING, 0))
    paired = np.zeros_like(exceeds)
    for lag in range(1, min(KNOWN_AFTER, exceeds.shape[1] - 1) + 1):
        both = exceeds[:, lag:] & exceeds[:, :-lag]
        paired[:, lag:] |= both
        paired[:, :-lag] |= both
    tapped = panel.is_flare_reported
    is_flare_day = tapped | paired
    return Labels(
        mean_nrs=mean,
        exceeds=exceeds,
        is_tapped=tapped,
        is_flare_day=is_flare_day,
        is_onset=_onsets(is_flare_day, ~np.isnan(nrs)),
        unavailable=unavailable.astype(np.int8),
        source=(paired + 2 * tapped).astype(np.int8),
        is_at_risk=~recent(exceeds | tapped, KNOWN_AFTER + 1),
    )


def _recent_mean(nrs: Floats, first: int) -> Floats:
    """Mean pain of days t-35 to t-8; with fewer than 7 reports t-35 to t-2; with fewer than 5 none."""
    old_sum, old_count = sum_and_count(nrs, GAP, LONGEST, first=first)
    young_sum, young_count = sum_and_count(nrs, SHORT_GAP, GAP - 1, first=first)
    is_enough = old_count >= ENOUGH
    count = np.where(is_enough, old_count, old_count + young_count)
    total = np.where(is_enough, old_sum, old_sum + young_sum)
    return np.where(count >= LEAST, total / np.maximum(count, 1), np.nan)


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
