"""Fitting the landmark hazard: penalised likelihood over rows times days ahead, patients as clusters.

Rows enter once for each day they were followed, with weight 1/3 because neighbouring rows share
most of their week. Newton (IRLS) without the stacked matrix: what differs between days ahead is one
intercept and one factor. Standard errors are clustered by patient.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from analytics.risk.arrays import Array, Floats
from analytics.risk.features import FEATURES
from analytics.risk.landmarks import Landmarks
from analytics.risk.model import HORIZON, Model

#: Neighbouring rows overlap: their week counts a third.
ROW_WEIGHT: Final = 1 / 3
#: Ridge on b and g when weights are fitted from nothing.
RIDGE_NEAR, RIDGE_SLOPE = 8.0, 40.0
#: Prior SD of a literature weight: its ridge is 1 / SD^2; the slope's is stiffer in the same proportion.
PRIOR_SD: Final = 0.10
#: Strength of the prior of the personal rate by moments, kept within.
RATE_PRIOR_LIMITS: Final = (2.0, 10.0)
#: Slope of a recalibration, kept within.
SLOPE_LIMITS: Final = (0.5, 1.5)
_STEPS, _TOLERANCE = 50, 1e-9
_FEATURES: Final = len(FEATURES)


@dataclass(frozen=True)
class Fitted:
    """A fitted hazard.

    Parameters
    ----------
    theta : array (7 + 2 features,)
        a_1 to a_7, b, g.
    covariance : array (7 + 2 features, 7 + 2 features)
        Clustered by patient.
    """

    theta: Floats
    covariance: Floats

    def standard_errors(self) -> dict[str, tuple[float, float]]:
        """Feature -> standard errors of b and g."""
        error = np.sqrt(np.diag(self.covariance))
        near, slope = error[HORIZON : HORIZON + _FEATURES], error[HORIZON + _FEATURES :]
        return {name: (float(near[i]), float(slope[i])) for i, name in enumerate(FEATURES)}

    def model(self, version: str, like: Model) -> Model:
        """The version it makes of the model it began with; not approved, no threshold."""
        near, slope = self.theta[HORIZON : HORIZON + _FEATURES], self.theta[HORIZON + _FEATURES :]
        return replace(
            like,
            version=version,
            standing="fitted",
            intercepts=tuple(float(value) for value in self.theta[:HORIZON]),
            weights={name: float(near[i]) for i, name in enumerate(FEATURES)},
            slopes={name: float(slope[i]) for i, name in enumerate(FEATURES)},
            theta=None,
            budget=None,
            bands=None,
            reference=(),
        )


def fit_hazard(
    rows: Landmarks,
    *,
    prior: Model | None = None,
    history: Floats | None = None,
    row_weight: Floats | None = None,
) -> Fitted:
    """Fit a_k, b and g.

    Parameters
    ----------
    rows : Landmarks
    prior : Model, optional
        Its weights are the prior (SD .10); without one the weights are shrunk towards 0.
    history : array (rows,), optional
        ln M as an offset; without it the personal rate is left out.
    row_weight : array (rows,), optional
        Further weights.

    Raises
    ------
    ValueError
        No onset among the rows: there is nothing to fit.
    """
    if not (rows.event > 0).any():
        raise ValueError("no onset among the rows")
    offset = np.zeros(len(rows)) if history is None else history
    weight = ROW_WEIGHT * (np.ones(len(rows)) if row_weight is None else row_weight)
    center, stiffness = _prior(prior)
    theta = center.copy()
    theta[:HORIZON] = _start(rows, offset)
    for _ in range(_STEPS):
        gradient, information = _derivatives(rows, theta, offset, weight)
        gradient -= stiffness * (theta - center)
        information[np.diag_indices(len(theta))] += stiffness
        change = np.linalg.solve(information, gradient)
        theta = theta + change
        if np.abs(change).max() < _TOLERANCE:
            break
    _, information = _derivatives(rows, theta, offset, weight)
    information[np.diag_indices(len(theta))] += stiffness
    bread = np.linalg.inv(information)
    meat = _clustered(rows, theta, offset, weight)
    return Fitted(theta, bread @ meat @ bread)


def recalibrate(rows: Landmarks, model: Model, version: str, *, has_slope: bool, history: Floats) -> Model:
    """Shift the intercepts, and with `has_slope` stretch all weights by one factor in [.5, 1.5].

    Parameters
    ----------
    history : array (rows,)
        ln M under `model`; an offset that is not stretched.
    """
    near = rows.x @ np.array([model.weights.get(name, 0.0) for name in FEATURES])
    far = rows.x @ np.array([model.slopes.get(name, 0.0) for name in FEATURES])
    shift, stretch = 0.0, 1.0
    for _ in range(_STEPS):
        gradient, information = np.zeros(2), np.zeros((2, 2))
        for ahead in range(HORIZON):
            at = rows.followed > ahead
            line = near[at] + far[at] * ahead / (HORIZON - 1)
            logit = model.intercepts[ahead] + shift + stretch * line + history[at]
            chance = 1 / (1 + np.exp(-logit))
            left, spread = (rows.event[at] == ahead + 1) - chance, chance * (1 - chance)
            gradient += [left.sum(), left @ line]
            cross = spread @ line
            information += [[spread.sum(), cross], [cross, spread @ line**2]]
        if not has_slope:
            gradient[1], information[0, 1], information[1, 0], information[1, 1] = 0, 0, 0, 1
        change = np.linalg.solve(information + 1e-9 * np.eye(2), gradient)
        new = float(np.clip(stretch + change[1], *SLOPE_LIMITS))
        if new != stretch + change[1]:
            # at an edge of what is allowed the shift is the one that goes with it, not with what lies beyond
            change[1] = new - stretch
            change[0] = (gradient[0] - information[0, 1] * change[1]) / information[0, 0]
        shift, stretch = shift + float(np.clip(change[0], -2, 2)), new
        if np.abs(change).max() < 1e-7:
            break
    return replace(
        model,
        version=version,
        standing="fitted",
        intercepts=tuple(float(value + shift) for value in model.intercepts),
        weights={name: stretch * value for name, value in model.weights.items()},
        slopes={name: stretch * value for name, value in model.slopes.items()},
        theta=None,
        budget=None,
        bands=None,
        reference=(),
    )


def rate_prior(onsets: Floats, expected: Floats) -> float:
    """Strength ``a`` of the personal rate's prior, by moments, clipped to 2-10.

    Onsets of a patient are Poisson of rate times expected, rates Gamma of mean 1 and variance 1/a:
    the excess of the squared distances over the expected is the sum of expected squared over a.

    Parameters
    ----------
    onsets, expected : array (patients,)
    """
    excess = float(((onsets - expected) ** 2 - expected).sum())
    low, high = RATE_PRIOR_LIMITS
    return high if excess <= 0 else float(np.clip((expected**2).sum() / excess, low, high))


def _prior(prior: Model | None) -> tuple[Floats, Floats]:
    """Center and stiffness of every parameter; the intercepts are free."""
    center, stiffness = np.zeros(HORIZON + 2 * _FEATURES), np.zeros(HORIZON + 2 * _FEATURES)
    near, slope = slice(HORIZON, HORIZON + _FEATURES), slice(HORIZON + _FEATURES, None)
    stiffness[near], stiffness[slope] = RIDGE_NEAR, RIDGE_SLOPE
    if prior is not None:
        center[near] = [prior.weights.get(name, 0.0) for name in FEATURES]
        center[slope] = [prior.slopes.get(name, 0.0) for name in FEATURES]
        stiffness[near] = 1 / PRIOR_SD**2
        stiffness[slope] = RIDGE_SLOPE / RIDGE_NEAR / PRIOR_SD**2
    # a hair's breadth: an intercept of a day nobody was followed to stays finite
    stiffness[:HORIZON] = 1e-6
    return center, stiffness


def _start(rows: Landmarks, offset: Floats) -> Floats:
    followed = np.array([(rows.followed > ahead).sum() for ahead in range(HORIZON)])
    events = np.array([(rows.event == ahead + 1).sum() for ahead in range(HORIZON)])
    rate = (events + 0.5) / (followed + 1)
    return np.log(rate / (1 - rate)) - float(offset.mean())


def _chances(rows: Landmarks, theta: Floats, offset: Floats, ahead: int) -> tuple[Array, Floats, float]:
    """Rows followed that far, their hazard, and the factor of g."""
    factor = ahead / (HORIZON - 1)
    weights = theta[HORIZON : HORIZON + _FEATURES] + factor * theta[HORIZON + _FEATURES :]
    at = np.flatnonzero(rows.followed > ahead)
    return at, 1 / (1 + np.exp(-(theta[ahead] + rows.x[at] @ weights + offset[at]))), factor


def _derivatives(rows: Landmarks, theta: Floats, offset: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Gradient and information of the log-likelihood, day ahead by day ahead."""
    gradient, information = np.zeros(len(theta)), np.zeros((len(theta), len(theta)))
    near, slope = slice(HORIZON, HORIZON + _FEATURES), slice(HORIZON + _FEATURES, None)
    for ahead in range(HORIZON):
        at, chance, factor = _chances(rows, theta, offset, ahead)
        x, own = rows.x[at], weight[at]
        left = own * ((rows.event[at] == ahead + 1) - chance)
        spread = own * chance * (1 - chance)
        pulled, mixed = x.T @ left, x.T @ spread
        square = x.T @ (x * spread[:, None])
        gradient[ahead] += left.sum()
        gradient[near] += pulled
        gradient[slope] += factor * pulled
        information[ahead, ahead] += spread.sum()
        for part, times in ((near, 1.0), (slope, factor)):
            information[ahead, part] += times * mixed
            information[part, ahead] += times * mixed
        information[near, near] += square
        information[near, slope] += factor * square
        information[slope, near] += factor * square
        information[slope, slope] += factor**2 * square
    return gradient, information


def _clustered(rows: Landmarks, theta: Floats, offset: Floats, weight: Floats) -> Floats:
    """Sum over patients of the outer product of their scores."""
    scores = np.zeros((int(rows.patient.max()) + 1, len(theta)))
    for ahead in range(HORIZON):
        at, chance, factor = _chances(rows, theta, offset, ahead)
        left = weight[at] * ((rows.event[at] == ahead + 1) - chance)
        who = rows.patient[at]
        scores[:, ahead] += np.bincount(who, left, len(scores))
        for i in range(_FEATURES):
            pulled = np.bincount(who, left * rows.x[at, i], len(scores))
            scores[:, HORIZON + i] += pulled
            scores[:, HORIZON + _FEATURES + i] += factor * pulled
    patients = max(2, len(np.unique(rows.patient)))
    return scores.T @ scores * patients / (patients - 1)
