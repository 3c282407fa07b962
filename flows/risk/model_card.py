"""The card of a model version: one HTML page that needs nothing else, pictures drawn in it."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Any, Final

import jinja2
from markupsafe import Markup

from analytics.metrics import METRICS
from analytics.risk.evaluation import Evaluation
from analytics.risk.gates import SUBGROUP_ONSETS, Gate, Subgroup
from analytics.risk.measures import Estimate
from analytics.risk.site_fit import SiteFit

#: Budgets the card shows, alerts per patient and 30 days.
BUDGETS: Final = (0.5, 1.0, 2.0)

#: Budget, load, sensitivity and PPV.
Row = tuple[float, Estimate, Estimate, Estimate]


@dataclass(frozen=True)
class CardFacts:
    """What stands on a card.

    Parameters
    ----------
    budgets : sequence of (budget, load, sensitivity, ppv)
        On the validation days, thresholds from the training days.
    site_budgets : sequence of (budget, load, sensitivity, ppv)
        The same per 100 patients and week, as a risk rule goes by it.
    curve : dict of str to list of float
        Net benefit per name, at `thresholds`.
    missing : sequence of (what, training, validation)
        Share of the patient-days that have it.
    sources : sequence of (what a flare was known by, training, validation)
        Onsets, and those an alert came before.
    known_traits : int
        Patients of whom age, sex or work days are written down.
    """

    fit: SiteFit
    parent: str
    first: date
    train_to: date
    validation: tuple[date, date]
    evaluation: Evaluation
    budgets: Sequence[Row]
    site_budgets: Sequence[Row]
    thresholds: Sequence[float]
    curve: dict[str, list[float]]
    missing: Sequence[tuple[str, float, float]]
    sources: Sequence[tuple[str, tuple[int, int], tuple[int, int]]]
    code: str
    patients: int
    is_synthetic: bool
    known_traits: int = 0
    created: str = ""


def render_card(facts: CardFacts) -> str:
    """The page."""
    found = facts.evaluation
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = (files("flows.risk") / "model_card.html").read_text("utf-8")
    model = facts.fit.model
    weights = [
        (name, weight, facts.fit.errors.get(name, (None, None))[0], model.slopes.get(name, 0.0))
        for name, weight in model.weights.items()
    ]
    return environment.from_string(page).render(
        f=facts,
        model=model,
        found=found,
        weights=weights,
        gates=facts.fit.gates,
        sign=_sign,
        name_of=lambda one: METRICS[one].name if one in METRICS else one,
        subgroups=[_subgroup_row(one) for one in facts.fit.validation.subgroups],
        least_onsets=SUBGROUP_ONSETS,
        calibration=Markup(_calibration(found)),
        decision=Markup(_decision(facts)),
        load=Markup(_load(facts)),
    )


def _subgroup_row(one: Subgroup) -> tuple[str, int, str]:
    if not one.onsets or one.log_error != one.log_error:
        return one.name, one.onsets, ""
    low, high = (one.observed_expected * math.exp(sign * 1.96 * one.log_error) for sign in (-1, 1))
    return one.name, one.onsets, f"{one.observed_expected:.2f} ({low:.2f} to {high:.2f})"


def _sign(gate: Gate) -> str:
    return {"pass": "passed", "fail": "FAILED", "wait": "extend validation"}[gate.answer]


def _svg(figure: Any) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _axes(title: str, x: str, y: str) -> tuple[Any, Any]:
    # slow to import, and needed here only; no window system is asked for
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _calibration(found: Evaluation) -> str:
    figure, axes = _axes("Calibration by tenths of the risk", "said: onset within 7 days", "seen")
    said = [one.predicted for one in found.deciles]
    seen = [one.observed.value for one in found.deciles]
    low = [max(0.0, one.observed.value - one.observed.low) for one in found.deciles]
    high = [max(0.0, one.observed.high - one.observed.value) for one in found.deciles]
    top = 1.1 * max(
        [*said, *(one.observed.high for one in found.deciles if one.observed.high == one.observed.high)]
    )
    axes.plot([0, top], [0, top], color="#999", linewidth=1, linestyle="--", label="said = seen")
    axes.errorbar(said, seen, yerr=[low, high], fmt="o", color="#1f5f8b", markersize=4, capsize=2)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure)


def _decision(facts: CardFacts) -> str:
    figure, axes = _axes("Decision curve", "threshold of the 7-day risk", "net benefit per 100 days")
    styles = {"model": ("#1f5f8b", "-"), "own past rate": ("#b5651d", "--"), "all": ("#999", ":")}
    for name, (colour, style) in styles.items():
        values = [100 * one for one in facts.curve[name]]
        axes.plot(facts.thresholds, values, color=colour, linestyle=style, label=name, linewidth=1.4)
    axes.axhline(0, color="#444", linewidth=0.8, label="none")
    lowest = min(min(100 * one for one in facts.curve["model"]), 0)
    axes.set_ylim(bottom=lowest - 1)
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure)


def _load(facts: CardFacts) -> str:
    figure, axes = _axes("Load at budgets", "budget, alerts per patient-month", "load on the validation days")
    wanted = [budget for budget, *_ in facts.budgets]
    values = [load.value for _, load, _, _ in facts.budgets]
    spread = [
        [load.value - load.low for _, load, _, _ in facts.budgets],
        [load.high - load.value for _, load, _, _ in facts.budgets],
    ]
    axes.plot([0, 2.2], [0, 2.2], color="#999", linewidth=1, linestyle="--", label="as budgeted")
    axes.errorbar(wanted, values, yerr=spread, fmt="o", color="#1f5f8b", markersize=4, capsize=2)
    axes.set_xlim(0, 2.2)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure)
