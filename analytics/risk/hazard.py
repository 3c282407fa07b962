"""The landmark hazard: from features and a model to the risk of the coming days, and why.

``logit h_k = a_k + sum_j x_j (b_j + g_j (k-1)/6) + ln M``, ``risk(K) = 1 - prod (1 - h_k)``;
rises with K by construction. Sums run over the features in their registered order, so
the same patient gets the same bits whoever else is computed.
"""

from typing import Final

import numpy as np

from analytics.risk.arrays import Floats, Marks, lagged
from analytics.risk.features import FEATURES
from analytics.risk.labels import KNOWN_AFTER, Labels
from analytics.risk.model import Model, ReferenceClass

#: Contributions are means over the next three days: the weight two days ahead.
MIDDLE_AHEAD: Final = 2
#: Days until onsets count against those expected.
HISTORY_LAG: Final = KNOWN_AFTER + 1
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
    logit = model.intercepts[ahead - 1] + history
    for name in FEATURES:
        weight = model.weight(name, ahead)
        if weight:
            logit = logit + features[name] * weight
    return 1 / (1 + np.exp(-logit))


def risk_within(
    features: dict[str, Floats], model: Model, days: int, history: Floats | float = 0.0
) -> Floats:
    """Chance of an onset within the next `days` days."""
    none: Floats | float = 1.0
    for ahead in range(1, days + 1):
        none = none * (1 - hazard(features, model, ahead, history))
    return 1 - np.asarray(none)


def own_history(
    features: dict[str, Floats], labels: Labels, is_counted: Marks, model: Model
) -> tuple[Floats, Floats, Floats]:
    """ln M of every day, ``M = (a + onsets known) / (a + onsets expected)``, with a lag of 3 days.

    Expected are the day-ahead hazards *without* M over the past days that count: with M
    in them the calibration slope goes to 1.5.

    Parameters
    ----------
    is_counted : matrix of bool
        At risk and with enough data to be scored.

    Returns
    -------
    history, onsets, expected : matrix
        ln M, and the two sums behind it.
    """
    day_ahead = np.where(is_counted, hazard(features, model, 1), 0.0)
    expected = _before(np.cumsum(day_ahead, axis=1))
    onsets = _before(np.cumsum(labels.is_onset, axis=1).astype(np.float64))
    return np.log((model.rate_prior + onsets) / (model.rate_prior + expected)), onsets, expected


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
