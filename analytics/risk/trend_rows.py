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
_FEW_PAIRS: Final = "{pairs} days with steps and pain of the day before, at least {least} needed"
_SHORT: Final = "monitored {days} days, at least {least} needed"

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
    days = {int(column): _day(panel, int(column)) for column in np.unique(columns)}
    cells = [(days[column], row) for row, column in zip(rows.tolist(), columns.tolist(), strict=True)]
    found = [_row(panel, day, row) for day, row in cells]
    key = dict(zip(("patient", "local_date"), panel.key(rows, columns), strict=True))
    arrays = [
        key[field.name] if field.name in key else pa.array([one[field.name] for one in found], field.type)
        for field in TREND
    ]
    return pa.table(arrays, schema=TREND)


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
    """Whether a device change or a suspension lies within 3 days of the shift."""
    low = column - trend.DAYS + 1
    segments, away = panel.segments[trend.METRIC], panel.is_suspended()
    explained = np.zeros(panel.shape[0], np.bool_)
    for row in np.flatnonzero(found.p_value < shift.ALPHA).tolist():
        at = low + int(found.at[row])
        near = slice(max(0, at - shift.NEAR_DAYS), at + shift.NEAR_DAYS + 1)
        spoken = segments[row, near]
        explained[row] = away[row, near].any() or len(np.unique(spoken[spoken >= 0])) > 1
    return explained


def _row(panel: Panel, day: _Day, row: int) -> dict[str, Any]:
    slope, jump, own = day.slope, day.shift, day.pacing
    count = int(slope.count[row])
    is_enough = count >= trend.LEAST_DAYS
    why_no_pacing = _why_no_pacing(day, row)
    pace = (lambda value: _number(value)) if why_no_pacing is None else (lambda value: None)
    has_shift = bool(day.has_shift[row])
    at = day.column - trend.DAYS + 1 + int(jump.at[row])
    few = f"{count} valid days, at least {trend.LEAST_DAYS} needed"
    values: dict[str, Any] = {
        "metric": trend.METRIC,
        "valid_day_count": count,
        "level": _number(slope.level[row]) if is_enough else None,
        "change_pct": _number(slope.change_pct[row]),
        "change_low_pct": _number(slope.low_pct[row]),
        "change_high_pct": _number(slope.high_pct[row]),
        "p_value": _number(slope.p_value[row]),
        "shift_date": panel.day(at) if has_shift else None,
        "shift_pct": _number(jump.change_pct[row]) if has_shift else None,
        "shift_p_value": _number(jump.p_value[row]) if is_enough else None,
        "variability": _number(own.variability[row]),
        "variability_before": _number(own.variability_before[row]),
        "paired_day_count": int(own.pairs[row]),
        "high_day_count": pace(own.high_days[row]),
        "followed_count": pace(own.followed[row]),
        "followed_by_chance": pace(own.by_chance[row]),
        "pacing_quality": why_no_pacing,
        "quality": None if is_enough else few,
    }
    for name, part in (("good", own.good), ("bad", own.bad)):
        values[f"{name}_day_pct"] = pace(part.pct[row])
        values[f"{name}_day_low_pct"] = pace(part.low_pct[row])
        values[f"{name}_day_high_pct"] = pace(part.high_pct[row])
    values |= day.adherence.row(row)
    message, parameters = _message(values)
    said = {"message": message, "parameters": json.dumps(parameters, sort_keys=True)}
    return values | said | {"sentence": render(message, parameters)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _why_no_pacing(day: _Day, row: int) -> str | None:
    if day.monitored[row] < trend.DAYS:
        return _SHORT.format(days=day.monitored[row], least=trend.DAYS)
    if not day.pacing.is_enough[row]:
        return _FEW_PAIRS.format(pairs=day.pacing.pairs[row], least=pacing.LEAST_PAIRS)
    return None


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
