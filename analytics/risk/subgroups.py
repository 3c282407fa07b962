"""Parts of a site that a version must fit too, and what of the data is there: for gates and model card."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from analytics.risk.alert_measures import caught_onsets
from analytics.risk.arrays import Floats, Marks
from analytics.risk.cohort import Cohort
from analytics.risk.labels import SOURCES

#: Youngest age of a band, and its words.
AGE_BANDS: Final = ((0, "age under 45"), (45, "age 45 to 64"), (65, "age 65 and over"))


@dataclass(frozen=True)
class Traits:
    """What is written down of a patient; None: nothing."""

    birth_year: int | None = None
    sex: str | None = None


def subgroups(cohort: Cohort, traits: Mapping[str, Traits]) -> dict[str, Marks]:
    """Name -> patients (patients,): age on the last day, sex, thirds of usual pain and of answering.

    Who has nothing written down is in no group of age or sex.
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
    nrs = panel.values["nrs"]
    scores = np.maximum((~np.isnan(nrs)).sum(axis=1), 1)
    answered = cohort.is_observed.sum(axis=1) / np.maximum(panel.is_present.sum(axis=1), 1)
    return found | _thirds("pain", np.nansum(nrs, axis=1) / scores) | _thirds("answers", answered)


def _thirds(name: str, value: Floats) -> dict[str, Marks]:
    low, high = np.quantile(value, [1 / 3, 2 / 3])
    return {
        f"{name}, lowest third": value <= low,
        f"{name}, middle third": (value > low) & (value <= high),
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
