"""Rows of the table trend: slope, level shift, pacing, adherence, and the sentence about them."""

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from analytics.metrics import METRICS
from analytics.risk import pacing, shift, trend
from analytics.risk.adherence import ADHERENCE_DAYS, Adherence, adherence
from analytics.risk.arrays import Array
from analytics.risk.languages import render
from analytics.risk.panel import Panel
from analytics.tables import TREND

_METRIC: Final = METRICS[trend.METRIC]
_FEW_DAYS: Final = "{days} valid days, at least {least} needed"
_FEW_PAIRS: Final = "{pairs} days with steps and pain of the day before, at least {least} needed"
_SHORT: Final = "monitored {days} days, at least {least} needed"

#: Columns that messages are made of.
_SPOKEN_OF: Final = (
    *("quality", "valid_day_count", "wear_day_count", "level", "p_value"),
    *("change_pct", "change_low_pct", "change_high_pct", "shift_date", "shift_pct"),
    *(f"{name}_day_{part}pct" for name in ("good", "bad") for part in ("", "low_", "high_")),
    *("high_day_count", "followed_count", "followed_by_chance"),
)
_JSON: Final = json.JSONEncoder(sort_keys=True)

Message = dict[str, Any]


@dataclass(frozen=True)
class _Day:
    """Everything of all patients on one day."""

    column: int
    slope: trend.Trend
    shift: shift.Shift
    has_shift: Array
    pacing: pacing.Pacing
    monitored: Array
    adherence: Adherence


def trend_rows(panel: Panel, rows: Array, columns: Array) -> pa.Table:
    """Rows of the cells (rows, columns) of a panel that reaches back 140 days."""
    days = [_day(panel, int(column)) for column in np.unique(columns)]
    parts = [_columns(panel, day, rows[columns == day.column]) for day in days]
    patients, dates = panel.key(rows, columns)
    if not parts:
        return TREND.empty_table()
    # day by day; back to the order of the cells
    place = np.argsort(np.argsort(columns, kind="stable"), kind="stable")
    made = pa.concat_tables(parts).take(pa.array(place))
    made = made.append_column("patient", patients).append_column("local_date", dates)
    return made.select(TREND.names).cast(TREND)


def _day(panel: Panel, column: int) -> _Day:
    steps = panel.comparable()[trend.METRIC]
    window = trend.window_of(panel, steps, column, trend.DAYS)
    weekend = trend.weekends(panel, column)
    level = trend.without_weekend(window, weekend)
    earlier = trend.window_of(panel, steps, column, trend.DAYS + pacing.BEFORE_DAYS)[:, : pacing.BEFORE_DAYS]
    is_earlier_weekend = trend.weekends(panel, column - trend.DAYS, pacing.BEFORE_DAYS)
    nrs = trend.window_of(panel, panel.values["nrs"], column, trend.DAYS, stream=None)
    weekday = np.array([panel.day(column - trend.DAYS + 1 + i).weekday() for i in range(trend.DAYS)])
    has_any = np.zeros(panel.shape[0], np.bool_)
    low = max(0, column - trend.DAYS + 1)
    monitored = np.zeros(panel.shape[0], np.int64)
    for at in range(low, column + 1):
        has_any |= panel.is_present[:, at]
        monitored += has_any
    found = shift.pettitt(level)
    return _Day(
        column=column,
        slope=trend.theil_sen(window, weekend),
        shift=found,
        has_shift=(found.p_value < shift.ALPHA) & ~_is_explained(panel, column, found),
        pacing=pacing.pacing(
            level, trend.without_weekend(earlier, is_earlier_weekend), nrs, weekday, _METRIC.within_sd
        ),
        monitored=monitored,
        adherence=adherence(panel, column),
    )


def _is_explained(panel: Panel, column: int, found: shift.Shift) -> Array:
    """Whether a device change, a suspension or a move between zones lies within 3 days of the shift."""
    low = column - trend.DAYS + 1
    segments, away = panel.segments[trend.METRIC], panel.is_suspended()
    away = away | panel.is_moved if panel.is_moved.size else away
    explained = np.zeros(panel.shape[0], np.bool_)
    for row in np.flatnonzero(found.p_value < shift.ALPHA).tolist():
        at = low + int(found.at[row])
        near = slice(max(0, at - shift.NEAR_DAYS), at + shift.NEAR_DAYS + 1)
        spoken = segments[row, near]
        explained[row] = away[row, near].any() or len(np.unique(spoken[spoken >= 0])) > 1
    return explained


def _columns(panel: Panel, day: _Day, rows: Array) -> pa.Table:
    """Everything but the key, of some patients on one day."""
    slope, jump, own, worn = day.slope, day.shift, day.pacing, day.adherence
    count, has_shift = slope.count[rows], day.has_shift[rows]
    is_enough = count >= trend.LEAST_DAYS
    is_paced = (day.monitored[rows] >= trend.DAYS) & own.is_enough[rows]

    def real(values: Array, where: Array | None = None) -> pa.Array:
        found = values[rows] if where is None else np.where(where, values[rows], np.nan)
        return pa.array(found, pa.float64(), from_pandas=True)

    first = day.column - trend.DAYS + 1
    columns: dict[str, Any] = {
        "metric": pa.repeat(trend.METRIC, len(rows)),
        "valid_day_count": count,
        "level": real(slope.level, is_enough),
        "change_pct": real(slope.change_pct),
        "change_low_pct": real(slope.low_pct),
        "change_high_pct": real(slope.high_pct),
        "p_value": real(slope.p_value),
        "shift_date": [
            panel.day(first + at) if has else None
            for at, has in zip(jump.at[rows].tolist(), has_shift.tolist(), strict=True)
        ],
        "shift_pct": real(jump.change_pct, has_shift),
        "shift_p_value": real(jump.p_value, is_enough),
        "variability": real(own.variability),
        "variability_before": real(own.variability_before),
        "paired_day_count": own.pairs[rows],
        "high_day_count": pa.array(own.high_days[rows], mask=~is_paced),
        "followed_count": pa.array(own.followed[rows], mask=~is_paced),
        "followed_by_chance": real(own.by_chance, is_paced),
        "pacing_quality": [
            None if is_there else _why_no_pacing(day, row)
            for is_there, row in zip(is_paced.tolist(), rows.tolist(), strict=True)
        ],
        "wear_day_count": worn.wear_days[rows],
        "night_count": worn.nights[rows],
        "report_day_count": worn.report_days[rows],
        "practice_day_count": worn.practice_days[rows],
        "longest_gap_days": worn.longest_gap[rows],
        "gap_reason": [worn.gap_reason[row] for row in rows.tolist()],
        "quality": [
            None if is_there else _FEW_DAYS.format(days=days, least=trend.LEAST_DAYS)
            for is_there, days in zip(is_enough.tolist(), count.tolist(), strict=True)
        ],
    }
    for name, part in (("good", own.good), ("bad", own.bad)):
        columns[f"{name}_day_pct"] = real(part.pct, is_paced)
        columns[f"{name}_day_low_pct"] = real(part.low_pct, is_paced)
        columns[f"{name}_day_high_pct"] = real(part.high_pct, is_paced)
    made = pa.table({name: pa.array(values, TREND.field(name).type) for name, values in columns.items()})
    said = [_message(values) for values in made.select(_SPOKEN_OF).to_pylist()]
    words = {
        "message": [message for message, _ in said],
        "parameters": [_JSON.encode(parameters) for _, parameters in said],
        "sentence": [render(message, parameters) for message, parameters in said],
    }
    for name, texts in words.items():
        made = made.append_column(name, pa.array(texts, pa.string()))
    return made


def _why_no_pacing(day: _Day, row: int) -> str:
    if day.monitored[row] < trend.DAYS:
        return _SHORT.format(days=day.monitored[row], least=trend.DAYS)
    return _FEW_PAIRS.format(pairs=day.pacing.pairs[row], least=pacing.LEAST_PAIRS)


def _message(values: dict[str, Any]) -> tuple[str, Message]:
    """One honest sentence: a trend only where 8 weeks, p and size speak for it, else the interval."""
    worn = {"id": "worn", "days": values["wear_day_count"], "of": ADHERENCE_DAYS}
    if values["quality"] is not None:
        counts = {"days": values["valid_day_count"], "of": trend.DAYS, "least": trend.LEAST_DAYS}
        return "trend_too_few", counts | {"adherence": worn}
    change = values["change_pct"]
    parameters: Message = {
        "level": round(values["level"]),
        "low": round(values["change_low_pct"]),
        "high": round(values["change_high_pct"]),
        "adherence": worn,
        "pacing": _pacing_messages(values),
    }
    if values["shift_date"] is not None:
        shifted = {"date": str(values["shift_date"]), "change": round(values["shift_pct"])}
        parameters["shift"] = {"id": "shift", **shifted}
    if values["p_value"] < trend.ALPHA and abs(change) >= trend.LEAST_CHANGE_PCT:
        parameters["size"] = round(abs(change))
        return "trend_rising" if change > 0 else "trend_falling", parameters
    return "trend_none", parameters


def _pacing_messages(values: dict[str, Any]) -> list[Message]:
    found: list[Message] = []
    for name in ("good", "bad"):
        size, low, high = (values[f"{name}_day_{part}pct"] for part in ("", "low_", "high_"))
        if size is not None and low * high > 0:
            ends = {"low": round(low), "high": round(high)}
            found.append({"id": f"{name}_days", "change": round(size), **ends})
    if values["high_day_count"]:
        counts = {"followed": int(values["followed_count"]), "days": int(values["high_day_count"])}
        found.append({"id": "high_days", **counts, "chance": round(values["followed_by_chance"], 1)})
    return found
