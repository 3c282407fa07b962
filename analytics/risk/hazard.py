"""The landmark hazard: from features and a model to the risk of the coming days, and why.

``logit h_k = a_k + sum_j x_j (b_j + g_j (k-1)/6) + ln M``, ``risk(K) = 1 - prod (1 - h_k)``;
rises with K by construction. Sums run over the features in their registered order, so
the same patient gets the same bits whoever else is computed.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from analytics.risk.arrays import Floats, Marks, lagged
from analytics.risk.features import FEATURES
from analytics.risk.labels import Labels
from analytics.risk.model import HORIZON, Model, ReferenceClass
from analytics.risk.past import HISTORY_LAG, PAST_DAYS, PENDING_DAYS, Past

#: Contributions are means over the next three days: the weight two days ahead.
MIDDLE_AHEAD: Final = 2
#: A class of similar days with fewer of them says nothing.
LEAST_REFERENCE_DAYS: Final = 100


def hazard(features: dict[str, Floats], model: Model, ahead: int, history: Floats | float = 0.0) -> Floats:
    """Chance of an onset exactly `ahead` days (1 to 7) from each day, given none before.

    Parameters
    ----------
    features : dict of str to matrix
        From :func:`analytics.risk.features.features`.
    history : matrix or float
        ln M of :func:`own_history`; 0 leaves the personal rate out.
    """
    near, change = _predictor(features, model)
    return _chance(near, change, model, ahead, history)


def risk_within(
    features: dict[str, Floats], model: Model, days: Sequence[int], history: Floats | float = 0.0
) -> list[Floats]:
    """Chance of an onset within each number of `days` (rising)."""
    near, change = _predictor(features, model)
    none: Floats | float = 1.0
    found: list[Floats] = []
    for ahead in range(1, days[-1] + 1):
        none = none * (1 - _chance(near, change, model, ahead, history))
        if ahead in days:
            found.append(1 - np.asarray(none))
    return found


def _predictor(features: dict[str, Floats], model: Model) -> tuple[Floats, Floats]:
    """Log-odds of the features one day ahead, and how much they change up to seven days ahead."""
    shape = next(iter(features.values())).shape
    near, change = np.zeros(shape), np.zeros(shape)
    for name in FEATURES:
        if model.weights.get(name):
            near += features[name] * model.weights[name]
        if model.slopes.get(name):
            change += features[name] * model.slopes[name]
    return near, change


def _chance(near: Floats, change: Floats, model: Model, ahead: int, history: Floats | float) -> Floats:
    logit = model.intercepts[ahead - 1] + near + change * ((ahead - 1) / (HORIZON - 1)) + history
    return 1 / (1 + np.exp(-logit))


def day_ahead(
    features: dict[str, Floats], is_counted: Marks, model: Model, past: Past | None = None
) -> Floats:
    """Chance of an onset on the next day, *without* the personal rate, as it was given on each day.

    Parameters
    ----------
    is_counted : matrix of bool
        At risk and with enough data to be scored; NaN on other days.
    past : Past, optional
        Its own stand on the days just before column :data:`PAST_DAYS`: the flares known then are not those
        known by now.
    """
    found = np.where(is_counted, hazard(features, model, 1), np.nan)
    if past is not None:
        found[:, PAST_DAYS - PENDING_DAYS : PAST_DAYS] = past.pending
    return found


def own_history(
    hazards: Floats, labels: Labels, is_observed: Marks, rate_prior: float, past: Past | None = None
) -> tuple[Floats, Floats, Floats]:
    """ln M of every day, ``M = (a + onsets known) / (a + onsets expected)``, with a lag of 3 days.

    Expected are the day-ahead hazards *without* M (with it the calibration slope goes to 1.5) of
    the days after one that counts on which the patient said how it was; onsets are those of the same days.
    Onsets of all days over hazards of some made O/E .90 and the slope .78 (docs/flare-evaluation.md).

    Parameters
    ----------
    hazards : matrix
        From :func:`day_ahead`, with the same `past`.
    is_observed : matrix of bool
        The patient said something about pain or mood.
    past : Past, optional
        With it the sums go on from there, and columns before :data:`PAST_DAYS` have none.

    Returns
    -------
    history, onsets, expected : matrix
        ln M, and the two sums behind it.
    """
    given = lagged(hazards, 1)
    is_exposed = ~np.isnan(given) & is_observed
    due = np.where(is_exposed, given, 0.0)
    seen = (labels.is_onset & is_exposed).astype(np.float64)
    if past is not None:
        # the day before the first one scored knows what happened up to three days earlier
        new = PAST_DAYS - HISTORY_LAG
        for values, before in ((due, past.expected), (seen, past.onsets)):
            values[:, 0] = before
            values[:, 1:new] = 0
    expected, onsets = _before(np.cumsum(due, axis=1)), _before(np.cumsum(seen, axis=1))
    return np.log((rate_prior + onsets) / (rate_prior + expected)), onsets, expected


def _before(total: Floats) -> Floats:
    known = lagged(total, HISTORY_LAG)
    return np.where(np.isnan(known), 0.0, known)


def contributions(features: dict[str, Floats], model: Model, history: Floats) -> dict[str, Floats]:
    """Log-odds per feature (mean over the next three days) and own history; exp() is the odds ratio."""
    parts = {name: features[name] * model.weight(name, MIDDLE_AHEAD) for name in FEATURES}
    return parts | {"own_history": history}


def reference_class(model: Model, risk_7d: float) -> ReferenceClass | None:
    """Days of similar risk the model was fitted on; None where too few were counted."""
    for one in model.reference:
        if risk_7d < one.upper:
            return one if one.days >= LEAST_REFERENCE_DAYS else None
    return None


def band_of(model: Model, risk_7d: float) -> str | None:
    """Where a risk lies among the site's own days; None where nobody has set the bands."""
    if model.bands is None or np.isnan(risk_7d):
        return None
    if model.theta is not None and risk_7d > model.theta:
        return "high"
    low, raised = model.bands
    return "low" if risk_7d <= low else "raised" if risk_7d >= raised else "usual"
