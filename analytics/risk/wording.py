"""What a score means: message id and parameters with the patient's own numbers.

:mod:`analytics.risk.languages` makes sentences of them. What is said of a deviation is
"changed from usual", never a risk; a forecast is said as what followed on similar days,
and only under an approved model.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from analytics.risk import flare, status
from analytics.risk.baseline import Deviation, off_scale
from analytics.risk.flare import Judged
from analytics.risk.hazard import reference_class
from analytics.risk.labels import CEILING, TOO_FEW
from analytics.risk.model import Model

#: Mean deviation from which on three days count as changed.
CHANGED: Final = 1.0
#: A single metric is named from here on.
NAMED: Final = 0.5
#: Contribution (log-odds) worth a word, and how many of the features get one.
LEAST_CONTRIBUTION, NAMED_FEATURES = 0.10, 3
OWN_HISTORY: Final = "own_history"

#: Why pain scores cannot tell a flare.
LABEL_QUALITY: Final = {
    TOO_FEW: "fewer than 5 pain scores in the days before: only a reported flare counts",
    CEILING: "usual pain above 9 of 10: the scale has no room, only a reported flare counts",
}
_TOO_LITTLE: Final = (
    "fewer than two of steps, sleep, resting heart rate and RMSSD with a baseline and two values in "
    "four days ({streams}), and fewer than seven pain scores in four weeks ({scores}) or none in four days"
)

Message = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """Message of one patient-day, why it has its status, and the contributions worth a word."""

    message: str
    parameters: Message
    reason: str
    drivers: list[tuple[str, float]]


def say(judged: Judged, model: Model, row: int, column: int) -> Said:
    """What is said of one patient-day."""
    state = judged.scores.standing.word(row, column)
    because, reason = _reason(judged, model, state, row, column)
    found = drivers(judged, row, column)
    if state == status.LEARNING:
        days = int(judged.scores.standing.monitored_days[row, column])
        return Said("learning", {"day": days, "of": status.LEARNING_DAYS}, reason, found)
    if state == status.INSUFFICIENT and because is not None:
        return Said("suspended", {"reason": because}, reason, found)
    parameters: Message = {"change": _change(judged, row, column)}
    if because is not None:
        parameters["reason"] = because
    if state in (status.UNCALIBRATED, status.OK):
        return Said("scored", parameters | _why(judged, model, found, row, column), reason, found)
    return Said(state, parameters, reason, found)


def drivers(judged: Judged, row: int, column: int) -> list[tuple[str, float]]:
    """Contributions worth a word: the three largest of the features, and the own history."""
    parts = judged.scores.contributions.items()
    found = [(name, round(float(values[row, column]), 4)) for name, values in parts]
    found = [(name, value) for name, value in found if abs(value) >= LEAST_CONTRIBUTION]
    found.sort(key=lambda pair: (-abs(pair[1]), pair[0]))
    named = [name for name, _ in found if name != OWN_HISTORY][:NAMED_FEATURES]
    return [pair for pair in found if pair[0] in (*named, OWN_HISTORY)]


def _reason(judged: Judged, model: Model, state: str, row: int, column: int) -> tuple[Message | None, str]:
    """Why the status is what it is: as part of the sentence (where it belongs there), and in words."""
    stand = judged.scores.standing
    if state == status.LEARNING:
        return None, f"day {stand.monitored_days[row, column]} of {status.LEARNING_DAYS}"
    if state == status.INSUFFICIENT:
        away = _away(judged, row, column)
        if away:
            return {"id": away[0]}, f"suspended: {', '.join(away)} noted for this day"
        counts = {"streams": stand.stream_count[row, column], "scores": stand.score_count[row, column]}
        return None, _TOO_LITTLE.format(**counts)
    if state == status.UNCALIBRATED:
        if model.standing == "shipped":
            return None, "the shipped weights have not been held against flares of this site; no alerts"
        if model.standing == "frozen":
            return None, f"model {model.version} is frozen, monitoring only: flarecast model list says why"
        return None, f"model {model.version} is fitted and nobody has approved it; no alerts"
    if state == status.OK:
        return None, f"model {model.version} is approved at this site"
    return _flare(judged, row, column)


def _away(judged: Judged, row: int, column: int) -> list[str]:
    """Why the day is suspended; empty when it is not."""
    return [name for name, days in sorted(judged.panel.suspended.items()) if days[row, column]]


def _flare(judged: Judged, row: int, column: int) -> tuple[Message, str]:
    """The report, or the pain scores, behind a flare; days before the first one judged are counted back."""
    panel, labels = judged.panel, judged.labels
    recent = range(max(0, column - 2), column + 1)
    tapped = [c for c in recent if labels.is_tapped[row, c]]
    if tapped:
        day = str(panel.day(tapped[-1]))
        return {"id": "tapped", "date": day}, f"flare reported on {day}"
    above = [c for c in recent if labels.exceeds[row, c]]
    pain, usual = float(panel.values["nrs"][row, above[-1]]), float(labels.mean_nrs[row, above[-1]])
    days = [str(panel.day(c)) for c in above[-2:]]
    text = f"pain {pain:.0f} (usually {usual:.1f}) on {' and '.join(days)}"
    return {"id": "exceeded", "pain": pain, "usual": usual, "dates": days}, text


def _why(judged: Judged, model: Model, found: list[tuple[str, float]], row: int, column: int) -> Message:
    """What is associated with flares here, the own history, and what followed on similar days."""
    parts: Message = {}
    names = [name for name, value in found if value > 0 and name != OWN_HISTORY]
    if names:
        basis = "drivers_published" if model.standing == "shipped" else "drivers_site"
        parts["drivers"] = {"id": basis, "features": names, "verb": "is" if len(names) == 1 else "are"}
    scores = judged.scores
    if OWN_HISTORY in dict(found) and scores.onsets[row, column]:
        onsets = int(scores.onsets[row, column])
        parts["history"] = {
            "id": OWN_HISTORY if onsets > 1 else f"{OWN_HISTORY}_one",
            "onsets": onsets,
            "expected": float(scores.expected[row, column]),
        }
    if model.standing == "approved":
        similar = reference_class(model, float(scores.risk_7d[row, column]))
        if similar is not None:
            parts["reference"] = {"id": "reference", "of_100": round(100 * similar.followed / similar.days)}
    return parts


def _change(judged: Judged, row: int, column: int) -> Message:
    """The last three days beside what is usual."""
    scores = judged.scores
    if scores.standing.monitored_days[row, column] < status.LEARNING_DAYS:
        return {"id": "not_learned"}
    away = _away(judged, row, column)
    if away:
        return {"id": "not_compared", "why": {"id": away[0]}}
    value = float(scores.deviation[row, column])
    if np.isnan(value):
        cells = len(flare.DEVIATION_METRICS) * flare.DEVIATION_DAYS
        return {"id": "too_little", "cells": int(scores.cell_count[row, column]), "of": cells}
    mean_z = {name: float(scores.mean_z[name][row, column]) for name in flare.DEVIATION_METRICS}
    there = sorted((z, name) for name, z in mean_z.items() if not np.isnan(z))
    if value <= -CHANGED:
        message, named = "changed_down", [name for z, name in there if z <= -NAMED]
    elif value >= CHANGED:
        message, named = "changed_up", [name for z, name in reversed(there) if z >= NAMED]
    else:
        # one stream far off and the others not is neither a change nor "close to usual"
        is_mixed = any(abs(z) >= CHANGED for z, _ in there)
        message, named = "mixed" if is_mixed else "close", [name for _, name in there]
    return {"id": message, "metrics": [_numbers(judged.deviations[name], row, column) for name in named]}


def _numbers(deviation: Deviation, row: int, column: int) -> tuple[str, float, float]:
    """Mean of the last three days and what is usual, in the metric's own unit."""
    metric = deviation.metric
    first = max(0, column - flare.DEVIATION_DAYS + 1)
    count, now, then = 0, 0.0, 0.0
    for recent, usual in zip(
        deviation.value[row, first : column + 1].tolist(),
        deviation.center[row, first : column + 1].tolist(),
        strict=True,
    ):
        # a sum with NaN in it is none
        if not math.isnan(recent + usual):
            count, now, then = count + 1, now + recent, then + usual
    now, then = off_scale(np.array([now / count, then / count]), metric).tolist()
    return metric.id, round(now, 1), round(then, 1)
