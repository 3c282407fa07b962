"""The flows of `flarecast serve`: each of them one call of a function that knows no Prefect."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from prefect import flow
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.concurrency.sync import concurrency
from prefect.runtime import flow_run
from prefect.states import Completed

from devices.clock import system_clock
from flows import settings
from flows.care.channels import from_settings
from flows.clinic import Clinic
from flows.lake.command import run_compact
from flows.night import nightly
from flows.night.flow import TASK_RUNNER, Tasks
from flows.night.report import NightReport
from flows.shift import backup
from flows.shift.backfill import backfill
from flows.shift.erase import sweep_pending
from flows.shift.quality_review import EmptyMonthError, month_before, review
from flows.shift.recalibrate import recalibrate
from flows.shift.retention import read_retention, retain
from flows.shift.schedules import night_of

Item = TypeVar("Item")
Result = TypeVar("Result")

#: One of the night shift at a time; `flarecast serve` makes the limit before anything runs.
LIMIT = "flarecast-night-shift"
#: A runner that was killed holds its slot so long.
LEASE_S = 60
RETRIES, RETRY_S = 2, 600


@contextmanager
def alone() -> Generator[None]:
    """The one slot of the night shift; without the limit nothing runs."""
    with concurrency(LIMIT, occupy=1, strict=True, lease_duration=LEASE_S):
        yield


class _ShownTasks(Tasks):
    """Tasks with a bar in Prefect's pages."""

    def each(
        self, name: str, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result | Exception]]:
        """See :class:`flows.night.runner.Runner`."""
        words = f"{name}: shares of the patients"
        bar: Any = create_progress_artifact(0.0, key=f"night-{name}", description=words) if items else None
        for count, one in enumerate(super().each(name, function, items), start=1):
            update_progress_artifact(bar, progress=100 * count / len(items))
            yield one


def scheduled_instant() -> datetime:
    """When this run was to begin, however late it is."""
    found: datetime = flow_run.scheduled_start_time
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@flow(
    name="nightly",
    retries=RETRIES,
    retry_delay_seconds=RETRY_S,
    persist_result=False,
    task_runner=TASK_RUNNER,
)
def nightly_run(home: str, zone: str, night: str | None = None) -> Any:
    """Bring the night of the scheduled date up to date; `night` (ISO date) names another."""
    configured = settings.from_environment()
    day = date.fromisoformat(night) if night else night_of(scheduled_instant(), zone)
    clinic = Clinic(Path(home), None, configured.partitions)
    with alone():
        report = nightly.run(
            clinic,
            day,
            day,
            clock=system_clock,
            channels=from_settings(configured),
            runner=_ShownTasks(),
        )
    show(report)
    return _standing(report, f"night of {day}")


def _standing(report: NightReport, words: str) -> Any:
    if report.problems:
        kept = f"{len(report.problems)} problems; the report in HOME/reports names them"
        return Completed(name="Degraded", message=kept)
    return Completed(message=words)


@flow(name="backfill", persist_result=False, task_runner=TASK_RUNNER)
def backfill_run(home: str, zone: str, first: date, last: date) -> Any:
    """Compute the nights `first` to `last` by today's code and tell nobody."""
    del zone
    with alone():
        report = backfill(
            Clinic(Path(home), None, settings.from_environment().partitions),
            first,
            last,
            clock=system_clock,
            runner=_ShownTasks(),
        )
    show(report)
    return _standing(report, f"nights {first} to {last}")


@flow(name="recalibrate", retries=RETRIES, retry_delay_seconds=RETRY_S, persist_result=False)
def recalibrate_run(home: str, zone: str) -> Any:
    """Whether the active model still holds, and a candidate where there is enough to fit one."""
    del zone
    with alone():
        found = recalibrate(Clinic(Path(home)), clock=system_clock)
    rows = [{"found": words.strip()} for words in found.words()]
    create_table_artifact(rows, key="recalibration", description="The risk model, looked after weekly")
    return Completed(name="Drifted" if found.has_drifted else None, message=found.words()[-1])


@flow(name="quality_review", retries=RETRIES, retry_delay_seconds=RETRY_S, persist_result=False)
def quality_review_run(home: str, zone: str, month: str | None = None) -> Any:
    """The page of the month before the scheduled date; `month` (2026-10) names another."""
    said = month or month_before(scheduled_instant().astimezone(ZoneInfo(zone)).date())
    try:
        with alone():
            page = review(Clinic(Path(home)), said, clock=system_clock)
    except EmptyMonthError as error:
        return Completed(name="Skipped", message=str(error))
    return Completed(message=str(page))


@flow(name="erase", retries=RETRIES, retry_delay_seconds=RETRY_S, persist_result=False)
def erase_run(home: str, zone: str) -> Any:
    """Take out what erased patients' homes sent since; whom it is about is in no parameter."""
    del zone
    with alone():
        counts = sweep_pending(Clinic(Path(home)))
    return Completed(message=f"{sum(counts.values())} rows of erased patients taken out")


@flow(name="compact", retries=RETRIES, retry_delay_seconds=RETRY_S, persist_result=False)
def compact_run(home: str, zone: str) -> Any:
    """Landing files into one file per site and day."""
    del zone
    with alone():
        # replaced files stay as long as snapshots do
        days = max(1, read_retention(Path(home))["snapshots"])
        code = run_compact(Path(home), keep_days=days, as_json=True)
    return Completed(name="Degraded", message="a file cannot be used: `flarecast doctor`") if code else None


@flow(name="retention", retries=RETRIES, retry_delay_seconds=RETRY_S, persist_result=False)
def retention_run(home: str, zone: str) -> None:
    """Delete what is older than the site's settings."""
    del zone
    with alone():
        retain(Clinic(Path(home)), clock=system_clock)


@flow(name="backup", retries=RETRIES, retry_delay_seconds=RETRY_S, persist_result=False)
def backup_run(home: str, zone: str) -> Any:
    """A backup, where a place for it is set."""
    del zone
    target = settings.from_environment().backup
    if target is None:
        return Completed(name="Skipped", message="FLARECAST_BACKUP is not set")
    with alone():
        done = backup.backup(Clinic(Path(home)), target, clock=system_clock)
    return Completed(message=f"{done.files} files, {done.bytes_copied} bytes copied")


def show(report: NightReport) -> None:
    """Summary of a run as a table in Prefect's pages; whom a problem concerns stays at the clinic."""
    facts = {name: value for name, value in report.to_json().items() if name != "problems"}
    rows = [{"what": name, "value": str(value)} for name, value in facts.items()]
    rows += [{"what": f"PROBLEM {one.where}", "value": one.what} for one in report.problems]
    create_table_artifact(rows, key="night-summary", description=f"Nights {report.first} to {report.last}")
