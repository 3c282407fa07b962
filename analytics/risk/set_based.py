"""One night in SQL: z, labels, features, risk and contributions as sets.

A second reading of the definitions, statement by statement, for whoever checks a stored night
(``flarecast risk check``) or asks the published tables. The nightly run uses the compiled
kernel: it also labels, fits and backtests whole pasts, and there is one code for all of it.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Final

import duckdb
import pyarrow as pa

from analytics.metrics import METRICS
from analytics.risk.context import SEGMENTS, SUSPENDS
from analytics.risk.features import FEATURES
from analytics.risk.model import Model
from analytics.risk.scales import Scales
from analytics.risk.status import OK, UNCALIBRATED

#: Statement -> name of its table for the ones after it.
_STEPS: Final = {
    "select_deviation": "deviation",
    "select_label": "label",
    "select_feature": "feature",
    "select_risk": "risk",
}


@cache
def statement(name: str) -> str:
    """Text of ``sql/<name>.sql``."""
    return (files("analytics.risk") / "sql" / f"{name}.sql").read_text()


def night(
    con: duckdb.DuckDBPyConnection,
    today: date,
    inputs: Mapping[str, pa.Table],
    *,
    model: Model,
    scales: Scales,
) -> dict[str, pa.Table]:
    """Score one local date.

    Parameters
    ----------
    con : DuckDBPyConnection
        Its temporary tables are replaced.
    inputs : mapping of str to Table
        ``patient_day`` (49 days), ``baseline`` (the 13 days before, with z), ``before``
        (flare_risk of the day before) and ``context`` (:data:`analytics.risk.context.CONTEXT`).

    Returns
    -------
    dict of str to Table
        ``deviation``, ``label``, ``feature`` and ``risk``; columns in the head of each statement.
    """
    _place(con, dict(inputs) | _parameters(model, scales) | _context(inputs["context"]))
    arguments: dict[str, Any] = {
        "today": today,
        "rate_prior": model.rate_prior,
        "scored": OK if model.standing == "approved" else UNCALIBRATED,
    }
    found: dict[str, pa.Table] = {}
    for name, table in _STEPS.items():
        text = statement(name)
        used = {key: value for key, value in arguments.items() if f"${key}" in text}
        con.execute(f"create or replace temp table {table} as {text}", used)
        found[table] = con.sql(f"from {table}").to_arrow_table()
    return found


def deviations(
    con: duckdb.DuckDBPyConnection,
    days: Iterable[date],
    inputs: Mapping[str, pa.Table],
    *,
    model: Model,
    scales: Scales,
) -> pa.Table:
    """z of local dates against these spreads, for ``baseline`` where others were in force.

    Parameters
    ----------
    inputs : mapping of str to Table
        ``patient_day`` (36 days up to each of `days`) and ``context``.

    Returns
    -------
    Table
        patient, local_date, metric, z; a row per patient, date and metric.
    """
    _place(
        con, {"patient_day": inputs["patient_day"]} | _parameters(model, scales) | _context(inputs["context"])
    )
    text = f"select patient, $today::date as local_date, metric, z from ({statement('select_deviation')})"
    return pa.concat_tables([con.sql(text, params={"today": day}).to_arrow_table() for day in days])


def _place(con: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table]) -> None:
    """Make temporary tables of rows, over those of the same names."""
    for name, rows in tables.items():
        con.register(f"{name}_rows", rows)
        con.execute(f"create or replace temp table {name} as from {name}_rows")
        con.unregister(f"{name}_rows")


def _parameters(model: Model, scales: Scales) -> dict[str, pa.Table]:
    """Model and scales as tables."""
    return {
        "metric_scale": pa.table(
            {
                "metric": list(METRICS),
                "stream": pa.array([one.stream for one in METRICS.values()], pa.string()),
                "is_ln": [one.scale == "ln" for one in METRICS.values()],
                "scale_floor": [one.scale_floor for one in METRICS.values()],
                "within_sd": [scales.within_sd[name] for name in METRICS],
            }
        ),
        "weight": pa.table(
            {
                "feature": list(FEATURES),
                "weight": [model.weights.get(name, 0.0) for name in FEATURES],
                "slope": [model.slopes.get(name, 0.0) for name in FEATURES],
            }
        ),
        "intercept": pa.table(
            {"ahead": list(range(1, len(model.intercepts) + 1)), "intercept": list(model.intercepts)}
        ),
    }


def _context(context: pa.Table) -> dict[str, pa.Table]:
    """Suspensions, and the days from which a stream is another segment."""
    suspended: list[dict[str, Any]] = []
    breaks: list[dict[str, Any]] = []
    for note in context.to_pylist():
        if note["about"] in SUSPENDS:
            last = note["last_date"] or date.max
            suspended.append({**_of(note), "first_date": note["first_date"], "last_date": last})
        for stream in SEGMENTS.get(note["about"], ()):
            breaks.append({**_of(note), "stream": stream, "break_date": note["first_date"]})
            if note["about"] == "medication" and note["last_date"] is not None:
                breaks.append({**_of(note), "stream": stream, "break_date": _after(note["last_date"])})
    days = [("first_date", pa.date32()), ("last_date", pa.date32())]
    return {
        "suspension": pa.Table.from_pylist(suspended, pa.schema([("patient", pa.string()), *days])),
        "segment_break": pa.Table.from_pylist(
            breaks,
            pa.schema([("patient", pa.string()), ("stream", pa.string()), ("break_date", pa.date32())]),
        ),
    }


def _of(note: dict[str, Any]) -> dict[str, Any]:
    return {"patient": note["patient"]}


def _after(day: date) -> date:
    return date.fromordinal(day.toordinal() + 1)
