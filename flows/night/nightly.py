"""The nightly run: lake -> features -> scores -> alerts -> delivery -> snapshot.

A night depends on its date and its inputs only. Patients are computed in shares; a share, a
patient or a file that fails is named in the report and the rest go on. The ledger says what is
done: a rerun computes nothing, a late file reopens the dates it touches, and a run that was
killed is taken up where it was.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from alerts.delivery.worker import deliver_due
from alerts.engine.journal import Journal
from analytics.errors import PartError
from analytics.store.ledger import Done, Ledger, Seen
from analytics.store.partitions import COUNTS, Partition, partitions
from analytics.store.parts import days_between
from devices.clock import Clock
from flows import settings
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night import inventory
from flows.night import plan as night_plan
from flows.night.jobs import Finished, Job, compute_features, compute_scores
from flows.night.judging import Judge
from flows.night.plan import JUDGED_TABLES, Key, Stock
from flows.night.problems import Problem, in_one_line, is_disk_full, is_of_files
from flows.night.report import NightReport, count_vendor_differences, keep_report, keep_watermark
from flows.night.reserve import Reserve, reserve
from flows.night.runner import Runner, Threads
from flows.night.shared_snapshot import share_at
from flows.night.snapshot import publish_snapshot
from ingest.errors import StoreUnreachableError

#: Damaged files are found when they are read: so often is a run planned anew without them.
ROUNDS = 3

Jobs = Sequence[tuple[Job, Mapping[date, Done]]]


def run(
    clinic: Clinic,
    first: date,
    last: date,
    *,
    clock: Clock,
    patients: Sequence[str] | None = None,
    channels: Sequence[Any] = (),
    runner: Runner | None = None,
    has_alerts: bool = True,
    problems: Iterable[Problem] = (),
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
        Recompute the shares of these, whatever the ledger says.
    channels : sequence
        Where open alerts are delivered; none keeps them in the journal.
    runner : Runner, optional
        How stages are called; threads of this process by default.
    has_alerts : bool
        False computes and publishes and judges nothing, so that nobody can be told.
    problems : iterable of Problem
        What went wrong before, for the report.

    Raises
    ------
    UserError
        Unknown patient, no enrolment file, nobody enrolled, another run at work, or no room at all.
    """
    check_patients(clinic, patients or ())
    with _at_work(clinic) as (ledger, room, of_disk):
        stock = night_plan.take_stock(clinic, ledger)
        if not stock.patients and not stock.aside:
            # a night of nobody would publish an empty snapshot over a good one
            raise UserError(f"{clinic.enrolment_path} enrols nobody")
        report = NightReport(first.isoformat(), last.isoformat(), len(patients or stock.patients))
        report.problems += [*problems, *of_disk, *stock.problems]
        shift = _Shift(clinic, ledger, stock, report, runner or Threads(), room, clock)
        shift.compute(first, last, tuple(patients or ()))
        report.feature_days, report.score_days = (
            len(shift.worked.get(stage, ())) for stage in ("features", "scores")
        )
        if has_alerts:
            shift.judge(first, last, tuple(channels))
            shift.deliver(tuple(channels))
        shift.publish()
        report.nights = count_nights(clinic, first, last, patients)
        days = ledger.parts("patient_day", first, last)
        count_vendor_differences(report, clinic.derived.files, days, patients)
        keep_report(clinic, report, clock)
        keep_watermark(clinic, report, clock)
    return report


@contextmanager
def _at_work(clinic: Clinic) -> Generator[tuple[Ledger, Reserve, list[Problem]]]:
    """Ledger and reserve of a run, and whether the disk is full already: then the reserve is used at once."""
    found: list[Problem] = []
    try:
        with clinic.alone("the night shift"), reserve(clinic.home) as room:
            if room.is_needed():
                room.release()
                words = "the disk is full: computed in the room kept for it, as far as that goes; make room"
                found.append(Problem(f"disk of {clinic.home}", words))
            with clinic.derived.ledger() as ledger:
                yield ledger, room, found
    except Exception as error:
        if is_disk_full(error):
            raise UserError(f"the disk of {clinic.home} is full: make room, then run it again") from error
        raise


def check_patients(clinic: Clinic, patients: Iterable[str]) -> None:
    """Raise :class:`UserError` for a patient nobody has enrolled."""
    unknown = sorted(set(patients) - set(clinic.patients())) if patients else []
    if unknown:
        raise UserError(f"unknown patient {', '.join(unknown)}: not in {clinic.enrolment_path}")


def count_nights(clinic: Clinic, first: date, last: date, patients: Sequence[str] | None) -> int:
    """Patient nights with a sleep window in the range."""
    nights = clinic.derived.read("night", first, last, columns=["patient", "sleep_source"])
    if patients is None:
        return nights.num_rows - nights["sleep_source"].null_count
    rows = zip(nights["patient"].to_pylist(), nights["sleep_source"].to_pylist(), strict=True)
    return sum(source is not None and patient in patients for patient, source in rows)


@dataclass
class _Shift:
    """One run at work."""

    clinic: Clinic
    ledger: Ledger
    stock: Stock
    report: NightReport
    runner: Runner
    room: Reserve
    clock: Clock
    is_full: bool = False
    worked: dict[str, set[date]] = field(default_factory=dict[str, set[date]])

    # -- computing ------------------------------------------------------------------------------

    def compute(self, first: date, last: date, patients: tuple[str, ...]) -> None:
        """Features, then scores; files that turn out damaged are left out and their dates planned anew."""
        self._check_files(last)
        force = self._forced(first, last, patients)
        for number in range(ROUNDS):
            is_last = number == ROUNDS - 1
            jobs = night_plan.feature_jobs(self.clinic, self.ledger, self.stock, first, last, force)
            failed = self._work("features", compute_features, jobs)
            if self._leave_out_damaged(failed) and not is_last:
                continue
            failed += self._score(first, last, force)
            if self._forget_damaged(failed) and not is_last:
                continue
            self._say("features and scores", failed)
            return

    def _forced(self, first: date, last: date, patients: tuple[str, ...]) -> set[Key]:
        """Dates and shares of these patients, however they were or will be cut."""
        return {
            (day, partition)
            for count in (COUNTS if patients else ())
            for partition in partitions(count)
            if any(partition.holds(patient) for patient in patients)
            for day in days_between(first, last)
        }

    def _score(self, first: date, last: date, force: set[Key]) -> list[tuple[Job, Exception]]:
        """Scores of every share, one job of each after the other: a night takes over from the one before."""
        failed: list[tuple[Job, Exception]] = []
        after: dict[Partition, date] = {}
        while jobs := night_plan.score_jobs(
            self.clinic, self.ledger, self.stock, first, last, force=force, after=after
        ):
            lost = self._work("scores", compute_scores, jobs)
            after |= {job.partition: job.last for job, _ in jobs}
            # what follows a night that failed would take over from the wrong one
            after |= {job.partition: last for job, _ in lost}
            failed += lost
        return failed

    def _work(
        self, stage: str, function: Callable[[Any], Finished], jobs: Jobs
    ) -> list[tuple[Job, Exception]]:
        """Do the jobs of a stage; every share is entered when it is done. Returns those that failed."""
        failed: list[tuple[Job, Exception]] = []
        self.worked.setdefault(stage, set()).update(day for _, done in jobs for day in done)
        for number, result in self.runner.each(stage, function, [job for job, _ in jobs]):
            job, done = jobs[number]
            if isinstance(result, Exception):
                failed.append((job, result))
                continue
            try:
                self._enter(stage, job, done, result)
            except Exception as error:  # noqa: BLE001 - what cannot be entered has not been done
                failed.append((job, error))
        return failed

    def _enter(self, stage: str, job: Job, done: Mapping[date, Done], finished: Finished) -> None:
        if finished.aside:
            reasons = sorted({reason for _, reason in finished.aside})
            names = tuple(patient for patient, _ in finished.aside)
            where = f"{stage} of {job.first} to {job.last}"
            self.report.problems.append(Problem(where, "; ".join(reasons), names))
        self.report.written += self.ledger.enter(
            stage,
            {day: Done(one.inputs, one.code, is_whole=not finished.aside) for day, one in done.items()},
            job.partition,
            finished.parts,
            inputs=partial(night_plan.score_inputs, notes=self.stock.notes()) if stage == "scores" else None,
        )

    def _leave_out_damaged(self, failed: list[tuple[Job, Exception]]) -> bool:
        """Read the lake files of jobs that failed; whether one is damaged. It counts as not arrived."""
        suspects: dict[str, Path] = {}
        for job, error in failed:
            if is_of_files(error) and not is_disk_full(error):
                suspects |= {
                    path.relative_to(self.clinic.lake.root).as_posix(): path
                    for own in getattr(job, "files", {}).values()
                    for path in own
                }
        faults = {name: fault for name, path in sorted(suspects.items()) if (fault := inventory.damage(path))}
        for name, fault in faults.items():
            seen = self.stock.seen[name]
            self.stock.seen[name] = Seen(seen.size, seen.first_utc, seen.last_utc, fault)
            self.report.problems.append(night_plan.unreadable(name, fault))
        if faults:
            self.ledger.remember(self.stock.seen)
        return bool(faults)

    def _forget_damaged(self, failed: list[tuple[Job, Exception]]) -> bool:
        """Whether derived files were damaged that can be computed again from the lake."""
        suspects = {
            part
            for job, error in failed
            if isinstance(error, PartError)
            for part in (*job.kept, *getattr(job, "history", ()))
        }
        damaged = sorted(part.path for part in suspects if self.clinic.derived.files.is_damaged(part))
        return sum(self._forget(path, "is damaged") for path in damaged) > 0

    def _check_files(self, last: date) -> None:
        files, held = self.clinic.derived.files, self.ledger.span()
        first = held[0] if held else last
        for name in night_plan.ALL_TABLES:
            for part in self.ledger.parts(name, first, last):
                if not files.is_there(part):
                    self._forget(part.path, "is missing or cut")

    def _forget(self, path: str, what: str) -> bool:
        day = date.fromisoformat(path.split("date=")[1][:10])
        if day < night_plan.frozen_before(self.ledger):
            words = f"{what}, and its raw observations are gone by retention: restore it from a backup"
            self.report.problems.append(Problem(f"derived file {path}", words))
            return False
        self.report.problems.append(Problem(f"derived file {path}", f"{what}: computed again"))
        self.ledger.forget(path)
        # the same content has the same name: what is in its place would be taken for it
        (self.clinic.derived.root / path).unlink(missing_ok=True)
        return True

    def _say(self, stage: str, failed: list[tuple[Job, Exception]]) -> None:
        for job, error in failed:
            if is_disk_full(error):
                self.is_full = True
                what = "the disk is full: make room, the next run computes this share"
            else:
                what = f"{in_one_line(error)}: not computed, the next run tries again"
            self.report.problems.append(
                Problem(f"{stage}, share {job.partition}, {job.first} to {job.last}", what)
            )
        if self.is_full:
            self.room.release()

    # -- telling --------------------------------------------------------------------------------

    def judge(self, first: date, last: date, channels: tuple[Any, ...]) -> None:
        """Apply the rules to nights that changed, in order; after each tell what it opened."""
        nights = self._unjudged(first, last)
        begin = night_plan.judged_from(self.ledger)
        gone = [day for day in nights if day < begin]
        if gone:
            words = f"not judged: what the rules saw before {begin} is gone by retention"
            self.report.problems.append(Problem(f"nights {gone[0]} to {gone[-1]}", words))
        for day in gone:
            # said once, until more of it arrives
            self.ledger.mark_judged(day, nights.pop(day))
        if not nights:
            return
        with Journal(self.clinic.alert_store, self.clock) as journal:
            judge = Judge(self.clinic, journal, self.clock)
            for day, inputs in nights.items():
                tables = {name: self._readable(name, day) for name in JUDGED_TABLES}
                night = self.runner.once("alerts", partial(judge.night, day, tables))
                self.report.alerts_opened += night.opened
                self.report.alerts_resolved += night.resolved
                self.ledger.mark_judged(day, inputs)
                if channels:
                    self._count(deliver_due(journal, channels, self.clock))

    def _unjudged(self, first: date, last: date) -> dict[date, str]:
        """Nights asked for, or judged before, whose tables are not those they were judged by."""
        judged = self.ledger.judged()
        asked = set(days_between(first, last))
        earliest = min([first, *judged])
        scored = {part.day for part in self.ledger.parts("flare_risk", earliest, last)}
        found: dict[date, str] = {}
        for day in sorted(day for day in scored if day in asked or day in judged):
            inputs = night_plan.judged_inputs(self.ledger, day)
            if judged.get(day) != inputs:
                found[day] = inputs
        return found

    def _readable(self, name: str, day: date) -> Any:
        """Rows of a table of one night; a share whose file is damaged is left out and named."""
        files, parts = self.clinic.derived.files, self.ledger.parts(name, day, day)
        try:
            return files.read(name, parts)
        except PartError as error:
            self.report.problems.append(
                Problem(f"derived file {error.path}", f"{error.reason}: its share is not judged for {day}")
            )
            return files.read(name, [part for part in parts if part.path != error.path])

    def deliver(self, channels: tuple[Any, ...]) -> None:
        """Send what is still due from earlier runs."""
        if channels and self.clinic.has_alert_store():
            with Journal(self.clinic.alert_store, self.clock) as journal:
                self._count(deliver_due(journal, channels, self.clock))

    def _count(self, outcome: Any) -> None:
        self.report.alerts_delivered += outcome.sent
        self.report.alerts_failed += outcome.failed + outcome.dead

    # -- showing --------------------------------------------------------------------------------

    def publish(self) -> None:
        """Publish what holds now, unless the current snapshot shows it already."""
        shown = partial(publish_snapshot, self.clinic, self.ledger, self.stock, self.clock)
        published = self.runner.once("publish", shown)
        self.report.snapshot = str(self.clinic.current.resolve())
        self.report.written += published
        place = settings.snapshot_place()
        if place is not None:
            try:
                self.runner.once("share", partial(share_at, self.clinic, place))
            except (StoreUnreachableError, UserError) as error:
                words = f"{in_one_line(error)}: the snapshot stands here, the next run uploads it"
                self.report.problems.append(Problem(place.url, words))
