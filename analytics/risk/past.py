"""What a night takes over from the night before, so that it need not read the whole past."""

from dataclasses import dataclass
from typing import Final

from analytics.risk.arrays import Array
from analytics.risk.baseline_kernel import LONGEST
from analytics.risk.labels import KNOWN_AFTER

#: Days until onsets count against those expected.
HISTORY_LAG: Final = KNOWN_AFTER + 1
#: Day-ahead hazards given by a night and not in its sums yet: those of three days before, to its own.
PENDING_DAYS: Final = HISTORY_LAG + 1
#: Days of deviations behind the longest feature.
FEATURE_DAYS: Final = 14
#: Columns of deviations before the first day scored, where a :class:`Past` is given.
PAST_DAYS: Final = HISTORY_LAG + FEATURE_DAYS
#: Days of raw values before it: with fewer a night differs from the one that knows everything.
RAW_DAYS: Final = PAST_DAYS + LONGEST


@dataclass(frozen=True)
class Past:
    """What was known on the day before the first one scored; arrays (patients,) but `pending`.

    Parameters
    ----------
    onsets, expected : array
        Sums behind the own history.
    last_flare, last_onset, last_alert : array
        Columns of the last flare day and onset known by then, and of the last (shadow)
        alert, counted from the first column of :data:`PAST_DAYS`; -inf for none.
    last_source : array of int
        What made the last flare day one (:data:`analytics.risk.labels.SOURCES`).
    pending : array (patients, :data:`PENDING_DAYS`)
        Day-ahead hazards given on the last four days, oldest first, which the sums do not hold
        yet; NaN where a day does not count.
    monitored_days : array
        Days monitored.
    """

    onsets: Array
    expected: Array
    last_flare: Array
    last_onset: Array
    last_alert: Array
    last_source: Array
    pending: Array
    monitored_days: Array
