"""How far a site is on its way to a model of its own: onsets so far, and when there will be enough.

Only those count that a fit can use: after a day at risk with enough data, on days the patient answered. In
simulation that is fewer than half. The youngest are for validation: a fit trains on the older ones.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from analytics.risk.stages import REFIT_ONSETS, SLOPE_ONSETS, training_days

#: The rate of onsets is that of the last eight weeks.
RATE_DAYS: Final = 56
#: Nobody plans further ahead.
FARTHEST_DAYS: Final = 3650


@dataclass(frozen=True)
class Progress:
    """Progress of a site on one date.

    Parameters
    ----------
    onsets : int
        Onsets known that a fit can use.
    training : int
        Of them, those it would train on today.
    per_week : float
        Their rate over the last eight weeks (or since the first day, if that is later).
    needed : int or None
        Onsets to train on of the next stage of fitting; None when the last is reached.
    expected : date or None
        When there will be so many at that rate; None where there is no rate, no next stage, or ten years
        are not enough.
    """

    onsets: int
    training: int
    per_week: float
    needed: int | None
    expected: date | None


def progress(onsets: Iterable[date], begun: date, today: date) -> Progress:
    """Progress by the dates of the onsets known that a fit can use.

    Parameters
    ----------
    begun : date
        First day with anything in it at the site.
    """
    dates = sorted(onsets)
    days = min(RATE_DAYS, (today - begun).days + 1)
    recent = sum(day > today - timedelta(days=days) for day in dates)
    rate = recent / days if days > 0 else 0.0

    def training(at: date) -> float:
        end = begun + timedelta(days=training_days((at - begun).days + 1))
        return bisect_left(dates, end) + rate * max(0, (end - today).days - 1)

    now = math.floor(training(today))
    needed = next((stage for stage in (SLOPE_ONSETS, REFIT_ONSETS) if now < stage), None)
    expected = None
    if needed is not None:
        later = (today + timedelta(days=n) for n in range(1, FARTHEST_DAYS))
        expected = next((day for day in later if training(day) >= needed), None)
    return Progress(len(dates), now, 7 * rate, needed, expected)
