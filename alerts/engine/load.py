"""How much the alerts ask of the team, and whether they were right: pure over the alerts' rows."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from alerts.engine.alert import Alert
from alerts.engine.evaluate import event_time
from devices.clock import DAY, HOUR

WEEK: Final = 7 * DAY
#: Alerts for the staff per 100 patients and week that a team can answer.
BUDGET: Final = 15.0
_Z95: Final = 1.96


@dataclass(frozen=True, slots=True)
class Load:
    """What the alerts of a period asked.

    Parameters
    ----------
    per_100_weeks : float or None
        Alerts for the staff, technical ones too, per 100 patients and week.
    right, answered, unanswered : int
        Outcomes "true flare", all outcomes, alerts without one.
    ack_h : float or None
        Median hours to the first acknowledgement.
    top_tenth : float or None
        Share of the alerts that the tenth of patients with the most have.
    """

    alerts: int
    per_100_weeks: float | None
    by_rule: dict[str, int]
    right: int
    answered: int
    unanswered: int
    ack_h: float | None
    top_tenth: float | None

    @property
    def is_over(self) -> bool:
        """Whether the team is asked for more than the budget."""
        return self.per_100_weeks is not None and self.per_100_weeks > BUDGET


def load_of(alerts: Sequence[Alert], patients: int, begin: int, end: int) -> Load:
    """Load of the alerts of the nights, or instants, from `begin` to `end`."""
    own = [one for one in alerts if begin <= _when(one) < end]
    weeks = (end - begin) / WEEK
    rate = 100 * len(own) / patients / weeks if patients and weeks > 0 else None
    outcomes = [one.outcome for one in own if one.outcome]
    waits = [(one.first_acked_utc - one.opened_utc) / HOUR for one in own if one.first_acked_utc is not None]
    of_rules = Counter(one.rule for one in own)
    of_patients = Counter(one.subject for one in own if one.scope == "patient")
    top = sum(count for _, count in of_patients.most_common(max(1, math.ceil(patients / 10))))
    return Load(
        alerts=len(own),
        per_100_weeks=rate,
        by_rule=dict(sorted(of_rules.items(), key=lambda item: (-item[1], item[0]))),
        right=outcomes.count("true-flare"),
        answered=len(outcomes),
        unanswered=len(own) - len(outcomes),
        ack_h=median(waits) if waits else None,
        top_tenth=top / of_patients.total() if of_patients else None,
    )


def _when(one: Alert) -> int:
    """The night an alert is about, also when it was judged much later; its opening without one."""
    return event_time(one.night) if one.night is not None else one.opened_utc


def wilson(right: int, count: int) -> tuple[float, float] | None:
    """95 % interval of a share (Wilson 1927); None of nothing."""
    if not count:
        return None
    share, z2 = right / count, _Z95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def in_words(load: Load) -> list[str]:
    """One line per figure; the first is the load line."""
    if load.per_100_weeks is None:
        return ["load: no patient is enrolled"]
    over = f" - OVER THE BUDGET of {BUDGET:.0f}" if load.is_over else f" (budget {BUDGET:.0f})"
    lines = [f"load: {load.per_100_weeks:.1f} alerts per 100 patients and week{over}; {load.alerts} in all"]
    lines += [f"  {rule:20} {count}" for rule, count in load.by_rule.items()]
    interval = wilson(load.right, load.answered)
    if interval is None:
        lines.append(f"right by outcome: not known, none of {load.unanswered} has an outcome")
    else:
        lines.append(
            f"right by outcome: {load.right} of {load.answered} ({100 * interval[0]:.0f} to"
            f" {100 * interval[1]:.0f} %, 95 %); {load.unanswered} without an outcome"
        )
    waited = "nobody has acknowledged one" if load.ack_h is None else f"median {load.ack_h:.1f} h"
    lines.append(f"time to acknowledge: {waited}")
    if load.top_tenth is not None:
        lines.append(f"the tenth of patients with the most has {100 * load.top_tenth:.0f} % of them")
    return lines
