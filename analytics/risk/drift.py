"""Whether what an active model meets is still what it was fitted on; if not, it is frozen.

Weekly, over 28 days: O/E, alert load, the risk's distribution (PSI), how many days can be
scored, and which devices are worn. Any of them out of bounds: monitoring only.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from analytics.risk.alert_measures import MONTH, fire
from analytics.risk.arrays import Floats
from analytics.risk.cohort import Cohort
from analytics.risk.landmarks import hazards
from analytics.risk.model import HORIZON, Model
from analytics.risk.site_fit import risk_matrix

WINDOW_DAYS: Final = 28
OE_RANGE: Final = (0.8, 1.25)
#: With fewer onsets expected an O/E out of range is chance.
LEAST_EXPECTED: Final = 20.0
LOAD_TOLERANCE: Final = 0.30
LEAST_ALERTS: Final = 10.0
PSI_LIMIT: Final = 0.2
SUFFICIENCY_DROP: Final = 0.10
DEVICE_CHANGE: Final = 0.20
_CLASSES: Final = 10


@dataclass(frozen=True)
class Profile:
    """What a model was fitted on, kept with it to be compared with later.

    Parameters
    ----------
    risk_edges : list of float
        Nine edges of tenths of the 7-day risk.
    sufficiency : float
        Share of patient-days with enough data.
    segments : float
        Changes of wearable per 100 patient-days.
    """

    risk_edges: list[float]
    sufficiency: float
    segments: float


def profile(cohort: Cohort, model: Model, first: int, last: int) -> Profile:
    """Profile of the columns `first` to `last`, inclusive."""
    risk = risk_matrix(cohort, model)[:, first : last + 1]
    own = risk[~np.isnan(risk)]
    edges = np.quantile(own, np.linspace(0, 1, _CLASSES + 1)[1:-1]) if len(own) else np.zeros(_CLASSES - 1)
    parts = cohort, first, last
    return Profile([float(edge) for edge in edges], _sufficiency(*parts), _swaps(*parts))


@dataclass(frozen=True)
class Drift:
    """Figures of the last 28 days and what is out of bounds."""

    observed_expected: float
    load: float
    psi: float
    sufficiency: float
    reasons: list[str]


def measure_drift(cohort: Cohort, model: Model, known: Profile) -> Drift:
    """Hold the last 28 days whose labels are known against the model and its profile."""
    last = cohort.panel.shape[1] - 1 - HORIZON - 2
    first = max(0, last - WINDOW_DAYS + 1)
    chosen = cohort.rows.of_columns(first, last)
    rows = cohort.rows.where(chosen)
    history = cohort.of_rows(cohort.history(model))[chosen]
    is_there = rows.followed[:, None] > np.arange(HORIZON)
    expected = float(np.where(is_there, hazards(model, rows, history), 0).sum()) if len(rows) else 0.0
    ratio = float((rows.event > 0).sum() / expected) if expected else np.nan
    risk = risk_matrix(cohort, model)[:, first : last + 1]
    eligible = int((~np.isnan(risk)).sum())
    load = MONTH * fire(risk, model.theta or 1.0).sum() / max(1, eligible)
    shift = _psi(risk[~np.isnan(risk)], known.risk_edges)
    sufficiency = _sufficiency(cohort, first, last)
    swaps = _swaps(cohort, first, last)
    budget = model.budget or 0.0
    found: list[str] = []
    low, high = OE_RANGE
    # a row sees an onset up to seven times over
    if expected / HORIZON >= LEAST_EXPECTED and not low <= ratio <= high:
        found.append(f"observed/expected onsets {ratio:.2f}, bounds {low}-{high}")
    wanted = budget * eligible / MONTH
    if wanted >= LEAST_ALERTS and abs(load / budget - 1) > LOAD_TOLERANCE:
        found.append(f"{load:.2f} alerts per patient-month, {budget} budgeted")
    if eligible and shift > PSI_LIMIT:
        found.append(f"population stability index of the risk {shift:.2f}, at most {PSI_LIMIT}")
    if known.sufficiency - sufficiency > SUFFICIENCY_DROP:
        before = f"{100 * known.sufficiency:.0f} % had"
        found.append(f"{100 * sufficiency:.0f} % of days have enough data, {before}")
    if swaps - known.segments > DEVICE_CHANGE:
        found.append(f"{swaps:.2f} changes of wearable per 100 days, {known.segments:.2f} before")
    return Drift(ratio, float(load), shift, sufficiency, found)


def _psi(risk: Floats, edges: list[float]) -> float:
    """Population stability index against tenths."""
    if not len(risk):
        return 0.0
    count = np.bincount(np.searchsorted(edges, risk, side="right"), minlength=_CLASSES)
    share = np.maximum(count / len(risk), 1e-4)
    return float(((share - 1 / _CLASSES) * np.log(share * _CLASSES)).sum())


def _sufficiency(cohort: Cohort, first: int, last: int) -> float:
    part = slice(first, last + 1)
    there = cohort.panel.is_present[:, part]
    return float((cohort.is_sufficient[:, part] & there).sum() / max(1, there.sum()))


def _swaps(cohort: Cohort, first: int, last: int) -> float:
    changes = 0
    for segment in cohort.panel.segments.values():
        own = segment[:, first : last + 1]
        held = np.maximum.accumulate(np.where(own >= 0, np.arange(own.shape[1]), -1), axis=1)
        last_seen = np.where(held >= 0, np.take_along_axis(own, np.maximum(held, 0), axis=1), -1)
        changes += int(((last_seen[:, 1:] != last_seen[:, :-1]) & (last_seen[:, :-1] >= 0)).sum())
    days = max(1, int(cohort.panel.is_present[:, first : last + 1].sum()))
    return 100 * changes / days / max(1, len(cohort.panel.segments))
