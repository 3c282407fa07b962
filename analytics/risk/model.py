"""The risk model as data: an immutable version of its weights, and the shipped one."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import numpy as np

from analytics.risk.arrays import Floats
from analytics.risk.features import FEATURES
from analytics.risk.labels import LABEL_VERSION
from analytics.risk.scales import DEFAULT_SCALES

#: Days ahead the hazard speaks of.
HORIZON: Final = 7

Standing = Literal["shipped", "fitted", "approved", "frozen"]


@dataclass(frozen=True)
class ReferenceClass:
    """Days of similar risk in the data the model was fitted on.

    Parameters
    ----------
    upper : float
        7-day risk up to which (exclusive) a day belongs here; classes rise.
    days : int
        Patient-days that could be followed to their end.
    followed : int
        Of them followed by an onset within 7 days.
    """

    upper: float
    days: int
    followed: int


@dataclass(frozen=True)
class Model:
    """One immutable version: ``logit h_k = a_k + sum_j x_j (b_j + g_j (k-1)/6) + ln M``.

    Parameters
    ----------
    version : str
        Names it for ever.
    standing : str
        shipped (literature priors), fitted (on a site's flares, not approved), approved, or frozen
        (approved, and what it meets is no longer what it was fitted on).
        Only an approved model may alert.
    intercepts : tuple of float
        a_1 to a_7, log-odds.
    weights, slopes : dict of str to float
        b_j and g_j per feature, log-odds per unit; a feature that is not named weighs 0.
    rate_prior : float
        Strength of the prior of the personal rate, in expected onsets.
    scales_version, label_version : str
        Versions of the within-person spreads and of the label it belongs to.
    theta : float or None
        7-day risk above which it would alert, set for `budget`; None: never.
    budget : float or None
        Alerts per eligible patient and 30 days that theta was set for.
    bands : tuple of float or None
        7-day risk at the site's 30th and 80th percentile of days.
    reference : tuple of ReferenceClass
        What followed on similar days; empty where nobody has counted.
    loads : dict of str to tuple of (float, float)
        Horizon (3d, 7d) -> risks, rising, and the alerts per 100 patients and week that a threshold at each
        gave on the last days before the fit; empty where nobody has counted.
    """

    version: str
    standing: Standing
    intercepts: tuple[float, ...]
    weights: dict[str, float]
    slopes: dict[str, float]
    rate_prior: float = 4.0
    scales_version: str = DEFAULT_SCALES.version
    label_version: str = LABEL_VERSION
    theta: float | None = None
    budget: float | None = None
    bands: tuple[float, float] | None = None
    reference: tuple[ReferenceClass, ...] = field(default=())
    loads: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        strange = sorted({*self.weights, *self.slopes} - set(FEATURES))
        if strange or len(self.intercepts) != HORIZON:
            raise ValueError(f"model {self.version}: {HORIZON} intercepts, and no feature {strange}")

    def weight(self, feature: str, ahead: float) -> float:
        """Log-odds per unit of a feature, `ahead` days ahead (1 to 7)."""
        slope = self.slopes.get(feature, 0.0)
        return self.weights.get(feature, 0.0) + slope * (ahead - 1) / (HORIZON - 1)

    def load_at(self, horizon: str, risk: Floats) -> Floats:
        """Alerts per 100 patients and week that a threshold at each risk gave; NaN where nobody has counted.

        A risk alerts under a budget when this is at most the budget.
        """
        curve = self.loads.get(horizon)
        if not curve:
            return np.full(risk.shape, np.nan)
        risks, loads = np.array(curve).T
        # that of the threshold just below it: a budget is rather not used up than passed
        below = np.maximum(np.searchsorted(risks, risk, side="left") - 1, 0)
        return np.where(np.isnan(risk), np.nan, loads[below])

    def risk_within(self, horizon: str, budget: float) -> float | None:
        """Risk above which a day is within a budget, alerts per 100 patients and week; None: nobody is."""
        return next((risk for risk, load in self.loads.get(horizon, ()) if load <= budget), None)

    def to_json(self) -> str:
        """Canonical JSON, one line."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Model":
        """Model of its JSON, equal to the one it was made of."""
        row: dict[str, Any] = json.loads(text)
        row["intercepts"] = tuple(row["intercepts"])
        row["bands"] = tuple(row["bands"]) if row["bands"] else None
        row["loads"] = {name: tuple(map(tuple, curve)) for name, curve in row["loads"].items()}
        row["reference"] = tuple(ReferenceClass(**one) for one in row["reference"])
        return cls(**row)


#: Judgement from the literature (Dudarev 2024, Aitken 2026, Gerhart 2017, Hirten 2025, FLAReS 2025);
#: what is known of tomorrow is worth half in a week.
_PRIOR: Final = {
    "nrs_1": 0.15,
    "mood_3": 0.15,
    "rhr_3": 0.10,
    "lnr_3": 0.08,
    "tst_3": 0.10,
    "waso_3": 0.05,
    "over3": 0.10,
    "recent": 0.50,
}
SHIPPED: Final = Model(
    version="prior-1",
    standing="shipped",
    intercepts=(float(np.log(0.03 / 0.97)),) * HORIZON,
    weights=_PRIOR,
    slopes={name: -weight / 2 for name, weight in _PRIOR.items()},
    # about half an alert per scored patient-month on the SYNTHETIC cohort of devices.sim.flares
    theta=0.32,
    budget=0.5,
)
