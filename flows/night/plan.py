"""What is to be computed: which dates of which shares, of which inputs, by comparison with the ledger."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa

from analytics.errors import ScoringError
from analytics.features import four_weeks
from analytics.features.instruments import read_t_scores
from analytics.store.ledger import Done, Ledger, Seen
from analytics.store.partitions import Partition, by_partition, count_for, partitions
from analytics.store.parts import Part, days_between
from devices.clock import system_clock
from devices.observations import KINDS
from flows.clinic import Clinic
from flows.night import inventory, work_days
from flows.night.homes import Homes
from flows.night.inventory import Inputs, Notes
from flows.night.jobs import FEATURE_TABLES, SCORE_TABLES, FeatureJob, ScoreJob
from flows.night.patient_context import FOREVER, context_of
from flows.night.problems import Problem
from flows.risk.model_registry import ModelRegistry
from ingest.errors import EnrolmentError
from ingest.lake.enrolment import Cells, read_enrolment_leniently
from ingest.lake.erased import ErasedRegister
from ingest.lake.records import read_records

#: Dates of patient-days that scores read where they take over from the night before.
LOOK_BACK: Final = 140
#: Dates before its own that a rhythm is made of.
WEEKS: Final = four_weeks.DAYS - 1
_LOOKS_BACK: Final = {"patient_day": LOOK_BACK, "day_clock": WEEKS, "night": WEEKS}
#: Tables the rules read.
JUDGED_TABLES: Final = ("patient_day", "baseline", "flare_risk", "trend")
ALL_TABLES: Final = (*FEATURE_TABLES, *SCORE_TABLES)
#: Dates of one job: what a kill costs, and what memory holds.
JOB_DAYS: Final = 31
#: Before it the raw observations may be gone: features of those dates stay what they are.
FROZEN_BEFORE: Final = "features_frozen_before"
JUDGED_FROM: Final = "judged_from"

Key = tuple[date, Partition]


@dataclass
class Stock:
    """What a run found when it began: lake files, enrolment, and who had to be set aside."""

    files: dict[str, list[Path]]
    seen: dict[str, Seen]
    rows: list[Cells] = field(repr=False)
    enrolment: pa.Table = field(repr=False)
    aside: frozenset[str] = field(repr=False)
    context: pa.Table = field(repr=False)
    working: work_days.ByPatient = field(repr=False)
    problems: list[Problem]
    t_scores: pa.Table | None = field(default=None, repr=False)

    @property
    def patients(self) -> set[str]:
        """Everybody enrolled, without those set aside."""
        return set(self.enrolment["patient"].to_pylist())

    def notes(self) -> Notes:
        """What is written down about patients and bears on scores."""
        of_context = [(row["patient"], row["first_date"], repr(row)) for row in self.context.to_pylist()]
        of_work = [(name, one.first, repr(one)) for name, own in self.working.items() for one in own]
        return Notes([*of_context, *of_work])


def take_stock(clinic: Clinic, ledger: Ledger) -> Stock:
    """Look at the lake and the enrolment; what cannot be read is a problem, not the end."""
    files = {kind: clinic.lake.files(kind) for kind in KINDS}
    seen = inventory.take_stock(clinic.lake.root, files, ledger.seen())
    ledger.remember(seen)
    enrolment, rows = read_enrolment_leniently(clinic.enrolment_path)
    problems = [unreadable(name, one.fault) for name, one in sorted(seen.items()) if one.fault]
    wrong = {cells.patient: cells.mistake for cells in rows if cells.mistake}
    problems += [
        Problem("enrolment", f"{_without(mistake, patient)}: set aside until it is corrected", (patient,))
        for patient, mistake in sorted(wrong.items())
    ]
    problems += _back(clinic, {cells.patient for cells in rows})
    records = read_records(clinic.records_path) if clinic.records_path.exists() else []
    context, working = context_of(records, Homes(enrolment.rows), FOREVER), work_days.by_patient(clinic)
    t_scores = None
    if clinic.t_scores_path.exists():
        try:
            t_scores = read_t_scores(clinic.t_scores_path)
        except (ScoringError, OSError, UnicodeDecodeError) as error:
            problems.append(Problem("T-scores", f"{error}: its forms are not scored until it is corrected"))
    return Stock(files, seen, rows, enrolment.table, frozenset(wrong), context, working, problems, t_scores)


def _back(clinic: Clinic, patients: Collection[str]) -> list[Problem]:
    """Patients who were erased and are enrolled: by hand, or by a backup that was older than the erasure."""
    try:
        back = ErasedRegister(clinic.home).back_among(patients)
    except EnrolmentError as error:
        return [Problem("enrolment", str(error))]
    return [
        Problem(
            "enrolment",
            f"was erased ({reference}) and is enrolled: `flarecast erase` again; is it meant, "
            "`flarecast enrol import --again-after-erasure` of the rows",
            (patient,),
        )
        for patient, reference in back.items()
    ]


def unreadable(name: str, fault: str) -> Problem:
    """A lake file that cannot be read."""
    words = f"cannot be read ({fault}): it counts as not arrived; restore it, and its dates are reopened"
    return Problem(f"lake file {name}", words)


def frozen_before(ledger: Ledger) -> date:
    """Dates before it keep their features: retention may have taken their raw observations."""
    return date.fromisoformat(ledger.fact(FROZEN_BEFORE) or "0001-01-01")


def judged_from(ledger: Ledger) -> date:
    """Nights before it are not judged any more: retention may have taken the readings before them."""
    return date.fromisoformat(ledger.fact(JUDGED_FROM) or "0001-01-01")


def _without(text: str | None, patient: str) -> str:
    return (text or "").replace(patient, "a patient")


def feature_jobs(
    clinic: Clinic, ledger: Ledger, stock: Stock, first: date, last: date, force: Collection[Key] = ()
) -> list[tuple[FeatureJob, dict[date, Done]]]:
    """Jobs for every date and share whose inputs changed, with what is to be entered when they are done.

    Dates `first` to `last` are also computed anew by newer code; older ones only where their
    inputs changed. Those in `force` are computed in any case.
    """
    held = ledger.span()
    # what is looked back on is computed where it never was, as far as the lake reaches
    begin = inventory.first_day(stock.seen, stock.rows) or first
    earliest = min(first, begin, held[0] if held else first)
    inputs = Inputs(stock.seen, stock.rows, earliest, last)
    done = ledger.done("features", earliest, last)
    counts = ledger.counts(earliest, last)
    usual = clinic.partitions or count_for(len(stock.patients))
    code = inventory.code_version("features")
    frozen = frozen_before(ledger)
    people = stock.patients | stock.aside
    shares = {count: by_partition(people, count) for count in {usual, *counts.values()}}
    wanted: dict[Partition, dict[date, Done]] = {}
    for day in days_between(earliest, last):
        count = counts.get(day, usual)
        if day < frozen and counts.get(day):
            continue
        is_asked = day >= first
        for partition in partitions(count):
            before = done.get((day, partition))
            if before is None and partition not in shares[count]:
                continue
            now = Done(inputs.of(day, partition), code)
            if (day, partition) in force or _is_stale(before, now, is_asked=is_asked):
                wanted.setdefault(partition, {})[day] = now
    return [
        (_feature_job(clinic, ledger, stock, partition, run), {day: days[day] for day in run})
        for partition, days in sorted(wanted.items())
        for run in ranges(days)
    ]


def _is_stale(before: Done | None, now: Done, *, is_asked: bool) -> bool:
    if before is None or before.inputs != now.inputs or not before.is_whole:
        return True
    return is_asked and before.code != now.code


def _feature_job(
    clinic: Clinic, ledger: Ledger, stock: Stock, partition: Partition, days: list[date]
) -> FeatureJob:
    own = frozenset(patient for patient in stock.aside if partition.holds(patient))
    kept = [p for name in FEATURE_TABLES for p in ledger.parts(name, days[0], days[-1], partition)]
    return FeatureJob(
        derived=clinic.derived.root,
        first=days[0],
        last=days[-1],
        partition=partition,
        files=touching(clinic.lake.root, stock, days[0], days[-1]),
        enrolment=partition.of(stock.enrolment),
        kept=tuple(kept) if own else (),
        aside=own,
    )


def touching(root: Path, stock: Stock, first: date, last: date) -> dict[str, tuple[Path, ...]]:
    """Readable lake files by kind whose rows can change a value of these dates."""
    found: dict[str, tuple[Path, ...]] = {}
    for kind, paths in stock.files.items():
        own: list[Path] = []
        for path in paths:
            seen = stock.seen[path.relative_to(root).as_posix()]
            if seen.fault is None:
                low, high = inventory.days_touched(seen)
                if low <= last and high >= first:
                    own.append(path)
        found[kind] = tuple(own)
    return found


def score_jobs(
    clinic: Clinic,
    ledger: Ledger,
    stock: Stock,
    first: date,
    last: date,
    *,
    force: Collection[Key] = (),
    after: Mapping[Partition, date] | None = None,
) -> list[tuple[ScoreJob, dict[date, Done]]]:
    """The next job of every share that has dates to score: asked for or scored before, and changed.

    A night takes over from the night before: what follows a changed one in its share is scored
    again, and a share has one job at a time: of dates later than those in `after`.
    """
    held = ledger.span()
    if held is None:
        return []
    counts = ledger.counts(held[0], last)
    done = ledger.done("scores", held[0], last)
    past = _Past(ledger, held[0], last, stock.notes())
    jobs: list[tuple[ScoreJob, dict[date, Done]]] = []
    for count in sorted(set(counts.values())):
        for partition in partitions(count):
            begin = (after or {}).get(partition, date.min)
            own = [day for day in counts if counts[day] == count and day > begin]
            asked = {day for day in own if first <= day <= last}
            days = _to_score(past, partition, own, asked, done, force)
            if days:
                run = next(ranges(days))
                entry = Done("", inventory.code_version("scores"))
                jobs.append(
                    (_score_job(clinic, ledger, stock, past, partition, run), dict.fromkeys(run, entry))
                )
    return jobs


def _to_score(
    past: "_Past",
    partition: Partition,
    days: list[date],
    asked: set[date],
    done: Mapping[Key, Done],
    force: Collection[Key],
) -> list[date]:
    """Dates of a share from its first changed one on."""
    code = inventory.code_version("scores")
    found: list[date] = []
    for day in sorted(days):
        before = done.get((day, partition))
        if (before is None and day not in asked) or not past.has_features(partition, day):
            continue
        now = Done(past.fingerprint(partition, day), code)
        is_forced = (day, partition) in force
        if found or is_forced or _is_stale(before, now, is_asked=day in asked):
            found.append(day)
    return found


def score_inputs(
    ledger: Ledger, partition: Partition, days: Iterable[date], *, notes: Notes
) -> dict[date, str]:
    """Fingerprints of scored dates, once their files hold."""
    own = sorted(days)
    past = _Past(ledger, own[0] - timedelta(days=LOOK_BACK), own[-1], notes)
    return {day: past.fingerprint(partition, day) for day in own}


def judged_inputs(ledger: Ledger, day: date) -> str:
    """Fingerprint of the tables that the rules read of a night."""
    parts = [part.path for name in JUDGED_TABLES for part in ledger.parts(name, day, day)]
    return inventory.digest(sorted(parts))


class _Past:
    """What scores of a date and share are made of, by the ledger."""

    def __init__(self, ledger: Ledger, first: date, last: date, notes: Notes) -> None:
        names = ("patient_day", "day_clock", "night", "flare_risk")
        self._parts = {name: ledger.parts(name, first, last) for name in names}
        self._shares: dict[tuple[str, Partition], dict[date, list[Part]]] = {}
        self._notes = notes

    def of(self, name: str, partition: Partition, first: date, last: date) -> tuple[Part, ...]:
        """Files of a table for a share, of these dates."""
        days = self._of_share(name, partition)
        if (last - first).days < len(days):
            within = days_between(first, last)
        else:
            within = sorted(day for day in days if first <= day <= last)
        return tuple(part for day in within for part in days.get(day, ()))

    def has_features(self, partition: Partition, day: date) -> bool:
        """Whether there is anything to score."""
        return day in self._of_share("patient_day", partition)

    def fingerprint(self, partition: Partition, day: date) -> str:
        """Fingerprint of the scores of a date."""
        back = {name: day - timedelta(days=days) for name, days in _LOOKS_BACK.items()}
        parts = [part for name, first in back.items() for part in self.of(name, partition, first, day)]
        yesterday = day - timedelta(days=1)
        parts += self.of("flare_risk", partition, yesterday, yesterday)
        return inventory.score_fingerprint(parts, self._notes.of(day, partition))

    def _of_share(self, name: str, partition: Partition) -> dict[date, list[Part]]:
        key = name, partition
        if key not in self._shares:
            days: dict[date, list[Part]] = {}
            for part in self._parts[name]:
                if part.partition.overlaps(partition):
                    days.setdefault(part.day, []).append(part)
            self._shares[key] = days
        return self._shares[key]


def _score_job(
    clinic: Clinic, ledger: Ledger, stock: Stock, past: _Past, partition: Partition, days: list[date]
) -> ScoreJob:
    first, last = days[0], days[-1]
    start, yesterday = first - timedelta(days=LOOK_BACK), first - timedelta(days=1)
    own = frozenset(patient for patient in stock.aside if partition.holds(patient))
    kept = [part for name in SCORE_TABLES for part in ledger.parts(name, first, last, partition)]
    model, scales = ModelRegistry(clinic.home, system_clock).active()
    return ScoreJob(
        clinic.derived.root,
        first,
        last,
        partition,
        history=past.of("patient_day", partition, start, last),
        past=past.of("patient_day", partition, date.min, start - timedelta(days=1)),
        before=past.of("flare_risk", partition, yesterday, yesterday),
        clock_days=past.of("day_clock", partition, first - timedelta(days=WEEKS), last),
        nights=past.of("night", partition, first - timedelta(days=WEEKS), last),
        context=partition.of(stock.context),
        working={name: own for name, own in stock.working.items() if partition.holds(name)},
        model=model,
        scales=scales,
        kept=tuple(kept) if own else (),
        aside=own,
    )


def ranges(days: Iterable[date]) -> Iterator[list[date]]:
    """Runs of consecutive dates, each of as many as a job may have."""
    run: list[date] = []
    for day in sorted(days):
        if run and (day - run[-1] != timedelta(days=1) or len(run) == JOB_DAYS):
            yield run
            run = []
        run.append(day)
    if run:
        yield run
