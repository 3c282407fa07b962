"""Minutes of local dates as dense arrays: who wore what, and what it counted.

A track is one device on one local date. Minutes count from its start, in elapsed
time: a date has 1,380, 1,440 or 1,500 of them, that of a move any number up to 3,000.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analytics.features import wear
from analytics.features.calendar import Calendar
from analytics.features.statements import select

#: Width of the arrays: the longest day, and the longest date of a move (from UTC+14 to UTC-12).
LONGEST_DAY_MIN: Final = 1500
LONGEST_MOVE_MIN: Final = 2 * LONGEST_DAY_MIN
QUARTER_MIN: Final = 15
#: Patient-days at once, half as many with the date of a move among them: with two devices each and a sample a
#: minute they take about 400 MB.
CHUNK_DAYS: Final = 1_500
#: A count over so long is a vendor's total of a day: where the device tells minutes too, it is compared with
#: them and not counted.
TOTAL_MIN: Final = 720
_STEPS, _PULSE, _AWAKE, _ASLEEP, _DENIED = range(5)

Array = NDArray[Any]


@dataclass(frozen=True)
class Minutes:
    """Merged minutes of consecutive calendar rows, each array (rows, 1500), (rows, 3000) where one is longer.

    `steps` come quarter hour by quarter hour from the device that covers most worn
    minutes of it; `is_counted` where there is such a count, `is_fine` where it is of
    that minute alone. `told` has the sum of a device's minutes and its own total of the same time,
    of several devices the two that lie furthest apart; NaN where no device has both.
    """

    steps: Array
    is_counted: Array
    is_fine: Array
    is_worn: Array
    is_not_worn: Array
    is_asleep: Array
    told: Array  # (rows, 2)
    devices: Array  # (rows,) names of the counting devices, joined by "+", or None


def chunks(con: duckdb.DuckDBPyConnection, calendar: Calendar) -> Iterator[tuple[int, int, Minutes]]:
    """First row, last row (exclusive) and minutes of as many whole patients as memory holds comfortably."""
    if not calendar.count:
        return
    patients = calendar.column("patient").astype(str)
    starts = np.flatnonzero(np.append(True, patients[1:] != patients[:-1]))
    lengths = calendar.column("end_minute") - calendar.column("start_minute")
    low, width = 0, LONGEST_DAY_MIN
    for start, stop in zip(starts, np.append(starts[1:], calendar.count), strict=True):
        own = _width(lengths[start:stop])
        if start > low and (stop - low) * max(width, own) > CHUNK_DAYS * LONGEST_DAY_MIN:
            yield low, int(start), _minutes(con, calendar, low, int(start))
            low, width = int(start), LONGEST_DAY_MIN
        width = max(width, own)
    yield low, calendar.count, _minutes(con, calendar, low, calendar.count)


def _width(lengths: Array) -> int:
    """Of two widths one: sums over a date must not depend on whose dates lie beside it."""
    return LONGEST_DAY_MIN if lengths.max() <= LONGEST_DAY_MIN else LONGEST_MOVE_MIN


def _minutes(con: duckdb.DuckDBPyConnection, calendar: Calendar, low: int, high: int) -> Minutes:
    days = calendar.rows.slice(low, high - low)
    patients, codes = np.unique(
        days["patient"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True
    )
    con.register("chunk_patient", pa.table({"patient": pa.array(patients, pa.string())}))
    worn = con.sql(
        "select distinct patient, device from enrolment join chunk_patient using (patient) order by all"
    ).to_arrow_table()
    wearing = worn.append_column("pair", pa.array(np.arange(worn.num_rows), pa.int32()))
    con.register("wearing", wearing)
    try:
        rows = select(con, "select_minutes", calendar.day_arguments())
    finally:
        con.unregister("wearing")
        con.unregister("chunk_patient")
    # minutes since 1970 fit 32 bits: there may be many samples a minute
    pair, what, first, span, steps = (rows[name].to_numpy().astype(np.int32) for name in rows.column_names)
    del rows
    order = _slots_last(pair, what, first, span, steps)
    pair, what, first, span, steps = (values[order] for values in (pair, what, first, span, steps))
    owner = np.searchsorted(patients, worn["patient"].to_numpy(zero_copy_only=False).astype(str))
    start, end = days["start_minute"].to_numpy(), days["end_minute"].to_numpy()
    which = np.repeat(np.arange(len(span)), span) if (span > 1).any() else np.arange(len(span))
    step = np.arange(len(which)) - (np.cumsum(span) - span)[which]
    minute = first[which] + step
    row = np.searchsorted((codes << 32) | start, (owner[pair[which]] << 32) | minute, "right") - 1
    inside = (row >= 0) & (codes[row] == owner[pair[which]]) & (minute < end[row])
    which, minute, row = which[inside], minute[inside], row[inside]
    return _merge(
        (days.num_rows, _width(end - start)), worn["device"].to_pylist(), row, pair[which],
        minute - start[row], what[which], steps[which] / span[which], span[which],
    )  # fmt: skip


def _slots_last(pair: Array, what: Array, first: Array, span: Array, steps: Array) -> Array:
    """Order of the rows: counts of one minute, whole numbers, add up in any; shares of slots in theirs."""
    is_slot = (what == _STEPS) & (span > 1)
    slots = np.flatnonzero(is_slot)
    slots = slots[np.lexsort((steps[slots], span[slots], first[slots], pair[slots]))]
    return np.concatenate([np.flatnonzero(~is_slot), slots])


def _merge(
    rows: tuple[int, int],
    devices: list[str],
    row: Array,
    pair: Array,
    minute: Array,
    what: Array,
    steps: Array,
    span: Array,
) -> Minutes:
    count, width = rows
    key = row * max(len(devices), 1) + pair
    is_there = np.zeros(count * max(len(devices), 1), np.bool_) if len(devices) < 64 else None
    tracks = np.unique(key) if is_there is None else _flagged(is_there, key)
    track = np.searchsorted(tracks, key)
    own, named = tracks // max(len(devices), 1), tracks % max(len(devices), 1)
    is_total, sums = _totals_apart(
        (len(tracks), width), track, minute, what == _STEPS, span >= TOTAL_MIN, steps
    )
    if is_total.any():
        track, minute, what, steps, span = (
            values[~is_total] for values in (track, minute, what, steps, span)
        )
    at = track * width + minute
    shape = len(tracks), width

    def flags(chosen: Array) -> Array:
        found = np.zeros(shape, np.bool_)
        found.reshape(-1)[at[chosen]] = True
        return found

    is_step = what == _STEPS
    counted = np.bincount(at[is_step], steps[is_step], shape[0] * shape[1]).reshape(shape)
    counting, asleep = flags(is_step), flags(what == _ASLEEP)
    fine = counting & ~flags(is_step & (span > 1))
    # a count over hours does not tell when in them the device was worn
    told = is_step & (span <= QUARTER_MIN)
    worn, not_worn = wear.judge(
        flags(told),
        flags(told & (steps > 0)),
        flags(what == _PULSE),
        asleep | flags(what == _AWAKE),
        flags(what == _DENIED),
    )
    best = _best(count, own, counted, counting, counting & worn)
    chosen = np.repeat(best, QUARTER_MIN, axis=1)
    there, taken = chosen >= 0, (np.maximum(chosen, 0), np.arange(width)[None, :])
    judging = _judging(count, own, np.asarray(counting.any(axis=1)))

    def picked(values: Array, empty: Any) -> Array:
        return np.where(there, values[taken], empty) if len(tracks) else np.full(chosen.shape, empty)

    is_worn = _any(count, own[judging], worn[judging])
    return Minutes(
        steps=picked(counted, 0.0),
        is_counted=picked(counting, False),
        is_fine=picked(fine, False),
        is_worn=is_worn,
        is_not_worn=_any(count, own[judging], not_worn[judging]) & ~is_worn,
        is_asleep=_any(count, own, asleep),
        told=_furthest(count, own, sums),
        devices=_names(best, named, devices),
    )


def _totals_apart(
    shape: tuple[int, int], track: Array, minute: Array, is_step: Array, is_long: Array, steps: Array
) -> tuple[Array, Array]:
    """Which samples are of totals over minutes that their track tells, too; per track the sum of either.

    A count over the hours in which nothing else came (a pedometer read again) is none.
    """
    is_total = is_step & is_long
    count, width = shape
    sums = np.full((count, 2), np.nan)
    if not is_total.any():
        return is_total, sums
    at = track * width + minute
    is_covered = np.zeros(count * width, np.bool_)
    is_covered[at[is_total]] = True
    is_beside = is_step & ~is_long & is_covered[at]
    has_both = np.bincount(track[is_beside], minlength=count) > QUARTER_MIN
    for column, some in enumerate((is_beside, is_total)):
        # shares of a total, spread over its minutes, are whole again
        sums[:, column] = np.round(np.bincount(track[some], steps[some], count), 6)
    sums[~has_both] = np.nan
    return is_total & has_both[track], sums


def _furthest(count: int, own: Array, sums: Array) -> Array:
    """Of each row's tracks the sums that lie furthest apart; NaN where there are none."""
    found = np.full((count, 2), np.nan)
    apart = np.abs(sums[:, 1] - sums[:, 0])
    some = np.flatnonzero(~np.isnan(apart))
    some = some[np.argsort(apart[some], kind="stable")]
    found[own[some]] = sums[some]
    return found


def _flagged(is_there: Array, key: Array) -> Array:
    is_there[key] = True
    return np.flatnonzero(is_there)


def _judging(count: int, own: Array, counts: Array) -> Array:
    """Where a device counts steps on a date, only those that do are asked: a strap worn at night does not
    vouch for a band that lay on the table.
    """
    some = np.zeros(count, np.bool_)
    some[own[counts]] = True
    return counts | ~some[own]


def _any(count: int, own: Array, flags: Array) -> Array:
    found = np.zeros((count, flags.shape[1]), np.bool_)
    if len(own):
        rows, first = np.unique(own, return_index=True)
        found[rows] = np.logical_or.reduceat(flags, first, axis=0)
    return found


def _best(count: int, own: Array, counted: Array, counting: Array, counting_worn: Array) -> Array:
    """Track whose steps count, per row and quarter hour; -1 where nobody counts."""
    best = np.full((count, counted.shape[1] // QUARTER_MIN), -1, np.int64)
    if not len(own):
        return best
    quarters = (len(own), -1, QUARTER_MIN)
    worn, covered, steps = (
        values.reshape(quarters).sum(axis=2) for values in (counting_worn, counting, counted)
    )
    rank = (worn * (QUARTER_MIN + 1) + covered) * 2e6 + steps
    rows, first = np.unique(own, return_index=True)
    highest = np.full(best.shape, -1.0)
    highest[rows] = np.maximum.reduceat(rank, first, axis=0)
    tied = np.where((rank == highest[own]) & (covered > 0), np.arange(len(own))[:, None], -1)
    best[rows] = np.maximum.reduceat(tied, first, axis=0)
    return best


def _names(best: Array, named: Array, devices: list[str]) -> Array:
    names = np.full(len(best), None, np.object_)
    for row, tracks in enumerate(best):
        some = np.unique(tracks[tracks >= 0])
        if len(some):
            names[row] = "+".join(sorted(devices[named[track]] for track in some))
    return names
