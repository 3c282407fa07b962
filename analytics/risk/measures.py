"""How good a risk is: discrimination, calibration and net benefit with patient-bootstrap intervals.

Everything is a function of sums per patient, so that a bootstrap over patients is a matrix product.
Rows are followed unequally far, and every measure says how it deals with that: discrimination compares
an onset after k days with days that were followed as far without one (Harrell's pairs); calibration goes
over days followed; a rate within a week is a product limit over its days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from analytics.risk.arrays import Array, Floats, Marks
from analytics.risk.landmarks import Landmarks, within
from analytics.risk.model import HORIZON

BOOTSTRAPS: Final = 500
LEVEL: Final = 0.95
#: Scores are compared by their place among this many quantiles.
BINS: Final = 256


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % patient-bootstrap interval; NaN where nothing can be said."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Length of the interval."""
        return self.high - self.low

    def overlaps(self, low: float, high: float) -> bool:
        """Whether the interval and another one meet."""
        return self.low <= high and self.high >= low

    def __str__(self) -> str:
        return "n/a" if np.isnan(self.value) else f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


class Resampling:
    """Patients drawn with replacement: how often each, in the sample itself (row 0) and every draw."""

    def __init__(self, patients: int, *, draws: int = BOOTSTRAPS, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(patients, np.full(patients, 1 / patients), size=draws)
        self.weights: Floats = np.concatenate([np.ones((1, patients)), counts]).astype(np.float64)
        self._small = self.weights.astype(np.float32)

    def histograms(self, per_patient: Array) -> Floats:
        """Sums over patients of whole numbers, (1 + draws, bins): exact in half the bytes below 2^24."""
        return (self._small @ per_patient.astype(np.float32)).astype(np.float64)

    def sums(self, per_patient: Floats) -> Floats:
        """Sums over patients, (1 + draws, ...), of an array (patients, ...)."""
        flat = per_patient.reshape(len(per_patient), -1)
        return (self.weights @ flat).reshape(len(self.weights), *per_patient.shape[1:])


def estimate(values: Floats) -> Estimate:
    """Estimate of the value in the sample (first) and in the draws."""
    point, draws = float(values[0]), values[1:][~np.isnan(values[1:])]
    if np.isnan(point) or len(draws) < len(values) / 2:
        return Estimate(point, np.nan, np.nan)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(point, float(low), float(high))


def ratio(top: Floats, bottom: Floats) -> Floats:
    """Quotient; NaN where there is nothing below."""
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), np.nan)


def auc_draws(rows: Landmarks, score: Floats, days: int, resampling: Resampling) -> Floats:
    """AUC of onsets within `days` days, in the sample and every draw."""
    patients = resampling.weights.shape[1]
    place = _places(score)
    concordant, pairs = np.zeros(len(resampling.weights)), np.zeros(len(resampling.weights))
    for ahead in range(1, days + 1):
        case, control = _pair(rows, ahead)
        cases, controls = (
            resampling.histograms(_histogram(rows.patient[one], place[one], patients))
            for one in (case, control)
        )
        below = np.cumsum(controls, axis=1) - controls
        total = controls.sum(axis=1)
        number = cases.sum(axis=1)
        # every day ahead counts by its onsets
        concordant += ratio((cases * (below + controls / 2)).sum(axis=1), total)
        pairs += number
    return ratio(concordant, pairs)


def auc(rows: Landmarks, score: Floats, days: int, resampling: Resampling) -> Estimate:
    """AUC of onsets within `days` days."""
    return estimate(auc_draws(rows, score, days, resampling))


def within_patient_auc(rows: Landmarks, score: Floats, days: int, resampling: Resampling) -> Estimate:
    """AUC among days of the same patient, patients weighted by their onset days."""
    patients = resampling.weights.shape[1]
    good, number = np.zeros(patients), np.zeros(patients)
    order = np.lexsort((score, rows.patient))
    who = rows.patient[order]
    # midranks within the patient come from midranks of (patient, score) as one key
    _, same = np.unique(np.stack([who, score[order]]), axis=1, return_inverse=True)
    same = np.asarray(same).ravel()
    for ahead in range(1, days + 1):
        case, control = (one[order] for one in _pair(rows, ahead))
        ties = np.bincount(same, control, same.max() + 1)[same] if len(same) else np.zeros(0)
        up_to = np.cumsum(control)
        group_end = np.zeros(len(same))
        group_end[:] = up_to
        last = np.append(np.flatnonzero(np.diff(same)), len(same) - 1)
        group_end = up_to[last][np.searchsorted(last, np.arange(len(same)))]
        of_patient = np.bincount(who, control, patients)
        start = np.concatenate([[0], np.cumsum(of_patient)])[who]
        below = group_end - start - ties
        total = of_patient[who]
        share = np.where(case & (total > 0), (below + ties / 2) / np.maximum(total, 1), 0.0)
        good += np.bincount(who, share, patients)
        number += np.bincount(who, case & (total > 0), patients)
    return estimate(ratio(resampling.sums(good), resampling.sums(number)))


def state_auc(case: Marks, control: Marks, score: Floats, resampling: Resampling) -> Estimate:
    """AUC of a state of the same day; matrices (patients, days)."""
    patients = resampling.weights.shape[1]
    both = case | control
    place = np.zeros(score.shape, np.int64)
    place[both] = _places(score[both])
    cases, controls = (
        resampling.histograms(_histogram(np.nonzero(one)[0], place[one], patients)) for one in (case, control)
    )
    below = np.cumsum(controls, axis=1) - controls / 2
    return estimate(ratio((cases * below).sum(axis=1), cases.sum(axis=1) * controls.sum(axis=1)))


@dataclass(frozen=True)
class Calibration:
    """Over all followed days ahead."""

    slope: Estimate
    in_the_large: Estimate
    observed_expected: Estimate
    scaled_brier: Estimate


def calibration(rows: Landmarks, day_hazards: Floats, resampling: Resampling) -> Calibration:
    """Slope and intercept of the outcome on the logit of the hazard, O/E and scaled Brier score."""
    patients = resampling.weights.shape[1]
    ahead = np.arange(HORIZON)
    is_there = rows.followed[:, None] > ahead
    hazard = np.clip(day_hazards[is_there], 1e-9, 1 - 1e-9)
    happens = (rows.event[:, None] == ahead + 1)[is_there].astype(np.float64)
    who = np.broadcast_to(rows.patient[:, None], is_there.shape)[is_there]
    logit = np.log(hazard / (1 - hazard))
    place = _places(logit)
    center = ratio(
        *(np.bincount(place, one, BINS).astype(np.float64) for one in (logit, np.ones(len(place))))
    )
    center = np.where(np.isnan(center), 0.0, center)
    number = resampling.histograms(_histogram(who, place, patients))
    events = resampling.histograms(_histogram(who, place, patients, happens))
    slope = _logistic(center, number, events, has_slope=True)
    large = _logistic(center, number, events, has_slope=False)
    parts = (happens, hazard, (happens - hazard) ** 2, np.ones(len(who)))
    onset, expected, square, count = (
        resampling.sums(np.bincount(who, one, patients).astype(np.float64)) for one in parts
    )
    rate = ratio(onset, count)
    return Calibration(
        slope=estimate(slope),
        in_the_large=estimate(large),
        observed_expected=estimate(ratio(onset, expected)),
        scaled_brier=estimate(1 - ratio(square, count * rate * (1 - rate))),
    )


def rate_draws(rows: Landmarks, chosen: Marks, resampling: Resampling, days: int = HORIZON) -> Floats:
    """Share of the chosen rows followed by an onset within `days` days: product limit over the days ahead."""
    patients = resampling.weights.shape[1]
    none = np.ones(len(resampling.weights))
    for ahead in range(1, days + 1):
        case, control = _pair(rows, ahead)
        events, free = (
            resampling.sums(np.bincount(rows.patient[one & chosen], minlength=patients).astype(np.float64))
            for one in (case, control)
        )
        none = none * (1 - ratio(events, events + free))
    return 1 - none


@dataclass(frozen=True)
class RiskClass:
    """Rows of similar risk: what was said and what was seen."""

    low: float
    high: float
    rows: int
    predicted: float
    observed: Estimate


def deciles(
    rows: Landmarks, day_hazards: Floats, resampling: Resampling, classes: int = 10
) -> list[RiskClass]:
    """Predicted and seen rates within a week, by tenths of the risk."""
    risk = within(day_hazards, HORIZON)
    edges = np.quantile(risk, np.linspace(0, 1, classes + 1))
    place = np.clip(np.searchsorted(edges, risk, side="right") - 1, 0, classes - 1)
    return [
        RiskClass(
            float(edges[i]),
            float(edges[i + 1]),
            int((place == i).sum()),
            float(risk[place == i].mean()),
            estimate(rate_draws(rows, place == i, resampling)),
        )
        for i in range(classes)
        if (place == i).any()
    ]


def net_benefit_draws(rows: Landmarks, risk_7d: Floats, threshold: float, resampling: Resampling) -> Floats:
    """Net benefit per day of acting on those above a 7-day risk (Vickers 2006)."""
    patients = resampling.weights.shape[1]
    acts = risk_7d >= threshold
    total = resampling.sums(np.bincount(rows.patient, minlength=patients).astype(np.float64))
    acted = resampling.sums(np.bincount(rows.patient[acts], minlength=patients).astype(np.float64))
    rate = rate_draws(rows, acts, resampling)
    rate = np.where(np.isnan(rate), 0.0, rate)
    return ratio(acted, total) * (rate - (1 - rate) * threshold / (1 - threshold))


def decision_curve(
    rows: Landmarks, risks: dict[str, Floats], thresholds: Sequence[float], resampling: Resampling
) -> dict[str, list[float]]:
    """Net benefit at several thresholds, of several risks and of acting on all days."""
    curves = {
        name: [float(net_benefit_draws(rows, risk, one, resampling)[0]) for one in thresholds]
        for name, risk in risks.items()
    }
    everybody = np.ones(len(rows))
    rate = float(rate_draws(rows, everybody > 0, resampling)[0])
    curves["all"] = [rate - (1 - rate) * one / (1 - one) for one in thresholds]
    return curves


def _pair(rows: Landmarks, ahead: int) -> tuple[Marks, Marks]:
    """Rows with an onset after `ahead` days, and rows followed as far without one."""
    case = rows.event == ahead
    return case, (rows.followed >= ahead) & ~case


def _places(score: Floats) -> Array:
    """Place of each score among the quantiles."""
    edges = np.unique(np.quantile(score, np.linspace(0, 1, BINS + 1)[1:-1])) if len(score) else np.zeros(0)
    return np.searchsorted(edges, score, side="right")


def _histogram(who: Array, place: Array, patients: int, weight: Floats | None = None) -> Array:
    return np.bincount(who * BINS + place, weight, patients * BINS).reshape(patients, BINS)


def _logistic(center: Floats, number: Floats, events: Floats, *, has_slope: bool) -> Floats:
    """Slope on the logit in every draw, or the intercept beside a slope of one."""
    shift, slope = np.zeros(len(number)), np.ones(len(number))
    for _ in range(30):
        chance = 1 / (1 + np.exp(-np.clip(shift[:, None] + slope[:, None] * center, -30, 30)))
        left, spread = events - number * chance, number * chance * (1 - chance)
        g0, g1 = left.sum(axis=1), (left * center).sum(axis=1)
        i00, i01, i11 = spread.sum(axis=1), (spread * center).sum(axis=1), (spread * center**2).sum(axis=1)
        if has_slope:
            determinant = np.maximum(i00 * i11 - i01**2, 1e-12)
            down, along = (i11 * g0 - i01 * g1) / determinant, (i00 * g1 - i01 * g0) / determinant
        else:
            down, along = g0 / np.maximum(i00, 1e-12), np.zeros(len(number))
        down, along = np.clip(down, -3, 3), np.clip(along, -1, 1)
        shift, slope = shift + down, slope + along
        if max(np.abs(down).max(), np.abs(along).max()) < 1e-8:
            break
    return np.where(events.sum(axis=1) > 0, slope if has_slope else shift, np.nan)
