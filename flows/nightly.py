"""The nightly run: lake -> features -> scores -> alerts -> delivery -> snapshot.

Every stage is a plain function of the clinic's folder and a plan, so that the
same code runs by itself, in a test and as a Prefect task. A night depends on its
date and its inputs only; a stage whose inputs did not change does nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from alerts.delivery.worker import deliver_due
from alerts.engine.journal import Journal
from alerts.engine.night import run_night
from alerts.engine.suggestions import attach
from alerts.rules.pack import load_pack
from analytics.features import days as features
from analytics.features import four_weeks
from analytics.risk import scores
from analytics.store import publish, warehouse
from analytics.store.derived import of_patients
from analytics.tables import TABLES
from devices.clock import Clock
from devices.observations import KINDS
from flows import inventory, work_days
from flows.clinic import Clinic
from flows.contraindications import contraindications, site_pathways
from flows.errors import UserError
from flows.inventory import Manifest

Result = TypeVar("Result")
#: How a stage is called: directly, or as a Prefect task of that name.
Stage = Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]


@dataclass(frozen=True)
class Plan:
    """What one run has to do.

    `feature_days` and `score_days` are the dates whose inputs changed since they
    were last computed; the fingerprints are stored when their stage is done.
    """

    first: date
    last: date
    patients: tuple[str, ...] | None
    feature_days: tuple[date, ...]
    score_days: tuple[date, ...]
    feature_fingerprints: dict[date, str] = field(repr=False)
    score_fingerprints: dict[date, str] = field(repr=False)


@dataclass
class NightReport:
    """What a run did, as printed."""

    first: str
    last: str
    patients: int
    nights: int = 0
    feature_days: int = 0
    score_days: int = 0
    written: int = 0
    alerts_opened: int = 0
    alerts_resolved: int = 0
    alerts_delivered: int = 0
    alerts_failed: int = 0
    snapshot: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return asdict(self)


def call_directly(name: str, stage: Callable[..., Result], args: tuple[Any, ...]) -> Result:
    """Run a stage as the plain function it is."""
    del name
    return stage(*args)


def run(
    clinic: Clinic,
    first: date,
    last: date,
    *,
    clock: Clock,
    patients: Sequence[str] | None = None,
    channels: Sequence[Any] = (),
    stage: Stage = call_directly,
) -> NightReport:
    """Bring the nights `first` to `last` up to date.

    Parameters
    ----------
    clinic : Clinic
        Folder of the installation.
    first, last : date
        Local dates of the nights, inclusive.
    clock : Clock
        Stamps snapshots and journal entries; no computed value depends on it.
    patients : sequence of str, optional
        Recompute these only, whatever the manifest says; alerts are left to the
        next whole run.
    channels : sequence
        Where open alerts are delivered; none keeps them in the journal.
    stage : callable
        How stages are called.

    Raises
    ------
    UserError
        Unknown patient, or no enrolment file.
    """
    plan = stage("plan", make_plan, (clinic, first, last, tuple(patients) if patients else None))
    known = clinic.patients()
    report = NightReport(first.isoformat(), last.isoformat(), len(plan.patients or known))
    report.feature_days, report.score_days = len(plan.feature_days), len(plan.score_days)
    report.written += stage("features", make_features, (clinic, plan))
    report.written += stage("scores", make_scores, (clinic, plan))
    ways = tuple(channels)
    if plan.patients is None and plan.score_days:
        told = stage("alerts", raise_alerts, (clinic, plan, ways, clock))
        report.alerts_opened, report.alerts_resolved = told.opened, told.resolved
        report.alerts_delivered, report.alerts_failed = told.sent, told.failed
    sent, failed = stage("deliver", deliver, (clinic, ways, clock))
    report.alerts_delivered += sent
    report.alerts_failed += failed
    changed = report.written or report.alerts_opened or report.alerts_resolved or report.alerts_delivered
    if changed or not clinic.current.exists():
        report.snapshot = str(stage("publish", publish_snapshot, (clinic, clock)))
        report.written += 1
    else:
        report.snapshot = str(clinic.current.resolve())
    report.nights = count_nights(clinic, first, last, plan.patients)
    return report


def check_patients(clinic: Clinic, patients: Iterable[str]) -> None:
    """Raise :class:`UserError` for a patient nobody has enrolled."""
    unknown = sorted(set(patients) - set(clinic.patients()))
    if unknown:
        raise UserError(f"unknown patient {', '.join(unknown)}: not in {clinic.enrolment_path}")


def make_plan(clinic: Clinic, first: date, last: date, patients: tuple[str, ...] | None) -> Plan:
    """Compare the fingerprints of what is there with what was done."""
    check_patients(clinic, patients or ())
    manifest = Manifest(clinic.manifest_path)
    spans = manifest.spans(lake_files(clinic))
    manifest.save()
    start = min(inventory.first_day(spans) or first, first)
    history = [start + timedelta(days=n) for n in range((last - start).days + 1)]
    digest = inventory.file_digest(clinic.enrolment_path)
    prints = inventory.feature_fingerprints(spans, digest, history)
    chained = inventory.score_fingerprints(prints, work_days.fingerprints(clinic, history))
    wanted = [day for day in history if day >= first]
    stale = [day for day in history if not manifest.is_done("features", day, prints[day])]
    unscored = [day for day in wanted if not manifest.is_done("scores", day, chained[day])]
    if patients is not None:
        # named patients are recomputed in any case; the manifest speaks of whole nights
        stale, unscored = sorted({*stale, *wanted}), wanted
    return Plan(first, last, patients, tuple(stale), tuple(unscored), prints, chained)


def make_features(clinic: Clinic, plan: Plan) -> int:
    """Features of every stale day; returns files written."""
    if not plan.feature_days:
        return 0
    written = 0
    with warehouse.connect(lake_files(clinic), clinic.enrolment().table) as con:
        for first, last in _ranges(plan.feature_days):
            tables = features.compute(con, first, last, patients=plan.patients)
            written += clinic.derived.replace(tables, first, last, patients=plan.patients)
    if plan.patients is None:
        _mark(clinic, "features", {day: plan.feature_fingerprints[day] for day in plan.feature_days})
    return written


def make_scores(clinic: Clinic, plan: Plan) -> int:
    """Rhythm, baseline, trend and flare risk of every unscored day; returns files written."""
    if not plan.score_days:
        return 0
    history = clinic.derived.read("patient_day", min(plan.score_fingerprints), plan.last)
    if plan.patients is not None:
        history = of_patients(history, plan.patients)
    working = work_days.by_patient(clinic)
    written = 0
    for first, last in _ranges(plan.score_days):
        tables = scores.compute(history, first, last)
        tables["rhythm"] = _rhythm(clinic, plan, working, first, last)
        written += clinic.derived.replace(tables, first, last, patients=plan.patients)
    if plan.patients is None:
        _mark(clinic, "scores", {day: plan.score_fingerprints[day] for day in plan.score_days})
    return written


def _rhythm(clinic: Clinic, plan: Plan, working: work_days.ByPatient, first: date, last: date) -> pa.Table:
    since = first - timedelta(days=four_weeks.DAYS - 1)
    read = [clinic.derived.read(name, since, last) for name in ("day_clock", "night")]
    if plan.patients is not None:
        read = [of_patients(rows, plan.patients) for rows in read]
    return four_weeks.compute(*read, working, first, last)


@dataclass
class Told:
    """Alerts opened and resolved, messages sent and failed."""

    opened: int = 0
    resolved: int = 0
    sent: int = 0
    failed: int = 0


def raise_alerts(clinic: Clinic, plan: Plan, channels: tuple[Any, ...], clock: Clock) -> Told:
    """Judge the scored nights in order; after each tell what it opened, as that night would have."""
    told = Told()
    with Journal(clinic.journal_path, clock) as journal:
        pack, pathways = load_pack(), site_pathways(clinic)
        known = contraindications(clinic, clock())
        for day in plan.score_days:
            tables = {
                name: clinic.derived.read(name, day, day)
                for name in ("patient_day", "baseline", "flare_risk")
            }
            with journal.transaction():
                night = run_night(journal, pack, day, tables)
                attach(journal, pathways, lambda patient: known.get(patient, {}), clock())
            told.opened += night.opened
            told.resolved += night.resolved
            if channels:
                outcome = deliver_due(journal, channels, clock)
                told.sent += outcome.sent
                told.failed += outcome.failed + outcome.dead
    return told


def deliver(clinic: Clinic, channels: tuple[Any, ...], clock: Clock) -> tuple[int, int]:
    """Send what is still due from earlier runs; returns messages sent and failed."""
    if not channels or not clinic.journal_path.exists():
        return 0, 0
    with Journal(clinic.journal_path, clock) as journal:
        outcome = deliver_due(journal, channels, clock)
    return outcome.sent, outcome.failed + outcome.dead


def publish_snapshot(clinic: Clinic, clock: Clock) -> Path:
    """Publish all derived tables and the alert journal as one read-only snapshot."""
    tables = {name: _read_all(clinic, name) for name in TABLES}
    with Journal(clinic.journal_path, clock) as journal:
        tables["alerts"] = journal.to_table()
    snapshot = publish.publish(
        clinic.published,
        tables,
        lake_files(clinic),
        clock=clock,
        enrolment=clinic.enrolment().table,
        is_synthetic=clinic.is_synthetic,
    )
    return snapshot.resolve()


def lake_files(clinic: Clinic) -> dict[str, list[Path]]:
    """Kind -> its Parquet files in the lake."""
    return {kind: clinic.lake.files(kind) for kind in KINDS}


def count_nights(clinic: Clinic, first: date, last: date, patients: tuple[str, ...] | None) -> int:
    """Patient nights with a sleep window in the range."""
    nights = clinic.derived.read("night", first, last)
    rows = zip(nights["patient"].to_pylist(), nights["sleep_source"].to_pylist(), strict=True)
    return sum(source is not None and (patients is None or patient in patients) for patient, source in rows)


def _read_all(clinic: Clinic, name: str) -> pa.Table:
    days = [date.fromisoformat(path.stem.removeprefix("date=")) for path in clinic.derived.files(name)]
    return clinic.derived.read(name, days[0], days[-1]) if days else TABLES[name].empty_table()


def _mark(clinic: Clinic, stage: str, fingerprints: dict[date, str]) -> None:
    manifest = Manifest(clinic.manifest_path)
    manifest.mark(stage, fingerprints)
    manifest.save()


def _ranges(days: Iterable[date]) -> list[tuple[date, date]]:
    """Runs of consecutive dates as (first, last)."""
    runs: list[tuple[date, date]] = []
    for day in sorted(days):
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs
