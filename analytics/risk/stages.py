"""When a site's own fit is due: how many onsets each stage takes, and which days train and which validate."""

from typing import Final

#: Onsets from which a site's own slope is fitted, and all of its weights.
SLOPE_ONSETS: Final = 100
REFIT_ONSETS: Final = 300
#: Days whose label and week are known: the youngest row that may be used.
KNOWABLE_DAYS: Final = 9
EMBARGO_DAYS: Final = 9
VALIDATION_DAYS: Final = 28
LONGEST_VALIDATION: Final = 112


def training_days(days: int) -> int:
    """Of so many days the first that train whatever the split is."""
    last = days - 1 - KNOWABLE_DAYS
    return max(1, last + 1 - longest_validation(last) - EMBARGO_DAYS)


def longest_validation(last: int) -> int:
    """Days that may validate at most, up to column `last`: a third of what there is."""
    return max(VALIDATION_DAYS, min(LONGEST_VALIDATION, last // 3))
