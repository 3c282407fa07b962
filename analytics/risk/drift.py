"""Whether what an active model meets is still what it was fitted on; if not, it is frozen.

Weekly, over 28 days: O/E, alert load, the risk's distribution (PSI), how many days can be
scored, and which devices are worn. Any of them out of bounds: monitoring only.

Out of bounds is a figure whose 95 % patient-bootstrap interval lies beyond them: at 60 patients a month's O/E
and load leave theirs by chance in every second week, and a version that is always frozen is of no use
(how often: docs/flare-evaluation.md).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.risk.alert_measures import MONTH, fire
from analytics.risk.arrays import Floats, Marks
from analytics.risk.cohort import Cohort
from analytics.risk.landmarks import hazards
from analytics.risk.measures import Estimate, Resampling, estimate, ratio
from analytics.risk.model import HORIZON, Model
from analytics.risk.panel import carried
from analytics.risk.site_fit import LOAD_DAYS, risk_matrix

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

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Profile:
    """What a model met when it was fitted, kept with it to be compared with later.

    Parameters
    ----------
    risk_edges : list of float
        Nine edges of tenths of the 7-day risk.
    load : float
        Alerts per eligible patient and 30 days at its threshold.
    sufficiency : float
        Share of patient-days with enough data.
    segments : float
        Changes of wearable per 100 patient-days.
    """

    risk_edges: list[float]
    load: float
    sufficiency: float
    segments: float


def profile(cohort: Cohort, model: Model) -> Profile:
    """Profile of the last eight weeks: personal rates spread as pasts grow longer, and alerts with them."""
    part = slice(max(0, cohort.panel.shape[1] - LOAD_DAYS), cohort.panel.shape[1])
    risk = risk_matrix(cohort, model)[:, part]
    own = risk[~np.isnan(risk)]
    edges = np.quantile(own, np.linspace(0, 1, _CLASSES + 1)[1:-1]) if len(own) else np.zeros(_CLASSES - 1)
    alone = Resampling(len(cohort.panel.patients), draws=0)
    figures = (_load(risk, model, alone), _sufficiency(cohort, part, alone), _swaps(cohort, part, alone))
    return Profile([float(edge) for edge in edges], *(float(np.nan_to_num(one[0])) for one in figures))


@dataclass(frozen=True)
class Drift:
    """Figures of the last 28 days and what is out of bounds."""

    observed_expected: Estimate
    load: Estimate
    psi: float
    sufficiency: float
    reasons: list[str]


def measure_drift(cohort: Cohort, model: Model, known: Profile) -> Drift:
    """Hold the last 28 days whose labels are known against the model and its profile."""
    last = cohort.panel.shape[1] - 1 - HORIZON - 2
    part = slice(max(0, last - WINDOW_DAYS + 1), last + 1)
    resampling = Resampling(len(cohort.panel.patients))
    risk = risk_matrix(cohort, model)[:, part]
    onsets, count = _observed_expected(cohort, model, part, resampling)
    load = estimate(_load(risk, model, resampling))
    shift, least_shift = _psi(risk, known.risk_edges, resampling)
    enough = estimate(_sufficiency(cohort, part, resampling))
    swaps = estimate(_swaps(cohort, part, resampling))
    found: list[str] = []
    if count >= LEAST_EXPECTED and not onsets.overlaps(*OE_RANGE):
        found.append(f"observed/expected onsets {onsets}, bounds {OE_RANGE[0]}-{OE_RANGE[1]}")
    low, high = (known.load * (1 + sign * LOAD_TOLERANCE) for sign in (-1, 1))
    wanted = known.load * (~np.isnan(risk)).sum() / MONTH
    if wanted >= LEAST_ALERTS and not load.overlaps(low, high):
        found.append(f"{load} alerts per patient-month, {known.load:.2f} when it was fitted")
    if least_shift > PSI_LIMIT:
        found.append(f"population stability index of the risk {shift:.2f}, at most {PSI_LIMIT}")
    if enough.high < known.sufficiency - SUFFICIENCY_DROP:
        before = f"{100 * known.sufficiency:.0f} % had"
        found.append(f"{100 * enough.value:.0f} % of days have enough data, {before}")
    if swaps.low > known.segments + DEVICE_CHANGE:
        found.append(f"{swaps.value:.2f} changes of wearable per 100 days, {known.segments:.2f} before")
    return Drift(onsets, load, shift, enough.value, found)


def _observed_expected(
    cohort: Cohort, model: Model, part: slice, resampling: Resampling
) -> tuple[Estimate, float]:
    """O/E, and how many onsets were expected."""
    chosen = cohort.rows.of_columns(part.start, part.stop - 1)
    rows, patients = cohort.rows.where(chosen), len(cohort.panel.patients)
    history = cohort.of_rows(cohort.history(model))[chosen]
    is_there = rows.followed[:, None] > np.arange(HORIZON)
    due = np.where(is_there, hazards(model, rows, history), 0).sum(axis=1)
    seen, expected = (
        resampling.sums(np.bincount(rows.patient, one, patients).astype(np.float64))
        for one in ((rows.event > 0).astype(np.float64), due)
    )
    # a row sees an onset up to seven times over
    return estimate(ratio(seen, expected)), float(expected[0]) / HORIZON


def _load(risk: Floats, model: Model, resampling: Resampling) -> Floats:
    alerts = fire(risk, 1.0 if model.theta is None else model.theta)
    return MONTH * ratio(*_sums(resampling, alerts, ~np.isnan(risk)))


def _psi(risk: Floats, edges: list[float], resampling: Resampling) -> tuple[float, float]:
    """Population stability index against tenths, and the lower end of its interval.

    The draws stand as far above the sample as it stands above the site: the interval is turned round.
    """
    place = np.searchsorted(edges, np.nan_to_num(risk), side="right")
    is_there = ~np.isnan(risk)
    counts = np.stack([((place == one) & is_there).sum(axis=1) for one in range(_CLASSES)], axis=1)
    sums = resampling.sums(counts.astype(np.float64))
    share = np.maximum(sums / np.maximum(sums.sum(axis=1, keepdims=True), 1), 1e-4)
    found = np.where(sums.sum(axis=1) > 0, ((share - 1 / _CLASSES) * np.log(share * _CLASSES)).sum(axis=1), 0)
    own = estimate(found)
    return own.value, 2 * own.value - own.high


def _sufficiency(cohort: Cohort, part: slice, resampling: Resampling) -> Floats:
    there = cohort.panel.is_present[:, part]
    return ratio(*_sums(resampling, cohort.is_sufficient[:, part] & there, there))


def _swaps(cohort: Cohort, part: slice, resampling: Resampling) -> Floats:
    streams = cohort.panel.segments.values()
    changes = np.zeros(cohort.panel.shape, np.int64)[:, part]
    for segment in streams:
        held = carried(segment[:, part])
        changes[:, 1:] += (held[:, 1:] != held[:, :-1]) & (held[:, :-1] >= 0)
    top, bottom = _sums(resampling, changes, cohort.panel.is_present[:, part])
    return 100 * ratio(top, bottom) / max(1, len(streams))


def _sums(resampling: Resampling, *marks: Marks | Ints) -> list[Floats]:
    return [resampling.sums(one.sum(axis=1).astype(np.float64)) for one in marks]
