"""How far a site is on its way to a model of its own: onsets so far, and when there will be enough."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

#: Onsets from which a site's own slope is fitted, and all of its weights.
SLOPE_ONSETS: Final = 100
REFIT_ONSETS: Final = 300
#: The rate of onsets is that of the last eight weeks.
RATE_DAYS: Final = 56


@dataclass(frozen=True)
class Progress:
    """Progress of a site on one date.

    Parameters
    ----------
    onsets : int
        Onsets known.
    per_week : float
        Their rate over the last eight weeks (or since the first day, if that is later).
    needed : int or None
        Onsets of the next stage of fitting; None when the last is reached.
    expected : date or None
        When there will be so many at that rate; None where there is no rate or no next stage.
    """

    onsets: int
    per_week: float
    needed: int | None
    expected: date | None


def progress(onsets: Iterable[date], begun: date, today: date) -> Progress:
    """Progress by the dates of all onsets known.

    Parameters
    ----------
    begun : date
        First day with anything in it at the site.
    """
    dates = sorted(onsets)
    days = min(RATE_DAYS, (today - begun).days + 1)
    recent = sum(day > today - timedelta(days=days) for day in dates)
    rate = recent / days if days > 0 else 0.0
    needed = next((stage for stage in (SLOPE_ONSETS, REFIT_ONSETS) if len(dates) < stage), None)
    expected = None
    if needed is not None and rate > 0:
        expected = today + timedelta(days=math.ceil((needed - len(dates)) / rate))
    return Progress(len(dates), 7 * rate, needed, expected)
