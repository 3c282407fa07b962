"""`flarecast risk`: explain a published number, check it in SQL, show how far calibration is.

Everything is read from the published snapshot: what is explained is what was shown.
"""

import json
import math
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from analytics.metrics import METRICS
from analytics.risk import set_based
from analytics.risk.languages import render
from analytics.risk.model import SHIPPED, Model
from analytics.risk.panel import COLUMNS, make_panel
from analytics.risk.past import FEATURE_DAYS
from analytics.risk.scales import DEFAULT_SCALES, LEAST_DAYS, LEAST_PATIENTS, Scales, estimate_scales
from analytics.risk.status import OK, SCORED
from analytics.risk.type_one import HIGHEST, NOMINAL, type_one
from analytics.store import query
from devices.clock import system_clock
from devices.errors import IdError
from devices.ids import check_id
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.patient_context import patient_context
from flows.night.shadow import shadow_of
from flows.night.site_scales import keep_scales, scales_of
from flows.risk.model_registry import ModelRegistry

#: How far two readings of one night may lie apart.
TOLERANCE: Final = 1e-6
#: Days of deviations before its own that a night looks at.
_Z_DAYS: Final = FEATURE_DAYS - 1
_CHECKED: Final = ("risk_3d", "risk_7d", "deviation", "onset_count", "onsets_expected")


def run_explain(home: Path, patient: str, day: date, *, language: str, as_json: bool) -> int:
    """Print why a patient's day was judged as it was; returns the exit code."""
    try:
        check_id(patient, "patient")
    except IdError as error:
        raise UserError(str(error)) from None
    where = f"where patient = '{patient}' and local_date = date '{day}'"
    current = Clinic(home).current
    found = query.run(current, f"from flare_risk {where}").to_pylist()
    if not found:
        raise UserError(f"nothing published of {patient} on {day}")
    (risk,) = found
    # the day itself may have been frozen away; its scores stand
    days = query.run(current, f"from patient_day {where}").to_pylist()
    metrics = query.run(current, f"from baseline {where} order by metric").to_pylist()
    weeks = query.run(current, f"from trend {where}").to_pylist()
    if as_json:
        print(
            json.dumps({"risk": risk, "patient_day": days, "baseline": metrics, "trend": weeks}, default=str)
        )
        return 0
    console = Console(soft_wrap=True, highlight=False)
    _print(console, risk, days[0] if days else {}, metrics, language)
    for one in weeks:
        console.print(f"4 weeks    {_adherence(one)}")
        console.print(render(one["message"], json.loads(one["parameters"]), language))
    return 0


def _print(
    console: Console, risk: dict[str, Any], day: dict[str, Any], metrics: list[dict[str, Any]], language: str
) -> None:
    sentence = render(risk["message"], json.loads(risk["parameters"]), language)
    console.print(f"[bold]{risk['patient']}, {risk['local_date']}: {risk['status']}[/bold]")
    console.print(sentence)
    console.print(f"why        {risk['reason']}")
    if risk["label_quality"]:
        console.print(f"label      {risk['label_quality']}")
    console.print(f"alert      {_alert(risk)}")
    console.print(f"similar    {_similar(risk)}")
    console.print(_contributions(json.loads(risk["contributions"])))
    flares = "flare" if risk["onset_count"] == 1 else "flares"
    console.print(
        f"history    {risk['onset_count']:.0f} {flares} known, {risk['onsets_expected']:.1f} expected"
    )
    console.print(_completeness(metrics))
    worn = day.get("wear_min")
    console.print(f"worn       {'not known' if worn is None else f'{worn / 60:.1f} h'} on that day")
    console.print(f"monitored  {risk['monitored_days']} days; {risk['cell_count']} of 9 recent values")
    console.print(f"model      {risk['model_version']}; spreads {metrics[0]['scales_version']}")


def _adherence(trend: dict[str, Any]) -> str:
    gap = f"; longest gap {trend['longest_gap_days']} days" if trend["longest_gap_days"] else ""
    reason = f" ({trend['gap_reason']})" if trend["gap_reason"] else ""
    return (
        f"worn {trend['wear_day_count']} days, {trend['night_count']} nights, "
        f"pain said on {trend['report_day_count']} days, "
        f"practised {trend['practice_day_count']} of the last 7{gap}{reason}"
    )


def _alert(risk: dict[str, Any]) -> str:
    if risk["status"] not in SCORED:
        return "none: not scored"
    if risk["status"] == OK:
        load = risk["alert_load_7d"]
        if load is None:
            return "none: heart values of a new device lead"
        return f"within a budget of {load:.1f} alerts per 100 patients and week and more"
    last = f"; last one {risk['last_alert_date']}" if risk["last_alert_date"] else ""
    return f"{'would alert' if risk['would_alert'] else 'would not alert'} (shadow: not sent){last}"


def _similar(risk: dict[str, Any]) -> str:
    if risk["reference_per_100"] is None:
        return "not known: nobody has counted what followed on such days at this site"
    followed = f"about {risk['reference_per_100']} were followed by a flare"
    return f"of 100 similar days {followed} ({risk['reference_day_count']} days counted)"


def _contributions(parts: dict[str, float]) -> Table:
    table = Table(
        "feature", "log-odds", "odds", title="Contributions (associated, not causes)", title_justify="left"
    )
    for name, value in sorted(parts.items(), key=lambda pair: -abs(pair[1])):
        said = "own history" if name == "own_history" else render(name, {})
        table.add_row(f"{said} [dim]{name}[/dim]", f"{value:+.2f}", f"x {math.exp(value):.2f}")
    return table


def _completeness(metrics: list[dict[str, Any]]) -> Table:
    table = Table("metric", "z", "baseline days", "why not", title="Completeness", title_justify="left")
    for row in metrics:
        z = "" if row["z"] is None else f"{row['z']:+.2f}"
        table.add_row(METRICS[row["metric"]].name, z, str(row["baseline_count"]), row["quality"] or "")
    return table


def run_check(home: Path, day: date, *, as_json: bool) -> int:
    """Compute a published night in SQL and compare; returns 1 when they differ."""
    clinic = Clinic(home)

    def rows(table: str, first: int, last: int) -> pa.Table:
        low, high = day - timedelta(days=first), day - timedelta(days=last)
        return query.run(
            clinic.current, f"from {table} where local_date between date '{low}' and date '{high}'"
        )

    published = rows("flare_risk", 0, 0)
    if not published.num_rows:
        raise UserError(f"nothing published of {day}")
    before = rows("flare_risk", 1, 1)
    published = _following(published, before)
    if not published.num_rows:
        raise UserError(
            f"the night before {day} is not published, and this one knows more than it: check the next"
        )
    inputs = {
        "patient_day": rows("patient_day", 48, 0),
        "baseline": rows("baseline", _Z_DAYS, 1),
        "before": before,
        "context": patient_context(clinic),
    }
    with duckdb.connect() as con:
        model, scales = _in_force(clinic, published, inputs["before"])
        inputs["baseline"] = _against(con, day, inputs, model, scales)
        try:
            found = set_based.night(con, day, inputs, model=model, scales=scales)
        except duckdb.BinderException as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"the night was published by another version ({reason}): run it again") from None
    worst, words = _difference(published, found["risk"])
    answer = {"date": str(day), "patients": published.num_rows, "largest_difference": worst, "where": words}
    print(json.dumps(answer) if as_json else f"{published.num_rows} patients, largest difference {worst:.1e}")
    if words and not as_json:
        print(f"{words}: were notes or earlier nights changed since? run the night again")
    return int(worst > TOLERANCE)


def _following(published: pa.Table, before: pa.Table) -> pa.Table:
    """Rows of whoever has one of the night before, or began on this one: others took in their whole past."""
    known = set(before["patient"].to_pylist())
    rows = zip(published["patient"].to_pylist(), published["monitored_days"].to_pylist(), strict=True)
    return published.filter(pa.array([patient in known or days <= 1 for patient, days in rows], pa.bool_()))


def _in_force(clinic: Clinic, published: pa.Table, before: pa.Table) -> tuple[Model, Scales]:
    """Model and spreads of a published night; whether it could alert then is told by its rows."""
    versions = set(published["model_version"].to_pylist())
    earlier = set(before["model_version"].to_pylist()) - versions
    if len(versions) > 1 or earlier:
        said = ", ".join(sorted(versions | earlier))
        raise UserError(f"this night and the one before were scored by {said}: check the next night")
    (version,) = versions
    if version == SHIPPED.version:
        return SHIPPED, scales_of(clinic, SHIPPED.scales_version)
    own = ModelRegistry(clinic.home, system_clock).read(version)
    standing = "approved" if OK in published["status"].to_pylist() else "fitted"
    return replace(own.model, standing=standing), own.scales


def _against(
    con: duckdb.DuckDBPyConnection, day: date, inputs: dict[str, pa.Table], model: Model, scales: Scales
) -> pa.Table:
    """z of the days before by the spreads in force: some were published by others, or not at all."""
    known = inputs["baseline"].filter(pc.equal(inputs["baseline"]["scales_version"], scales.version))  # pyright: ignore
    known = known.select(["patient", "local_date", "metric", "z"])

    def cells(table: pa.Table) -> set[tuple[str, date]]:
        return set(zip(table["patient"].to_pylist(), table["local_date"].to_pylist(), strict=True))

    lacking = {at for _, at in cells(inputs["patient_day"]) - cells(known) if at < day}
    days = sorted(at for at in lacking if at >= day - timedelta(days=_Z_DAYS))
    if not days:
        return known
    own = known.filter(pc.invert(pc.is_in(known["local_date"], pa.array(days))))  # pyright: ignore
    anew = set_based.deviations(con, days, inputs, model=model, scales=scales).cast(own.schema)
    return pa.concat_tables([own, anew])


def _difference(published: pa.Table, found: pa.Table) -> tuple[float, str | None]:
    """Largest difference of any number (infinite where one has no value), and where if it is too large."""
    theirs = {row["patient"]: row for row in found.to_pylist()}
    worst, words = 0.0, None
    for row in published.to_pylist():
        other = theirs.get(row["patient"], {})
        for name in ("status", *_CHECKED):
            one, two = row[name], other.get(name)
            if one == two:
                continue
            far = math.inf if isinstance(one, str) or one is None or two is None else abs(one - two)
            if far > worst:
                worst = far
                words = f"{row['patient']}: {name} {one}, in SQL {two}" if far > TOLERANCE else words
    return worst, words


def run_progress(home: Path, *, as_json: bool) -> int:
    """Print how far the site is on the way to a model of its own; returns the exit code."""
    found = shadow_of(Clinic(home).current)
    if found is None:
        raise UserError("nothing has been scored yet")
    print(json.dumps(found.to_json()) if as_json else "\n".join([f"{found.today}:", *found.words()]))
    return 0


def run_scales(home: Path, version: str, *, as_json: bool) -> int:
    """Estimate the within-person spreads from the published days and keep them; returns the exit code."""
    clinic = Clinic(home)
    names = ", ".join(COLUMNS)
    days = query.run(clinic.current, f"select {names} from patient_day")
    if not days.num_rows:
        raise UserError("no days are published yet")
    newest = max(days["local_date"].to_pylist())
    found = estimate_scales(make_panel(days, newest, patient_context(clinic)), version)
    if not any(found.patients.values()):
        raise UserError(f"too few people: {LEAST_PATIENTS} with {LEAST_DAYS} days of one device are needed")
    path = keep_scales(clinic, found)
    if as_json:
        print(found.to_json())
        return 0
    table = Table("metric", "spread", "shipped", "people")
    for name, spread in found.within_sd.items():
        people = str(found.patients[name]) if found.patients[name] else "too few: as shipped"
        table.add_row(METRICS[name].name, f"{spread:.3g}", f"{DEFAULT_SCALES.within_sd[name]:.3g}", people)
    Console(soft_wrap=True, highlight=False).print(table, f"kept in {path}; in force where a model names it")
    return 0


def run_type_one(series: int) -> int:
    """Print type-I errors of trend and level shift; returns 1 when one is above what is promised."""
    if series < 100:
        raise UserError(f"{series} series are too few: 100 or more")
    table = Table("lag-1", "missing", "trend", "level shift", title=f"SYNTHETIC, nominal {NOMINAL}")
    highest = 0.0
    for row in type_one(series):
        highest = max(highest, row.trend, row.shift)
        numbers = (f"{row.autocorrelation:.1f}", f"{row.missing:.0%}", f"{row.trend:.3f}", f"{row.shift:.3f}")
        table.add_row(*numbers)
    Console().print(table, f"highest {highest:.3f}, promised at most {HIGHEST}")
    return int(highest > HIGHEST)
