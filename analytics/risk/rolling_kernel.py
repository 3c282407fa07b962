"""Sums over moving windows, compiled: each cell in the order of the lags, its bits always the same.

Compiled code calls nothing of another module: numba's cache on disk would not notice a change there.
"""

from typing import Any

from analytics.compiled import compiled


@compiled
def rolling_sums(values: Any, newest: int, oldest: int, first: int, total: Any, count: Any) -> None:
    """Add up what is there of the days t-newest to t-oldest; outputs (patients, days - first) come as 0."""
    days = values.shape[1]
    for row in range(values.shape[0]):
        own, sums, counts = values[row], total[row], count[row]
        # lag by lag along the row, without a branch: the processor takes several days at once
        for lag in range(newest, min(oldest, days - 1) + 1):
            for day in range(max(first, lag), days):
                value = own[day - lag]
                is_there = value == value
                sums[day - first] += value if is_there else 0.0
                counts[day - first] += is_there
