"""SYNTHETIC history of one person: what was true, and what the devices observed of it.

``simulate(person, first, last, seed=...)`` covers whole local dates. `last` is
the last complete one ("yesterday" of whoever looks): nothing of the night that
begins on its evening is observed. A date owns the night that ends on it, so the
history begins on the evening before `first`.

Same seed, same bytes, whatever the range asked for and whoever was simulated
before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from devices.clock import HOUR, MINUTE, SECOND, at_local, day_bounds, night_bounds
from devices.observations import (
    Battery,
    FlareReport,
    Observation,
    RrInterval,
    SleepStage,
    StepCount,
)
from devices.sim import cohort_days as days
from devices.sim.answers import given_answer
from devices.sim.cohort_days import Answers, NightPlan, Worn
from devices.sim.cohort_path import Course, LatentDay
from devices.sim.people import Person
from devices.sim.physiology import Counts, beats, rng_of

SOURCE = "synthetic/1"
#: The ring keeps quarter hours of steps and whole minutes of sleep; the band minutes and half-minutes.
BAND_PERIOD_S, RING_PERIOD_S = 60, 900
BAND_EPOCH_S, RING_EPOCH_S = 30, 60
_QUARTER_MIN = RING_PERIOD_S // 60
_BEATS = 9  # stream of random numbers

BandKind = Literal["band", "ring"]
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class DayTruth:
    """What was true on one local date (synthetic), observed or not; kept for tests and evaluation."""

    latent: LatentDay
    night: NightPlan  # the night that ends on this date
    day_start_utc: int
    minutes: int  # 1,380, 1,440 or 1,500
    worn_minutes: int  # with the band on
    steps: int  # walked, worn or not
    answers: Answers

    @property
    def is_flare(self) -> bool:
        """True while the (latent) flare is on."""
        return bool(self.latent.flare)

    @property
    def worn_h(self) -> float:
        """Hours with the band on."""
        return self.worn_minutes / 60


@dataclass(frozen=True)
class RingDay:
    """What a ring's memory holds of one local date."""

    day: date
    start_utc: int  # local midnight
    slots: list[int | None]  # steps per quarter hour: 92, 96 or 100; None where not worn
    #: Onset and (stage code, minutes) of the night that ends on the date; None when not worn.
    sleep: tuple[int, list[tuple[int, int]]] | None


def simulate(person: Person, first: date, last: date, *, seed: int) -> "PersonRecord":
    """Simulate one person on the local dates `first` to `last`, both included.

    Raises
    ------
    ValueError
        When `last` comes before `first`.
    """
    if last < first:
        raise ValueError(f"{last} comes before {first}")
    return PersonRecord(person, first, last, seed=seed)


class PersonRecord:
    """Truth and observations of one synthetic person."""

    def __init__(self, person: Person, first: date, last: date, *, seed: int) -> None:
        self.person = person
        self.first = first
        self.last = last
        self.zone = ZoneInfo(person.zone)
        self._seed = seed
        self._course = Course(person, seed=seed)
        self._nights: dict[date, NightPlan] = {}
        self.truth: dict[date, DayTruth] = {day: self._truth(day) for day in _dates(first, last)}

    def observations(
        self, first: date | None = None, last: date | None = None, *, band: BandKind = "band"
    ) -> Iterator[Observation]:
        """Observations of the local dates `first` to `last` in order of their start.

        With ``band="ring"`` steps come in quarter hours and sleep in whole
        minutes, as a ring that holds :meth:`ring_days` would tell them.
        """
        waiting: list[Observation] = []
        for day in self._range(first, last):
            waiting.extend(self._of_day(day, band))
            waiting.sort(key=_start)
            # the next date owns nothing before noon of this one, when its night may begin
            settled, _ = night_bounds(day + _ONE_DAY, self.zone)
            ready = sum(observation.start_utc < settled for observation in waiting)
            yield from waiting[:ready]
            del waiting[:ready]
        yield from waiting

    def ring_days(self, first: date | None = None, last: date | None = None) -> list[RingDay]:
        """The same steps and sleep as a ring would keep them, one entry per local date."""
        return [self._ring_day(day) for day in self._range(first, last)]

    def night_rr(self, day: date) -> tuple[int, Counts] | None:
        """Start (UTC) and RR intervals (ms) of the night that ends on `day`; None without a strap."""
        night = self._night(day)
        if not night.has_strap:
            return None
        stages = days.night_stages(self.person, day, night, seed=self._seed)
        rng = rng_of(self._seed, _BEATS, self.person.number, day.toordinal())
        rr = beats(
            rng,
            days.strap_stages(night, stages),
            rr_ms=night.rr_ms,
            rmssd_ms=night.rmssd_ms,
            breath_hz=self.person.breath_hz,
        )
        return night.strap_start_utc, rr

    def _range(self, first: date | None, last: date | None) -> list[date]:
        start, end = first or self.first, last or self.last
        if start < self.first or end > self.last:
            raise ValueError(f"{start} to {end} is outside {self.first} to {self.last}")
        return _dates(start, end)

    # --- truth

    def _truth(self, day: date) -> DayTruth:
        latent = self._course.day(day)
        start, end = day_bounds(day, self.zone)
        return DayTruth(
            latent=latent,
            night=self._night(day),
            day_start_utc=start,
            minutes=(end - start) // MINUTE,
            worn_minutes=int(self._worn(day).sum()),
            steps=days.steps_total(self.person, latent, seed=self._seed),
            answers=days.answers(self.person, latent, self._course.day(day - _ONE_DAY), seed=self._seed),
        )

    def _night(self, day: date) -> NightPlan:
        if day not in self._nights:
            plan = days.plan_night(self.person, self._course.day(day), self.zone, seed=self._seed)
            self._nights[day] = plan
        return self._nights[day]

    def _both_nights(self, day: date) -> list[NightPlan]:
        """The night that ends on `day` and the one that may begin on it."""
        return [self._night(day), self._night(day + _ONE_DAY)]

    def _worn(self, day: date) -> Worn:
        nights = self._both_nights(day)
        return days.band_worn(self.person, self._course.day(day), self.zone, nights, seed=self._seed)

    def _steps(self, day: date) -> Counts:
        total = self.truth[day].steps
        return days.day_steps(
            self.person, day, self.zone, total, nights=self._both_nights(day), seed=self._seed
        )

    # --- observations

    def _of_day(self, day: date, band: BandKind) -> Iterator[Observation]:
        yield from self._rr(day)
        yield from self._sleep(day, band)
        yield from self._step_counts(day, band)
        yield from self._diary(day)
        yield from self._batteries(day)

    def _rr(self, day: date) -> Iterator[RrInterval]:
        night = self.night_rr(day)
        if night is None:
            return
        start, rr = night
        strap = self.person.strap
        # the tail names the night, not the person
        connection = f"{strap}-{day:%Y%m%d}"
        ends = start + np.cumsum(rr, dtype=np.int64) * 1000
        hours = np.arange(start // HOUR + 1, int(ends[-1]) // HOUR + 1) * HOUR
        cuts = [0, *np.searchsorted(ends, hours, side="right").tolist(), len(rr)]
        for low, high in pairwise(cuts):
            if low == high:
                continue
            yield RrInterval(
                device=strap,
                start_utc=int(ends[low - 1]) if low else start,
                source=SOURCE,
                connection=connection,
                first_beat=low,
                rr_ms=rr[low:high].astype("<u2").tobytes(),
                gap_before_ms=0 if low else None,
                sensor="ecg",
            )

    def _sleep(self, day: date, band: BandKind) -> Iterator[SleepStage]:
        night = self._night(day)
        if not night.has_band:
            return
        stages = days.night_stages(self.person, day, night, seed=self._seed)
        epoch_s = RING_EPOCH_S if band == "ring" else BAND_EPOCH_S
        yield SleepStage(
            device=self.person.band,
            start_utc=night.start_utc,
            source=SOURCE,
            epoch_s=epoch_s,
            stages=np.repeat(stages, 60 // epoch_s).tobytes(),
        )

    def _step_counts(self, day: date, band: BandKind) -> Iterator[StepCount]:
        start, worn, steps = self.truth[day].day_start_utc, self._worn(day), self._steps(day)
        period_s = BAND_PERIOD_S
        if band == "ring":
            worn, steps, period_s = *_quarters(worn, steps), RING_PERIOD_S
        for low, high in _hourly_runs(worn, start, period_s):
            yield StepCount(
                device=self.person.band,
                start_utc=start + low * period_s * SECOND,
                source=SOURCE,
                period_s=period_s,
                counts=steps[low:high].astype("<u2").tobytes(),
            )

    def _diary(self, day: date) -> Iterator[Observation]:
        truth, diary = self.truth[day], self.person.diary
        said = truth.answers
        evening = truth.day_start_utc + said.evening_min * MINUTE
        for item, instrument, value in (("pain", "nrs", said.nrs), ("low-mood", "mood", said.mood)):
            if value is not None:
                name = f"{diary}-{day:%Y%m%d}-{instrument}"
                yield given_answer(diary, evening, name, instrument, item, float(value), source=SOURCE)
                # one answer after the other: two answers never share a start
                evening += 20 * SECOND
        if said.has_tapped:
            yield FlareReport(
                device=diary,
                start_utc=truth.day_start_utc + said.tap_min * MINUTE,
                source=SOURCE,
                report_id=f"{diary}-{day:%Y%m%d}-flare",
                respondent="patient",
                is_harder_to_tolerate=said.is_harder_to_tolerate,
                has_stopped_activities=said.has_stopped_activities,
            )

    def _batteries(self, day: date) -> Iterator[Battery]:
        """A band lasts six days, a strap's coin cell half a year."""
        truth, age = self.truth[day], day.toordinal() + self.person.number
        if not truth.latent.is_outage:
            yield Battery(
                device=self.person.band,
                start_utc=at_local(day, 12, self.zone),
                source=SOURCE,
                level_pct=100 - 15 * (age % 6),
            )
        if truth.night.has_strap:
            yield Battery(
                device=self.person.strap,
                start_utc=at_local(day, 9, self.zone),
                source=SOURCE,
                level_pct=100 - (age % 180) // 2,
            )

    def _ring_day(self, day: date) -> RingDay:
        worn, steps = _quarters(self._worn(day), self._steps(day))
        night = self._night(day)
        sleep: tuple[int, list[tuple[int, int]]] | None = None
        if night.has_band:
            stages = days.night_stages(self.person, day, night, seed=self._seed)
            turns = [0, *(np.flatnonzero(np.diff(stages)) + 1).tolist(), len(stages)]
            bouts = [(int(stages[low]), high - low) for low, high in pairwise(turns)]
            sleep = night.start_utc, bouts
        slots = [int(count) if on else None for count, on in zip(steps.tolist(), worn.tolist(), strict=True)]
        return RingDay(day=day, start_utc=self.truth[day].day_start_utc, slots=slots, sleep=sleep)


def _start(observation: Observation) -> int:
    return observation.start_utc


def _dates(first: date, last: date) -> list[date]:
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def _quarters(worn: Worn, steps: Counts) -> tuple[Worn, Counts]:
    """Minutes to quarter hours: worn where any minute was, steps of the worn minutes only."""
    kept = np.where(worn, steps, 0).reshape(-1, _QUARTER_MIN)
    is_on: Worn = np.any(worn.reshape(-1, _QUARTER_MIN), axis=1)
    return is_on, kept.sum(axis=1).astype(np.uint16)


def _hourly_runs(worn: Worn, start_utc: int, period_s: int) -> Iterator[tuple[int, int]]:
    """Runs [low, high) of worn slots, cut at every full hour UTC."""
    period = period_s * SECOND
    edges = np.flatnonzero(np.diff(worn, prepend=False, append=False)).tolist()
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        while low < high:
            at = start_utc + low * period
            cut = min(high, low + (HOUR - at % HOUR + period - 1) // period)
            yield low, cut
            low = cut
