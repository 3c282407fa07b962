"""What a score means, in one sentence with the patient's own numbers.

"Changed from usual" and "associated with": never "caused by", never a risk.
"""

from typing import Final

import numpy as np

from analytics.metrics import METRICS
from analytics.risk import flare, status
from analytics.risk.baseline import Deviation, off_scale
from analytics.risk.flare import Scores
from analytics.risk.labels import Labels
from analytics.risk.panel import Panel

#: Mean deviation from which on three days count as changed.
CHANGED: Final = 1.0
#: A single metric is named from here on.
NAMED: Final = 0.5
#: Contribution (log-odds) worth a word.
LEAST_CONTRIBUTION: Final = 0.10

#: What a positive contribution of a feature looks like; the own history is no finding of any study.
_DRIVERS: Final = {
    "nrs_1": "more pain than usual",
    "mood_3": "lower mood than usual",
    "rhr_3": "a higher resting heart rate than usual",
    "lnr_3": "lower heart-rate variability than usual",
    "tst_3": "less sleep than usual",
    "waso_3": "more wakefulness at night than usual",
    "over3": "more steps than usual",
    "recent": "a recent flare",
}


def drivers(scores: Scores, row: int, column: int) -> list[tuple[str, float]]:
    """Contributions worth a word, largest first."""
    found = [(name, float(values[row, column])) for name, values in scores.contributions.items()]
    found = [(name, round(value, 4)) for name, value in found if abs(value) >= LEAST_CONTRIBUTION]
    return sorted(found, key=lambda pair: (-abs(pair[1]), pair[0]))[:4]


def reason(panel: Panel, labels: Labels, scores: Scores, row: int, column: int) -> str:
    """Why the status is what it is."""
    state = scores.standing.word(row, column)
    if state == status.LEARNING:
        return f"day {scores.standing.monitored_days[row, column]} of {status.LEARNING_DAYS}"
    if state == status.INSUFFICIENT:
        return (
            "fewer than two of steps, sleep, resting heart rate and RMSSD with a baseline and two values in "
            "four days, and fewer than seven pain scores in four weeks or none in four days"
        )
    if state == status.UNCALIBRATED:
        return "the shipped weights have not been held against flares of this site; no alerts from them"
    recent = range(max(0, column - 2), column + 1)
    tapped = [c for c in recent if labels.is_tapped[row, c]]
    if tapped:
        return f"flare reported on {panel.day(tapped[-1])}"
    above = [c for c in recent if labels.exceeds[row, c]]
    pain, usual = panel.values["nrs"][row, above[-1]], labels.mean_nrs[row, above[-1]]
    days = " and ".join(str(panel.day(c)) for c in above[-2:])
    return f"pain {pain:.0f} (usually {usual:.1f}) on {days}"


def sentence(scores: Scores, deviations: dict[str, Deviation], why: str, row: int, column: int) -> str:
    """One sentence for the care team."""
    state = scores.standing.word(row, column)
    usual = _comparison(scores, deviations, row, column)
    if state == status.LEARNING:
        return f"Learning what is usual for this patient: {why}."
    if state == status.IN_FLARE:
        return f"In a flare ({why}); {usual}."
    if state == status.POSSIBLE_FLARE:
        return f"Possibly the beginning of a flare ({why}); {usual}."
    if state == status.INSUFFICIENT:
        return f"Not enough to go by; {usual}."
    words = [_DRIVERS[name] for name, value in drivers(scores, row, column) if value > 0 and name in _DRIVERS]
    text = usual[0].upper() + usual[1:]
    if words:
        verb = "is" if len(words) == 1 else "are"
        text += f"; {_listed(words)} {verb} associated with flares in published studies"
    return f"{text}."


def _comparison(scores: Scores, deviations: dict[str, Deviation], row: int, column: int) -> str:
    value = float(scores.deviation[row, column])
    if np.isnan(value):
        cells = len(flare.DEVIATION_METRICS) * flare.DEVIATION_DAYS
        return (
            "too little from the wearable in the last 3 days to compare with usual "
            f"({scores.cell_count[row, column]} of {cells} values)"
        )
    mean_z = {name: float(scores.mean_z[name][row, column]) for name in flare.DEVIATION_METRICS}
    there = sorted((z, name) for name, z in mean_z.items() if not np.isnan(z))
    if value <= -CHANGED:
        named = [name for z, name in there if z <= -NAMED]
        start = "changed from usual over the last 3 days: "
    elif value >= CHANGED:
        named = [name for z, name in reversed(there) if z >= NAMED]
        start = "changed from usual over the last 3 days, upwards: "
    else:
        named = [name for _, name in there]
        # one stream far off and the others not is neither a change nor "close to usual"
        is_mixed = any(abs(z) >= CHANGED for z, _ in there)
        start = "mixed over the last 3 days: " if is_mixed else "close to usual over the last 3 days: "
    return start + ", ".join(_numbers(deviations[name], row, column) for name in named)


def _numbers(deviation: Deviation, row: int, column: int) -> str:
    """Mean of the last three days beside what is usual, in the metric's own unit."""
    metric = deviation.metric
    first = max(0, column - flare.DEVIATION_DAYS + 1)
    recent = deviation.value[row, first : column + 1]
    usual = deviation.center[row, first : column + 1]
    both = ~np.isnan(recent) & ~np.isnan(usual)
    now = float(off_scale(np.array([np.mean(recent[both])], np.float64), metric)[0])
    then = float(off_scale(np.array([np.mean(usual[both])], np.float64), metric)[0])
    return f"{_said(metric.id, now)} (usually {_said(metric.id, then, short=True)})"


def _said(metric: str, value: float, *, short: bool = False) -> str:
    if metric == "steps":
        return f"{value:,.0f}" if short else f"{value:,.0f} steps a day"
    if metric == "tst_min":
        hours, minutes = divmod(round(value), 60)
        return f"{hours} h {minutes:02d}" if short else f"{hours} h {minutes:02d} of sleep a night"
    return f"{value:.0f}" if short else f"{METRICS[metric].name} {value:.0f} ms"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
