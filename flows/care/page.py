"""The care team's worklist page, filled from the derived tables and the alert journal."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from alerts.console.worklist import DayPoint, MetricSeries, PageFacts, RowAlert, WorklistRow, render
from alerts.engine import alert as alerts
from alerts.engine.journal import ActiveAlert, Journal
from analytics.metrics import METRICS
from devices.clock import Clock
from devices.durable import replace_file
from flows.care.rules_in_force import rules_in_force
from flows.care.silences import silences_in_force
from flows.care.words import standing
from flows.clinic import Clinic
from flows.night.shadow import shadow_of

#: Six weeks: the personal baseline (28 days, one week back) and the days it is held against.
PAGE_DAYS = 42
SHOWN = ("steps", "tst_min", "rmssd_ms")
#: Patient -> date -> row.
Days = dict[str, dict[date, dict[str, Any]]]


def write_page(clinic: Clinic, day: date, *, clock: Clock, is_synthetic: bool) -> Path:
    """Write the worklist of the night `day` beside the snapshots; returns its path."""
    with Journal(clinic.alert_store, clock) as journal:
        facts = facts_of(clinic, journal, day, clock)
    html = render(worklist_rows(clinic, day, clock), facts=facts, is_synthetic=is_synthetic)
    path = clinic.published / "worklist.html"
    replace_file(path, html)
    return path


def facts_of(clinic: Clinic, journal: Journal, day: date, clock: Clock) -> PageFacts:
    """What stands above the list."""
    shadow = shadow_of(clinic.current)
    words = " ".join(shadow.words()) if shadow else ""
    return PageFacts(day, clock(), shadow=words, silences=silences_in_force(journal))


def worklist_rows(clinic: Clinic, day: date, clock: Clock) -> list[WorklistRow]:
    """One row per patient of the derived tables on that date."""
    first = day - timedelta(days=PAGE_DAYS - 1)
    days = _by_patient(clinic.derived.read("patient_day", first, day).to_pylist())
    baselines = {
        metric: _by_patient(
            row for row in clinic.derived.read("baseline", first, day).to_pylist() if row["metric"] == metric
        )
        for metric in SHOWN
    }
    with Journal(clinic.alert_store, clock) as journal:
        active = journal.active()
        with journal.transaction() as con:
            standings = {one.alert: standing(one) for one in alerts.select(con, alerts.IS_ACTIVE)}
        titles = {rule.id: rule.title for rule in rules_in_force(clinic, journal).rule}
    dates = [first + timedelta(days=n) for n in range(PAGE_DAYS)]
    rows: list[WorklistRow] = []
    for risk in clinic.derived.read("flare_risk", day, day).to_pylist():
        patient = risk["patient"]
        own = days.get(patient, {})
        today = own.get(day, {})
        row = WorklistRow(
            patient=patient,
            zone=today.get("zone") or "UTC",
            status=risk["status"],
            sentence=risk["sentence"],
            metrics=[
                patient_series(metric, dates, own, baselines[metric].get(patient, {})) for metric in SHOWN
            ],
            deviation=risk["deviation"],
            alerts=[_alert(alert, titles, standings, day) for alert in active if alert.patient == patient],
            nrs=today.get("nrs"),
            wear_min=today.get("wear_min"),
            no_data_reason=today.get("quality"),
        )
        rows.append(row)
    return rows


def patient_series(
    metric: str, dates: Sequence[date], days: Mapping[date, Any], baseline: Mapping[date, Any]
) -> MetricSeries:
    """A metric of one patient over the dates, beside the own baseline of the last of them."""
    points = [
        DayPoint(when, days.get(when, {}).get(metric), baseline.get(when, {}).get("z")) for when in dates
    ]
    center = baseline.get(dates[-1], {}).get("center")
    is_log = METRICS[metric].scale == "ln"
    usual = None if center is None else math.exp(center) if is_log else center
    return MetricSeries(metric, points, usual)


def _alert(
    alert: ActiveAlert, titles: Mapping[str, str], standings: Mapping[str, str], day: date
) -> RowAlert:
    said = standings.get(alert.alert, "open")
    return RowAlert(
        reference=alert.alert,
        title=titles.get(alert.rule, alert.rule),
        severity=alert.severity,
        status=alert.status,
        local_date=alert.local_date or day,
        is_delivered=alert.is_delivered,
        standing="" if said == "open" else said,
    )


def _by_patient(rows: Iterable[dict[str, Any]]) -> Days:
    found: Days = {}
    for row in rows:
        found.setdefault(row["patient"], {})[row["local_date"]] = row
    return found
