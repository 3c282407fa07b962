"""Whether a fitted version may be proposed for approval: designed gates, three answers.

A gate that asks for an interval *inside* [.8, 1.25] passes a perfect model almost never at real site
sizes; one that asks only that the two meet passes everything at small ones. So the interval must meet the
range *and* be narrow enough to mean something, and too few onsets are no verdict: "extend validation".
How often a perfect and a useless model pass: docs/flare-evaluation.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np

from analytics.risk.measures import Calibration, Estimate

SLOPE_RANGE: Final = (0.8, 1.25)
WIDEST_SLOPE: Final = 1.0
LEAST_ONSETS: Final = 50
#: A version may be worse than the active one by this much AUC.
AUC_TOLERANCE: Final = 0.01
LOAD_TOLERANCE: Final = 0.25
SUBGROUP_ONSETS: Final = 30
SUBGROUP_RANGE: Final = (0.7, 1.4)
FAMILY_ALPHA: Final = 0.05

Answer = Literal["pass", "fail", "wait"]


@dataclass(frozen=True)
class Subgroup:
    """One part of the validation: ln(O/E) and its standard error from the patient bootstrap."""

    name: str
    onsets: int
    observed_expected: float
    log_error: float


@dataclass(frozen=True)
class Validation:
    """What the validation days said of a candidate.

    Parameters
    ----------
    onsets : int
        Different onsets that the rows saw.
    auc : Estimate
        Of onsets within 7 days, with the personal rate.
    auc_gain : Estimate
        The same minus that of the active version, paired.
    benefit_gain : Estimate
        Net benefit at the alert threshold minus that of the own past rate, paired.
    load : Estimate
        Alerts per eligible patient and 30 days, threshold as fixed on the training days.
    """

    onsets: int
    calibration: Calibration
    auc: Estimate
    auc_gain: Estimate
    benefit_gain: Estimate
    load: Estimate
    budget: float
    subgroups: Sequence[Subgroup] = ()


@dataclass(frozen=True)
class Gate:
    """One gate's answer and the figure behind it."""

    name: str
    answer: Answer
    said: str


def judge_gates(validation: Validation) -> list[Gate]:
    """Every gate; `wait` wherever more validation days may still change the answer."""
    own = validation
    slope, large = own.calibration.slope, own.calibration.in_the_large
    enough = own.onsets >= LEAST_ONSETS

    def gate(name: str, is_good: bool, said: str, *, can_wait: bool = False) -> Gate:
        answer: Answer = "pass" if is_good else ("wait" if can_wait or not enough else "fail")
        return Gate(name, answer, said)

    low, high = SLOPE_RANGE
    budget_low, budget_high = (own.budget * (1 + sign * LOAD_TOLERANCE) for sign in (-1, 1))
    found = [
        gate("onsets", enough, f"{own.onsets} in the validation days, {LEAST_ONSETS} needed", can_wait=True),
        gate("slope", slope.overlaps(low, high), f"{slope}, must meet {low}-{high}"),
        gate(
            "slope width",
            slope.width <= WIDEST_SLOPE,
            f"interval {slope.width:.2f} wide, at most {WIDEST_SLOPE}",
            can_wait=True,
        ),
        gate("calibration in the large", large.overlaps(0, 0), f"{large}, must contain 0"),
        gate("discrimination", own.auc.low > 0.5, f"AUC {own.auc}, lower end above 0.5"),
        gate(
            "not worse than the active version",
            own.auc_gain.high >= -AUC_TOLERANCE,
            f"AUC gain {own.auc_gain}, upper end at least -{AUC_TOLERANCE}",
        ),
        gate(
            "net benefit",
            own.benefit_gain.high >= 0,
            f"against the own past rate {1000 * own.benefit_gain.value:+.1f} "
            f"({1000 * own.benefit_gain.low:+.1f} to {1000 * own.benefit_gain.high:+.1f}) per 1,000 days, "
            "upper end at least 0",
        ),
        gate(
            "alert load",
            own.load.overlaps(budget_low, budget_high),
            f"{own.load} per patient-month, must meet {budget_low:.2f}-{budget_high:.2f}",
        ),
    ]
    return [*found, *_subgroup_gates(own.subgroups)]


def verdict(gates: Sequence[Gate]) -> Answer:
    """pass when every gate does; fail when one has; else wait: extend validation."""
    answers = {gate.answer for gate in gates}
    if "fail" in answers:
        return "fail"
    return "wait" if "wait" in answers else "pass"


def _subgroup_gates(subgroups: Sequence[Subgroup]) -> list[Gate]:
    """O/E of every subgroup with enough onsets; the level is shared among them (Bonferroni)."""
    judged = [one for one in subgroups if one.onsets >= SUBGROUP_ONSETS]
    if not judged:
        return []
    z = NormalDist().inv_cdf(1 - FAMILY_ALPHA / len(judged) / 2)
    low, high = SUBGROUP_RANGE
    found: list[Gate] = []
    for one in judged:
        half = z * one.log_error
        least, most = (float(one.observed_expected * np.exp(sign * half)) for sign in (-1, 1))
        is_good = least <= high and most >= low
        said = f"O/E {one.observed_expected:.2f} ({least:.2f} to {most:.2f}), must meet {low}-{high}"
        found.append(Gate(f"subgroup {one.name}", "pass" if is_good else "fail", said))
    return found
