"""Figures of a month for the quality review: counted per patient, said only of enough of them.

A figure of fewer than five patients, or of all but fewer than five, is not said: whoever knows the
programme would know whom. Groups (sites, rules) that are too small are put together; where even
that is too small nothing is said of groups.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

from alerts.engine.load import wilson
from analytics.store import query

#: Fewest patients a figure is said of.
LEAST: Final = 5
#: A month in which a patient was looked after, as remote monitoring is usually counted.
MONITORED_DAYS: Final = 16
#: Days a patient's beginning is told from, and the fewest pain scores of it and of the month.
FIRST_DAYS: Final = 28
LEAST_SCORES: Final = 7
#: Change of pain that matters to patients (Dworkin 2008, IMMPACT; of PEG Krebs 2009), %.
CHANGE_PCT: Final = 30.0
#: "Very much" and "much improved" on the global impression of change (Guy 1976: 1 is the best of 7).
MUCH_IMPROVED: Final = 2
OTHERS: Final = "others, too few each"

_HAS_DATA: Final = "(is_valid_day or tst_min is not null or nrs is not null)"


@dataclass(frozen=True)
class Person:
    """A patient's month; what no patient has is None.

    Parameters
    ----------
    days, data_days, valid_days, nights, score_days, practice_days : int
        Enrolled dates, and those with anything, worn 10 h, slept, with a pain score, with practice.
    wear_h : float or None
        Mean hours worn on valid days.
    is_new : bool
        The first day with anything lies in the month.
    pain_before, pain : float or None
        Mean pain of the first four weeks and of the month, where both have enough scores.
    steps_before, steps : float or None
        Median steps likewise.
    peg_before, peg : float or None
        First score ever, and the last of the month when there is an earlier one.
    impression : float or None
        Last global impression of change of the month.
    onsets : int
        Flares that began in the month.
    """

    patient: str
    site: str
    days: int
    data_days: int
    valid_days: int
    wear_h: float | None
    nights: int
    score_days: int
    practice_days: int
    is_new: bool
    pain_before: float | None
    pain: float | None
    steps_before: float | None
    steps: float | None
    peg_before: float | None
    peg: float | None
    impression: float | None
    onsets: int


def people_of(current: Path, first: date, last: date) -> list[Person]:
    """Every patient enrolled on a date from `first` to `last`, as the snapshot shows them."""
    rows = query.run(current, _people(first, last)).to_pylist()
    return [Person(**row) for row in rows]


def gaps_of(current: Path, first: date, last: date) -> list[tuple[str, int, int]]:
    """Why days were not valid: (reason, days, patients), those of enough patients, most days first."""
    rows = query.run(
        current,
        # a reason may hold numbers of its own
        f"""select regexp_replace(quality, '[0-9]+', '…', 'g') as reason, count(*) as days,
            count(distinct patient) as patients
        from patient_day
        where quality is not null and local_date between '{first}' and '{last}'
        group by all having patients >= {LEAST} order by days desc, reason limit 6""",
    ).to_pylist()
    return [(row["reason"], row["days"], row["patients"]) for row in rows]


def _people(first: date, last: date) -> str:
    within = f"local_date between '{first}' and '{last}'"
    return f"""
    with begun as (
        select patient, min(local_date) as day from patient_day where {_HAS_DATA} group by all
    ),
    early as (
        select d.patient, avg(d.nrs) as pain, count(d.nrs) as scores, median(d.steps) as steps
        from patient_day d join begun b using (patient)
        where d.local_date < b.day + {FIRST_DAYS} group by all
    ),
    month as (
        select
            patient,
            count(*) as days,
            count(*) filter ({_HAS_DATA}) as data_days,
            count(*) filter (is_valid_day) as valid_days,
            avg(wear_min) filter (is_valid_day) / 60 as wear_h,
            count(tst_min) as nights,
            count(nrs) as score_days,
            count(*) filter (practice_min > 0) as practice_days,
            avg(nrs) as pain,
            median(steps) as steps
        from patient_day where {within} group by all
    ),
    peg as (
        select
            patient,
            first(score order by local_date) as before,
            last(score order by local_date) filter ({within}) as now,
            min(local_date) as day,
            max(local_date) filter ({within}) as now_day
        from pro_scores where instrument = 'peg' and score is not null group by all
    ),
    impression as (
        select patient, last(score order by local_date) as score
        from pro_scores where instrument = 'pgic' and score is not null and {within} group by all
    ),
    onset as (
        select patient, count(distinct last_onset_date) as onsets
        from flare_risk where last_onset_date between '{first}' and '{last}' group by all
    ),
    home as (
        select patient, last(site order by valid_from_utc) as site from enrolment group by all
    )
    select
        m.patient, coalesce(home.site, '') as site, m.days, m.data_days, m.valid_days, m.wear_h, m.nights,
        m.score_days, m.practice_days,
        coalesce(b.day between '{first}' and '{last}', false) as is_new,
        case when has_past and e.scores >= {LEAST_SCORES} and m.score_days >= {LEAST_SCORES}
            then e.pain end as pain_before,
        case when pain_before is not null then m.pain end as pain,
        case when has_past then e.steps end as steps_before,
        case when has_past then m.steps end as steps,
        case when peg.now_day > peg.day then peg.before end as peg_before,
        case when peg.now_day > peg.day then peg.now end as peg,
        i.score as impression,
        coalesce(o.onsets, 0) as onsets
    from (select *, '{first}'::date as first_day from month) m
    left join (select *, day + {FIRST_DAYS} <= '{first}'::date as has_past from begun) b using (patient)
    left join early e using (patient)
    left join peg using (patient)
    left join impression i using (patient)
    left join onset o using (patient)
    left join home using (patient)
    order by m.patient"""


def share(part: int, whole: int, *, has_interval: bool = False) -> str:
    """Share of patients in words; of too few, or of all but too few, no number that tells whom."""
    if whole < LEAST:
        return _few(whole)
    if part < LEAST:
        return f"fewer than {LEAST} of {whole}"
    if whole - part < LEAST:
        return f"all but fewer than {LEAST} of {whole}"
    interval = wilson(part, whole) if has_interval else None
    between = f", 95 % {100 * interval[0]:.0f} to {100 * interval[1]:.0f}" if interval else ""
    return f"{100 * part / whole:.0f} % ({part} of {whole}{between})"


def count(people: int) -> str:
    """Number of patients in words."""
    return f"{people:,}" if people >= LEAST else _few(people)


def middle(values: Iterable[float | None], unit: str, digits: int = 0, *, sign: str = "") -> str:
    """Median over patients who have a value, in words."""
    known = [value for value in values if value is not None]
    if len(known) < LEAST:
        return _few(len(known))
    return f"median {median(known):{sign}.{digits}f} {unit}"


def rate(part: int, whole: int, people: int) -> str:
    """Share of days, where enough patients had them."""
    if people < LEAST or not whole:
        return _few(people)
    return f"{100 * part / whole:.0f} % of {whole:,} days"


def together(groups: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Groups that may be spoken of: the small ones as one, which a sum must not tell apart either.

    Parameters
    ----------
    groups : mapping of str to set of str
        Name -> patients; a patient may be in several.

    Returns
    -------
    dict of str to set of str
        The same, those of fewer than five patients under one name, with the next larger one where
        they are too few even so; empty when that takes in everybody and is too small still.
    """
    order = sorted(groups, key=lambda name: (len(groups[name]), name))
    small = [name for name in order if len(groups[name]) < LEAST]
    if not small:
        return dict(groups)
    large = order[len(small) :]
    merged = set[str]().union(*(groups[name] for name in small))
    while len(merged) < LEAST and large:
        merged |= groups[large.pop(0)]
    if len(merged) < LEAST:
        return {}
    return {name: groups[name] for name in reversed(large)} | {OTHERS: merged}


def change(before: Sequence[float | None], now: Sequence[float | None]) -> list[float]:
    """Change of each patient who has both values, %."""
    pairs = [(a, b) for a, b in zip(before, now, strict=True) if a is not None and b is not None and a > 0]
    return [100 * (b - a) / a for a, b in pairs]


def month_of(text: str) -> tuple[date, date]:
    """First and last date of a month like 2026-10.

    Raises
    ------
    ValueError
        Another text.
    """
    first = date.fromisoformat(f"{text}-01")
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _few(people: int) -> str:
    return "nobody" if people == 0 else f"fewer than {LEAST}"


def plain(people: Sequence[Person]) -> dict[str, Any]:
    """What all of `people` add up to, numbers only."""
    return {
        "days": sum(one.days for one in people),
        "valid_days": sum(one.valid_days for one in people),
        "nights": sum(one.nights for one in people),
        "score_days": sum(one.score_days for one in people),
        "practice_days": sum(one.practice_days for one in people),
        "onsets": sum(one.onsets for one in people),
    }
