"""Baseline, trend and flare risk of patient-days: the tables baseline, trend and flare_risk."""

import json
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from analytics.risk import trend as trends
from analytics.risk import wording
from analytics.risk.arrays import EPOCH, Array
from analytics.risk.baseline import Deviation, deviations
from analytics.risk.baseline_kernel import LEAST
from analytics.risk.flare import Scores, score
from analytics.risk.labels import Labels, flare_labels
from analytics.risk.model import SHIPPED
from analytics.risk.panel import Panel, make_panel
from analytics.tables import BASELINE, FLARE_RISK, TREND


def compute(patient_days: pa.Table, first: date, last: date) -> dict[str, pa.Table]:
    """Score the local dates `first` to `last`.

    Parameters
    ----------
    patient_days : Table
        Rows of :data:`analytics.tables.PATIENT_DAY`, the look-back included (35 days for
        baselines, 56 for trends, everything for the personal rate). Rows after a day never
        change that day's scores.
    first, last : date
        Local dates, inclusive.

    Returns
    -------
    dict of str to Table
        "baseline", "trend" and "flare_risk", a row per patient-day that has one in
        `patient_days` (and per metric).
    """
    panel = make_panel(patient_days, last)
    low = max(0, panel.column(first))
    rows, columns = np.nonzero(panel.is_present[:, low:])
    columns = columns + low
    if not len(rows):
        schemas = {"baseline": BASELINE, "trend": TREND, "flare_risk": FLARE_RISK}
        return {name: schema.empty_table() for name, schema in schemas.items()}
    against = deviations(panel)
    labels = flare_labels(panel)
    scores = score(panel, labels, against, SHIPPED)
    return {
        "baseline": _baseline_rows(panel, against, rows, columns),
        "trend": _trend_rows(panel, rows, columns),
        "flare_risk": _risk_rows(panel, labels, against, scores, rows, columns),
    }


def _key(panel: Panel, rows: Array, columns: Array) -> list[pa.Array]:
    days = (columns + (panel.first - EPOCH).days).astype(np.int32)
    return [pa.array(panel.patients, pa.string()).take(pa.array(rows)), pa.array(days).cast(pa.date32())]


def _baseline_rows(panel: Panel, against: dict[str, Deviation], rows: Array, columns: Array) -> pa.Table:
    key = _key(panel, rows, columns)
    parts: list[pa.Table] = []
    for name, own in against.items():
        at = rows, columns
        reasons = [
            None if not np.isnan(z) else _why_no_z(np.isnan(value), int(count))
            for z, value, count in zip(own.z[at], own.value[at], own.count[at], strict=True)
        ]
        values = [
            pa.array([name] * len(rows), pa.string()),
            *(pa.array(matrix[at], from_pandas=True) for matrix in (own.value, own.center, own.scale)),
            pa.array(own.count[at], pa.int32()),
            pa.array(own.z[at], from_pandas=True),
            pa.array(reasons, pa.string()),
        ]
        parts.append(pa.table([*key, *values], schema=BASELINE))
    order = [(name, "ascending") for name in ("patient", "local_date", "metric")]
    return pa.concat_tables(parts).sort_by(order)


def _why_no_z(is_missing: bool, count: int) -> str:
    if is_missing:
        return "no value on this day"
    return f"{count} baseline days, at least {LEAST} needed"


def _trend_rows(panel: Panel, rows: Array, columns: Array) -> pa.Table:
    found = {int(column): trends.trend_on(panel, int(column)) for column in np.unique(columns)}
    cells = [(found[column], row) for row, column in zip(rows.tolist(), columns.tolist(), strict=True)]

    def real(name: str) -> pa.Array:
        return pa.array(np.array([getattr(own, name)[row] for own, row in cells]), from_pandas=True)

    counts = [int(own.count[row]) for own, row in cells]
    reasons = [
        None if count >= trends.LEAST_DAYS else f"{count} valid days, at least {trends.LEAST_DAYS} needed"
        for count in counts
    ]
    return pa.table(
        [
            *_key(panel, rows, columns),
            pa.array([trends.METRIC] * len(cells), pa.string()),
            pa.array(counts, pa.int32()),
            *(real(name) for name in ("change_pct", "low_pct", "high_pct", "p_value")),
            pa.array(reasons, pa.string()),
            pa.array([trends.sentence(own, row) for own, row in cells], pa.string()),
        ],
        schema=TREND,
    )


def _risk_rows(
    panel: Panel, labels: Labels, against: dict[str, Deviation], scores: Scores, rows: Array, columns: Array
) -> pa.Table:
    cells = list(zip(rows.tolist(), columns.tolist(), strict=True))
    reasons = [wording.reason(panel, labels, scores, row, column) for row, column in cells]
    sentences = [
        wording.sentence(scores, against, why, row, column)
        for why, (row, column) in zip(reasons, cells, strict=True)
    ]
    at = rows, columns
    columns_: list[Any] = [
        pa.array([scores.standing.word(*cell) for cell in cells], pa.string()),
        pa.array(reasons, pa.string()),
        pa.array(scores.risk_3d[at], from_pandas=True),
        pa.array(scores.risk_7d[at], from_pandas=True),
        pa.array(scores.deviation[at], from_pandas=True),
        pa.array(scores.cell_count[at], pa.int32()),
        pa.array([json.dumps(wording.drivers(scores, row, column)) for row, column in cells], pa.string()),
        pa.array([SHIPPED.version] * len(cells), pa.string()),
        pa.array(sentences, pa.string()),
    ]
    return pa.table([*_key(panel, rows, columns), *columns_], schema=FLARE_RISK)
