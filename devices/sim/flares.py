"""SYNTHETIC patient-days with known truth, a year of a thousand people in seconds.

What the nights' features would be, without the minutes and beats below them: for fitting and judging the
flare model. Who is who and how a flare comes is assumed in :mod:`devices.sim.flare_course`, what is worn,
said, lost and late in :mod:`devices.sim.flare_life`, what a day measures in :mod:`devices.sim.flare_day`. It
is for development and demonstration: whoever judges a model by it judges it under these assumptions.
"""

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final

import numpy as np
import pyarrow as pa

from devices.sim.flare_course import Course, make_course
from devices.sim.flare_day import day_minutes, measured
from devices.sim.flare_life import make_life
from devices.sim.flare_tables import make_notes, make_people, make_tables
from devices.sim.people import ZONES
from devices.sim.physiology import rng_of

_COURSE, _LIFE, _DAYS = 31, 32, 33  # streams of random numbers


@dataclass(frozen=True)
class Scenario:
    """What is assumed of a cohort beyond the modules' assumptions."""

    name: str = "usual"
    predictable_share: float = 0.7
    has_equal_rates: bool = False
    staggered: int = 60
    #: Days before the end from which the next two hold.
    change_days: int = 60
    missing_logit: float = 0.0
    swap_share: float = 0.0


#: By name. `null`: nothing predicts and everybody has the same rate; `rates`: only people differ.
SCENARIOS: Final = {
    one.name: one
    for one in (
        Scenario(),
        Scenario("null", predictable_share=0.0, has_equal_rates=True),
        Scenario("rates", predictable_share=0.0),
        Scenario("missing", missing_logit=1.2),
        Scenario("swap", swap_share=1.0),
    )
}


@dataclass(frozen=True)
class FlareCohort:
    """A simulated cohort.

    Parameters
    ----------
    days : Table
        A row per person and enrolled date with the columns of patient_day that are simulated, and
        `arrival`, the date on whose night the row is known in full.
    partial : Table
        First, incomplete versions of some rows, with the `arrival` of their own date.
    notes : Table
        patient, about, first_date, last_date, recorded_utc: what was noted of travel, illness, medication.
    people : Table
        patient, age_band, sex, device_model.
    course : Course
        The truth.
    """

    first: date
    patients: list[str]
    days: pa.Table
    partial: pa.Table
    notes: pa.Table
    people: pa.Table
    course: Course = field(repr=False)

    def known_by(self, night: date) -> pa.Table:
        """Rows as the night that ends on `night` could know them: the last version that had arrived."""
        full = self.days.filter(_arrived(self.days, night))
        early = self.partial.filter(_arrived(self.partial, night))
        key = ["patient", "local_date"]
        alone = early.join(full.select(key), key, join_type="left anti").select(full.column_names)
        return pa.concat_tables([full, alone])


def simulate_flares(
    people: int, days: int, *, seed: int, first: date = date(2025, 1, 1), scenario: Scenario | str = "usual"
) -> FlareCohort:
    """Simulate a cohort; the same arguments give the same cohort."""
    own = SCENARIOS[scenario] if isinstance(scenario, str) else scenario
    course = make_course(
        rng_of(seed, _COURSE),
        people,
        days,
        predictable_share=own.predictable_share,
        has_equal_rates=own.has_equal_rates,
    )
    life = make_life(
        rng_of(seed, _LIFE),
        course,
        staggered=own.staggered,
        change=max(0, days - own.change_days),
        missing_logit=own.missing_logit,
        swap_share=own.swap_share,
    )
    rng = rng_of(seed, _DAYS)
    patients = [f"patient-{number:05d}" for number in range(1, people + 1)]
    zone = np.arange(people) % len(ZONES)
    minutes = day_minutes(first, days)[zone]
    values, tapped = measured(rng, course, life, minutes, first)
    rows, partial = make_tables(patients, first, zone, minutes, values, tapped, life)
    notes = make_notes(patients, first, life)
    return FlareCohort(first, patients, rows, partial, notes, make_people(rng, patients), course)


def with_later_arrival(cohort: FlareCohort, days: int) -> FlareCohort:
    """The same cohort, every row of which arrives `days` later than it did."""
    late = (np.asarray(cohort.days["arrival"].cast(pa.int32())) + days).astype(np.int32)
    place = cohort.days.schema.get_field_index("arrival")
    moved = cohort.days.set_column(place, "arrival", pa.array(late).cast(pa.date32()))
    return replace(cohort, days=moved, partial=cohort.partial.slice(0, 0))


def _arrived(rows: pa.Table, night: date) -> pa.Array:
    return pa.array(np.asarray(rows["arrival"].cast(pa.int32())) <= (night - date(1970, 1, 1)).days)
