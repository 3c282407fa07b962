"""Parts of a site that a version must fit too, and what of the data is there: for gates and model card."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from analytics.risk.alert_measures import caught_onsets
from analytics.risk.arrays import Floats, Marks
from analytics.risk.cohort import Cohort
from analytics.risk.labels import SOURCES

#: Youngest age of a band, and its words.
AGE_BANDS: Final = ((0, "age under 45"), (45, "age 45 to 64"), (65, "age 65 and over"))
WORK: Final[tuple[str, ...]] = ("works Monday to Friday", "works at weekends too", "works on no fixed days")
#: By the heart values, which differ most between wearables.
WEARABLES: Final[tuple[str, ...]] = (
    "heart sensor ecg",
    "heart sensor ppg",
    "heart sensor unknown",
    "wearable without heart values",
    "no wearable",
)
_RANK: Final[dict[str, int]] = dict(zip(WEARABLES, (2, 2, 2, 1, 0), strict=True))
_WEEKDAYS: Final = frozenset(range(5))


@dataclass(frozen=True)
class Traits:
    """What is written down of a patient; None: nothing.

    Parameters
    ----------
    work : set of int, optional
        Days of the week on which the patient works (0 is Monday); empty: on no fixed ones.
    """

    birth_year: int | None = None
    sex: str | None = None
    work: frozenset[int] | None = None


def wearables_of(patient_days: pa.Table) -> dict[str, str]:
    """Patient -> what the heart values came from on most days, or that there were none, or no wearable."""
    count: defaultdict[str, Counter[str]] = defaultdict(Counter)
    rows = patient_days.group_by(["patient", "device_segment"]).aggregate([("local_date", "count")])
    for row in rows.to_pylist():
        count[row["patient"]][_wearable(row["device_segment"] or "")] += row["local_date_count"]
    # a few nights with a sensor say more of a patient than many days without one
    return {
        patient: max(days, key=lambda words: (_RANK[words], days[words], words))
        for patient, days in count.items()
    }


def _wearable(segment: str) -> str:
    """What a day's segment, such as ``steps=band-1 hrv=strap-1/ecg``, says of the wearable."""
    heart = [part for part in segment.split() if part.startswith("hrv=")]
    if not heart:
        return WEARABLES[3] if segment else WEARABLES[4]
    words = f"heart sensor {heart[0].rpartition('/')[2]}"
    return words if words in WEARABLES else WEARABLES[2]


def subgroups(
    cohort: Cohort, traits: Mapping[str, Traits], wearables: Mapping[str, str] | None = None
) -> dict[str, Marks]:
    """Name -> patients (patients,): age on the last day, sex, work days, wearable, thirds.

    Thirds are of usual pain and of answering. Who has nothing written down is in no group of age, sex or
    work, and who never gave a score in none of pain.

    Parameters
    ----------
    wearables : mapping of str to str, optional
        Patient -> one of :data:`WEARABLES` (:func:`wearables_of`).
    """
    panel = cohort.panel
    own = [traits.get(patient, Traits()) for patient in panel.patients]
    year = panel.day(panel.shape[1] - 1).year
    age = np.array([np.nan if one.birth_year is None else year - one.birth_year for one in own])
    found: dict[str, Marks] = {}
    edges = [*(youngest for youngest, _ in AGE_BANDS), np.inf]
    for number, (youngest, words) in enumerate(AGE_BANDS):
        with np.errstate(invalid="ignore"):
            found[words] = (age >= youngest) & (age < edges[number + 1])
    for sex in ("female", "male", "other"):
        found[f"sex {sex}"] = np.array([one.sex == sex for one in own], np.bool_)
    for words in WORK:
        found[words] = np.array([one.work is not None and _work(one.work) == words for one in own], np.bool_)
    for words in WEARABLES if wearables is not None else ():
        found[words] = np.array([(wearables or {}).get(one) == words for one in panel.patients], np.bool_)
    nrs = panel.values["nrs"]
    with np.errstate(invalid="ignore"):
        usual = np.nansum(nrs, axis=1) / (~np.isnan(nrs)).sum(axis=1)
    answered = cohort.is_observed.sum(axis=1) / np.maximum(panel.is_present.sum(axis=1), 1)
    return found | _thirds("pain", usual) | _thirds("answers", answered)


def _work(days: frozenset[int]) -> str:
    if not days:
        return WORK[2]
    return WORK[0] if days <= _WEEKDAYS else WORK[1]


def _thirds(name: str, value: Floats) -> dict[str, Marks]:
    known = value[~np.isnan(value)]
    low, high = np.quantile(known, [1 / 3, 2 / 3]) if len(known) else (np.nan, np.nan)
    # many of one value are neither few nor many
    least = value <= low if low < high else value < low
    return {
        f"{name}, lowest third": least,
        f"{name}, middle third": ~least & (value <= high),
        f"{name}, highest third": value > high,
    }


def completeness(cohort: Cohort, first: int, last: int) -> dict[str, float]:
    """What -> share of the patient-days of the columns `first` to `last` that have it; NaN of none."""
    panel, part = cohort.panel, slice(first, last + 1)
    there = panel.is_present[:, part]
    marks = {name: ~np.isnan(values) for name, values in panel.values.items()}
    marks |= {
        "patient said something": cohort.is_observed,
        "enough data": cohort.is_sufficient,
        "scoring suspended": panel.is_suspended(),
        "scored": cohort.is_scored,
    }
    count = there.sum()
    return {
        name: float((own[:, part] & there).sum() / count) if count else np.nan for name, own in marks.items()
    }


def onsets_by_source(cohort: Cohort, alerts: Marks, first: int, last: int) -> dict[str, tuple[int, int]]:
    """What the onset was known by -> onsets that an alert could have met, and those with one.

    Both on the columns `first` to `last`, within seven days before (:func:`caught_onsets`).
    """
    inside = np.zeros(alerts.shape, np.bool_)
    inside[:, first : last + 1] = True
    caught, onsets, _ = caught_onsets(
        cohort.labels.is_onset, alerts & inside, cohort.is_scored & inside, last
    )
    return {
        name: (int((onsets & own).sum()), int((caught & own).sum()))
        for code, name in enumerate(SOURCES)
        if code
        for own in [cohort.labels.source == code]
    }
