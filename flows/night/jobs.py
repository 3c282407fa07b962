"""The work of a night as pure functions: (dates, share, inputs) -> files of derived tables.

A job carries everything it needs and knows no clinic, no ledger and no scheduler: it runs
by itself, in a thread, or on another machine that sees the same files. Computing the same
job twice gives the same files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analytics.features import days as features
from analytics.features import four_weeks
from analytics.features.four_weeks import WorkDays
from analytics.risk import scores
from analytics.risk.context import CONTEXT
from analytics.risk.model import SHIPPED, Model
from analytics.risk.panel import COLUMNS
from analytics.risk.scales import DEFAULT_SCALES, Scales
from analytics.store import warehouse
from analytics.store.partitions import Partition
from analytics.store.parts import Part, PartFiles, days_between, of_patients
from flows.night.problems import in_one_line, is_of_files

FEATURE_TABLES = ("hrv_window", "night", "patient_day", "day_clock")
SCORE_TABLES = ("rhythm", "baseline", "trend", "flare_risk")

Tables = dict[str, pa.Table]


@dataclass(frozen=True)
class FeatureJob:
    """Features of the dates `first` to `last` of one share.

    `files` are the lake files that touch them, `enrolment` the rows of the share's patients;
    `kept` are the files that held before, from which the patients `aside` keep what they had.
    """

    derived: Path
    first: date
    last: date
    partition: Partition
    files: Mapping[str, tuple[Path, ...]] = field(repr=False)
    enrolment: pa.Table = field(repr=False)
    kept: tuple[Part, ...] = field(default=(), repr=False)
    aside: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True)
class ScoreJob:
    """Rhythm, baseline, trend and flare risk of the dates `first` to `last` of one share.

    `history` are the files of `patient_day` of the look-back and of those dates, `past` all those
    before it, read for whoever has no scores of the day before (`before`); `clock_days` and
    `nights` are files of the last four weeks. `context` and `working` are what somebody wrote
    down about the share's patients.
    """

    derived: Path
    first: date
    last: date
    partition: Partition
    history: tuple[Part, ...] = field(repr=False)
    past: tuple[Part, ...] = field(default=(), repr=False)
    before: tuple[Part, ...] = field(default=(), repr=False)
    clock_days: tuple[Part, ...] = field(default=(), repr=False)
    nights: tuple[Part, ...] = field(default=(), repr=False)
    context: pa.Table = field(default_factory=CONTEXT.empty_table, repr=False)
    working: Mapping[str, Sequence[WorkDays]] = field(default_factory=dict[str, Any], repr=False)
    model: Model = SHIPPED
    scales: Scales = DEFAULT_SCALES
    kept: tuple[Part, ...] = field(default=(), repr=False)
    aside: frozenset[str] = field(default=frozenset(), repr=False)


Job = FeatureJob | ScoreJob


@dataclass(frozen=True)
class Finished:
    """The files of a job, and the patients that had to be set aside with the reason."""

    parts: tuple[Part, ...]
    aside: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def compute_features(job: FeatureJob) -> Finished:
    """Tables hrv_window, night, patient_day and day_clock of a share.

    Raises
    ------
    DuckDBError, OSError
        When a file cannot be read or written; whatever is wrong with one patient's values
        sets that patient aside.
    """
    patients = sorted(set(job.enrolment["patient"].to_pylist()))
    with warehouse.connect(job.files, job.enrolment, threads=1) as con:

        def compute(some: list[str]) -> Tables:
            return features.compute(con, job.first, job.last, patients=some)

        return _finish(job, patients, compute)


def compute_scores(job: ScoreJob) -> Finished:
    """Tables rhythm, baseline, trend and flare_risk of a share.

    Raises
    ------
    PartError, OSError
        When a file of the look-back is damaged, or nothing can be written.
    """
    files = PartFiles(job.derived)
    history = job.partition.of(files.read("patient_day", job.history, COLUMNS))
    before = job.partition.of(files.read("flare_risk", job.before))
    within = history.filter(pc.field("local_date") >= job.first)
    patients = sorted(set(within["patient"].to_pylist()) - job.aside)
    clock_days, nights = (
        job.partition.of(files.read(name, parts))
        for name, parts in (("day_clock", job.clock_days), ("night", job.nights))
    )
    going_on = _going_on(before, job.model)
    if not going_on.issuperset(patients) and job.past:
        past = job.partition.of(files.read("patient_day", job.past, COLUMNS))
        history = pa.concat_tables([of_patients(past, going_on, are_wanted=False), history])

    def compute(some: list[str]) -> Tables:
        follow = [patient for patient in some if patient in going_on]
        anew = [patient for patient in some if patient not in going_on]
        shares = [(follow, of_patients(before, set(follow)))] if follow else []
        found = [
            scores.compute(
                of_patients(history, set(own)),
                job.first,
                job.last,
                context=job.context,
                model=job.model,
                scales=job.scales,
                before=rows,
            )
            for own, rows in [*shares, *([(anew, None)] if anew or not follow else [])]
        ]
        weeks = of_patients(clock_days, set(some)), of_patients(nights, set(some))
        rhythm = four_weeks.compute(*weeks, job.working, job.first, job.last)
        joined = {name: pa.concat_tables([tables[name] for tables in found]) for name in found[0]}
        return {"rhythm": rhythm, **joined}

    return _finish(job, patients, compute)


def _going_on(before: pa.Table, model: Model) -> set[str]:
    """Who takes over from the scores of the day before: a night takes over from no other model."""
    versions = set(before["model_version"].to_pylist())
    return set(before["patient"].to_pylist()) if versions <= {model.version} else set()


def _finish(job: Job, patients: list[str], compute: Callable[[list[str]], Tables]) -> Finished:
    tables, faults = _each_that_can(patients, compute)
    aside = set(job.aside) | {patient for patient, _ in faults}
    files = PartFiles(job.derived)
    if aside:
        names = FEATURE_TABLES if isinstance(job, FeatureJob) else SCORE_TABLES
        tables = {name: _with_kept(job, files, name, tables.get(name), aside) for name in names}
    elif not tables:
        tables = compute([])
    return Finished(tuple(files.write(tables, job.first, job.last, job.partition)), tuple(faults))


def _each_that_can(
    patients: list[str], compute: Callable[[list[str]], Tables]
) -> tuple[Tables, list[tuple[str, str]]]:
    """Tables of everybody for whom they can be computed; the others by halving, each with its reason."""
    if not patients:
        return {}, []
    try:
        return compute(patients), []
    except Exception as error:
        if is_of_files(error):
            raise
        if len(patients) == 1:
            return {}, [(patients[0], in_one_line(error))]
    half = len(patients) // 2
    (one, faults), (other, more) = (
        _each_that_can(some, compute) for some in (patients[:half], patients[half:])
    )
    names = [*one, *(name for name in other if name not in one)]
    tables = {name: pa.concat_tables([own[name] for own in (one, other) if name in own]) for name in names}
    return tables, [*faults, *more]


def _with_kept(job: Job, files: PartFiles, name: str, fresh: pa.Table | None, aside: set[str]) -> pa.Table:
    """Rows computed now, and for those set aside the rows they had."""
    held = files.read(name, [part for part in job.kept if part.table == name])
    held = of_patients(held, aside)
    within = pc.is_in(held["local_date"], pa.array(days_between(job.first, job.last), pa.date32()))  # pyright: ignore
    held = held.filter(within)
    return held if fresh is None else pa.concat_tables([fresh.cast(held.schema), held])
