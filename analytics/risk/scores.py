"""Baseline, trend and flare risk of patient-days: the tables baseline, trend and flare_risk."""

import json
from datetime import date
from typing import Any, Final

import numpy as np
import pyarrow as pa

from analytics.risk import wording
from analytics.risk.arrays import EPOCH, Array
from analytics.risk.baseline_kernel import LEAST
from analytics.risk.flare import Judged, judge
from analytics.risk.hazard import band_of, reference_class
from analytics.risk.labels import SOURCES
from analytics.risk.languages import render
from analytics.risk.model import SHIPPED, Model
from analytics.risk.panel import DAY_TOTALS, Panel, make_panel
from analytics.risk.past import PAST_DAYS, PENDING_DAYS, Past
from analytics.risk.scales import DEFAULT_SCALES, Scales
from analytics.risk.trend_rows import trend_rows
from analytics.tables import BASELINE, FLARE_RISK, TREND

_JSON: Final = json.JSONEncoder()
_SORTED_JSON: Final = json.JSONEncoder(sort_keys=True)
#: Patients worked through together: their matrices stay in the processor's cache.
SHARE: Final = 4096


def compute(
    patient_days: pa.Table,
    first: date,
    last: date,
    *,
    context: pa.Table | None = None,
    model: Model = SHIPPED,
    scales: Scales = DEFAULT_SCALES,
    before: pa.Table | None = None,
) -> dict[str, pa.Table]:
    """Score the local dates `first` to `last`.

    Parameters
    ----------
    patient_days : Table
        Rows of :data:`analytics.tables.PATIENT_DAY`, the look-back included: everything, or
        with `before` the 140 days before `first` (52 for baseline and risk). Rows after a day
        never change that day's scores.
    first, last : date
        Local dates, inclusive.
    context : Table, optional
        What suspends or segments scoring (:data:`analytics.risk.context.CONTEXT`).
    model, scales : Model, Scales
        Versions in force.
    before : Table, optional
        flare_risk of the day before `first` of these patients, of the same model and scales; whoever
        was away on that day needs the whole past read. The result is the same to the last bit.

    Returns
    -------
    dict of str to Table
        "baseline", "trend" and "flare_risk", a row per patient-day that has one in
        `patient_days` (and per metric).
    """
    panel = make_panel(patient_days, last, context)
    low = max(0, panel.column(first))
    known = None if before is None else {row["patient"]: row for row in before.to_pylist()}
    parts: dict[str, list[pa.Table]] = {"baseline": [], "trend": [], "flare_risk": []}
    for start in range(0, len(panel.patients), SHARE):
        share = panel.rows(start, start + SHARE)
        # the matrices must reach back far enough, whether or not anything is there
        past = _past(known, share, low) if known is not None and low >= PAST_DAYS else None
        judged = judge(share, low, model=model, scales=scales, past=past)
        rows, columns = np.nonzero(judged.panel.is_present[:, judged.first :])
        at = rows, columns + judged.first
        parts["baseline"].append(_baseline_rows(judged, scales, at))
        parts["flare_risk"].append(_risk_rows(judged, model, at))
        parts["trend"].append(trend_rows(share, rows, columns + low))
    schemas = {"baseline": BASELINE, "trend": TREND, "flare_risk": FLARE_RISK}
    tables = {
        name: pa.concat_tables([schema.empty_table(), *parts[name]]) for name, schema in schemas.items()
    }
    order = [(name, "ascending") for name in ("patient", "local_date", "metric")]
    return tables | {"baseline": tables["baseline"].sort_by(order)}


def _past(known: dict[str, dict[str, Any]], panel: Panel, first: int) -> Past:
    """What the rows of the day before say, patients in the order of the panel."""
    rows = [known.get(patient, {}) for patient in panel.patients]
    # columns are counted from the first of the days that lead up to the first one scored
    origin = panel.day(first - PAST_DAYS)

    def numbers(name: str) -> Array:
        return np.array([row.get(name) or 0 for row in rows], np.float64)

    def columns(name: str) -> Array:
        days = [row.get(name) for row in rows]
        return np.array([-np.inf if day is None else (day - origin).days for day in days], np.float64)

    return Past(
        onsets=numbers("onset_count"),
        expected=numbers("onsets_expected"),
        last_flare=columns("last_flare_date"),
        last_onset=columns("last_onset_date"),
        last_alert=columns("last_alert_date"),
        last_source=np.array([SOURCES.index(row.get("last_flare_source") or "") for row in rows], np.int8),
        pending=np.array([_pending(row.get("hazard_pending")) for row in rows], np.float64),
        monitored_days=numbers("monitored_days"),
    )


def _pending(hazards: list[float | None] | None) -> list[float]:
    return [np.nan if one is None else one for one in hazards or [None] * PENDING_DAYS]


def _baseline_rows(judged: Judged, scales: Scales, at: tuple[Array, Array]) -> pa.Table:
    key = judged.panel.key(*at)
    count = len(at[0])
    parts: list[pa.Table] = []
    for name, own in judged.deviations.items():
        numbers = own.count[at]
        # -1: z stands, -2: no value, else too few days
        why = np.where(~np.isnan(own.z[at]), -1, np.where(np.isnan(own.value[at]), -2, numbers))
        if name in DAY_TOTALS:
            why = np.where(judged.panel.is_moved[at] & ~np.isnan(judged.panel.values[name][at]), -3, why)
        values = [
            pa.repeat(name, count),
            *(pa.array(matrix[at], from_pandas=True) for matrix in (own.value, own.center, own.scale)),
            pa.array(numbers, pa.int32()),
            pa.array(own.z[at], from_pandas=True),
            _WHY_NO_Z.take(pa.array(why + 3)),
            pa.repeat(scales.version, count),
        ]
        parts.append(pa.table([*key, *values], schema=BASELINE))
    return pa.concat_tables(parts)


#: Reasons by code + 3: another length, no value, none, and 0 to 35 baseline days.
_WHY_NO_Z: Final = pa.array(
    [
        "a move between zones made the date longer or shorter: its sum is not compared",
        "no value on this day",
        None,
        *(f"{days} baseline days, at least {LEAST} needed" for days in range(36)),
    ]
)


def _risk_rows(judged: Judged, model: Model, at: tuple[Array, Array]) -> pa.Table:
    scores, panel = judged.scores, judged.panel
    cells = list(zip(at[0].tolist(), at[1].tolist(), strict=True))
    said = [wording.say(judged, model, row, column) for row, column in cells]
    numbers = {name: values[at].tolist() for name, values in scores.contributions.items()}
    similar = [reference_class(model, risk) if risk == risk else None for risk in scores.risk_7d[at].tolist()]

    def real(matrix: Array) -> pa.Array:
        return pa.array(matrix[at], from_pandas=True)

    columns: dict[str, Any] = {
        "status": [scores.standing.word(*cell) for cell in cells],
        "reason": [one.reason for one in said],
        "risk_3d": real(scores.risk_3d),
        "risk_7d": real(scores.risk_7d),
        "band": [band_of(model, risk) for risk in scores.risk_7d[at].tolist()],
        "would_alert": scores.would_alert[at],
        "reference_per_100": [round(100 * one.followed / one.days) if one else None for one in similar],
        "reference_day_count": [one.days if one else None for one in similar],
        "deviation": real(scores.deviation),
        "cell_count": scores.cell_count[at].astype(np.int32),
        "drivers": [_JSON.encode(one.drivers) for one in said],
        "contributions": [
            _JSON.encode({name: values[i] for name, values in numbers.items() if values[i]})
            for i in range(len(cells))
        ],
        "monitored_days": scores.standing.monitored_days[at].astype(np.int32),
        "onset_count": real(scores.onsets),
        "onsets_expected": real(scores.expected),
        "hazard_pending": _last_days(scores.day_ahead, at, PENDING_DAYS),
        "last_flare_date": _ago(panel, at, scores.last_flare),
        "last_onset_date": _ago(panel, at, scores.last_onset),
        "last_flare_source": [SOURCES[code] or None for code in scores.last_source[at].tolist()],
        "last_alert_date": _ago(panel, at, scores.last_alert),
        "usual_nrs": real(judged.labels.mean_nrs),
        "label_quality": [wording.LABEL_QUALITY.get(code) for code in judged.labels.unavailable[at].tolist()],
        "model_version": pa.repeat(model.version, len(cells)),
        "message": [one.message for one in said],
        "parameters": [_SORTED_JSON.encode(one.parameters) for one in said],
        "sentence": [render(one.message, one.parameters) for one in said],
        "alert_load_3d": real(scores.alert_loads["3d"]),
        "alert_load_7d": real(scores.alert_loads["7d"]),
    }
    key = dict(zip(("patient", "local_date"), panel.key(*at), strict=True))
    arrays = [pa.array((key | columns)[field.name], field.type) for field in FLARE_RISK]
    return pa.table(arrays, schema=FLARE_RISK)


def _last_days(matrix: Array, at: tuple[Array, Array], days: int) -> pa.Array:
    """Values of the last `days` days of each cell, its own the last; null before the first."""
    columns = at[1][:, None] + np.arange(1 - days, 1)
    found = np.where(columns < 0, np.nan, matrix[at[0][:, None], np.maximum(columns, 0)])
    values = pa.array(found.reshape(-1), from_pandas=True)
    return pa.FixedSizeListArray.from_arrays(values, days).cast(pa.list_(pa.float64()))


def _ago(panel: Panel, at: tuple[Array, Array], ages: Array) -> pa.Array:
    """Dates of an age in days; null where it is infinite."""
    age = ages[at]
    days = np.where(np.isinf(age), 0, at[1] - age) + (panel.first - EPOCH).days
    return pa.array(days.astype(np.int32), pa.int32(), mask=np.isinf(age)).cast(pa.date32())
