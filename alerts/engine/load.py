"""How much the alerts ask of the team, and whether they were right: pure over the alerts' rows.

Right by *label*: what the patient's own answers later call a flare. Right by *outcome*: what the team
has written down. To have found a flare under way and to have forecast one are counted apart.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import median
from typing import Final

from alerts.engine.alert import Alert
from alerts.engine.evaluate import event_time
from devices.clock import DAY, HOUR

WEEK: Final = 7 * DAY
#: Alerts for the staff per 100 patients and week that a team can answer.
BUDGET: Final = 15.0
#: An alert from this day before a flare's onset to that day of it has found it.
FOUND_FROM, FOUND_TO = -1, 6
#: A forecast is of an onset on one of so many days after its night.
FORECAST_DAYS: Final = 7
#: Nights after which the onsets around an alert are known: the last that count, and two for late answers.
KNOWN_AFTER: Final = 9
#: Of the first so many of these nights one at least must have been judged.
KNOWN_FROM: Final = 7
_Z95: Final = 1.96


@dataclass(frozen=True, slots=True)
class Labels:
    """Onsets of flares as the patients' answers tell them.

    Parameters
    ----------
    onsets : mapping
        Patient -> local dates on which a flare began.
    judged : mapping
        Patient -> nights that were judged.
    forecasts : collection
        Rules whose alerts say that a flare will come; the others, that one is under way.
    """

    onsets: Mapping[str, Collection[date]]
    judged: Mapping[str, Collection[date]]
    forecasts: Collection[str] = ()

    def is_right(self, one: Alert) -> bool | None:
        """Whether a flare began where the alert says; None while that is not known."""
        if one.scope != "patient" or one.night is None:
            return None
        known = self.judged.get(one.subject, ())
        if not any(one.night + timedelta(days=n) in known for n in range(KNOWN_FROM, KNOWN_AFTER + 1)):
            return None
        first, last = (1, FORECAST_DAYS) if one.rule in self.forecasts else (-FOUND_TO, -FOUND_FROM)
        return any(first <= (onset - one.night).days <= last for onset in self.onsets.get(one.subject, ()))


NO_LABELS: Final = Labels({}, {})


@dataclass(frozen=True, slots=True)
class Share:
    """How many of how many were right; `unknown` of others nobody knows it (yet)."""

    right: int = 0
    count: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """What the alerts of a period asked.

    Parameters
    ----------
    per_100_weeks : float or None
        Alerts for the staff, technical ones too, per 100 patients and week.
    found, forecast : Share
        Right by label: alerts that say a flare is under way, and those that say one will come.
    right, answered, unanswered : int
        Patients' alerts with outcome "true flare", with any, and without one.
    ack_h : float or None
        Median hours to the first acknowledgement.
    acked, in_time : int
        Alerts acknowledged ever, and before they were due.
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
    acked: int
    in_time: int
    top_tenth: float | None
    found: Share = field(default=Share())
    forecast: Share = field(default=Share())

    @property
    def is_over(self) -> bool:
        """Whether the team is asked for more than the budget."""
        return self.per_100_weeks is not None and self.per_100_weeks > BUDGET


def load_of(
    alerts: Sequence[Alert],
    patient_weeks: float,
    begin: int,
    end: int,
    *,
    labels: Labels = NO_LABELS,
    due_of: Callable[[Alert], int | None] = lambda _: None,
) -> Load:
    """Load of the alerts of the nights, or instants, from `begin` to `end`.

    Parameters
    ----------
    patient_weeks : float
        Weeks of all patients together that could have raised one.
    labels : Labels, optional
        Onsets to judge them by.
    due_of : callable, optional
        When an alert was to be acknowledged, microseconds UTC; without that nothing counts as in time.
    """
    own = [one for one in alerts if begin <= _when(one) < end]
    of_people = [one for one in own if one.scope == "patient"]
    outcomes = [one.outcome for one in of_people if one.outcome]
    acked = [(one, one.first_acked_utc) for one in own if one.first_acked_utc is not None]
    of_patients = Counter(one.subject for one in of_people)
    return Load(
        alerts=len(own),
        per_100_weeks=100 * len(own) / patient_weeks if patient_weeks > 0 else None,
        by_rule=dict(sorted(Counter(one.rule for one in own).items(), key=lambda item: (-item[1], item[0]))),
        right=outcomes.count("true-flare"),
        answered=len(outcomes),
        unanswered=len(of_people) - len(outcomes),
        ack_h=median((utc - one.opened_utc) / HOUR for one, utc in acked) if acked else None,
        acked=len(acked),
        in_time=sum(utc <= (due_of(one) or 0) for one, utc in acked),
        top_tenth=_top_tenth(of_patients, patient_weeks * WEEK / (end - begin)) if of_patients else None,
        found=_share([labels.is_right(one) for one in of_people if one.rule not in labels.forecasts]),
        forecast=_share([labels.is_right(one) for one in of_people if one.rule in labels.forecasts]),
    )


def _when(one: Alert) -> int:
    """The night an alert is about, also when it was judged much later; its opening without one."""
    return event_time(one.night) if one.night is not None else one.opened_utc


def _top_tenth(of_patients: Counter[str], patients: float) -> float:
    most = of_patients.most_common(max(1, math.ceil(round(patients) / 10)))
    return sum(count for _, count in most) / of_patients.total()


def _share(judged: Sequence[bool | None]) -> Share:
    known = [one for one in judged if one is not None]
    return Share(sum(known), len(known), len(judged) - len(known))


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
        return ["load: not known, no patient's night has been published in this time"]
    over = f" - OVER THE BUDGET of {BUDGET:.0f}" if load.is_over else f" (budget {BUDGET:.0f})"
    lines = [f"load: {load.per_100_weeks:.1f} alerts per 100 patients and week{over}; {load.alerts} in all"]
    lines += [f"  {rule:20} {count}" for rule, count in load.by_rule.items()]
    lines.append(f"right by label, a flare under way: {_label_words(load.found)}")
    if load.forecast.count or load.forecast.unknown:
        lines.append(f"right by label, a flare forecast: {_label_words(load.forecast)}")
    told = load.answered + load.unanswered
    if not load.answered:
        lines.append(f"right by outcome: not known, none of {told} has an outcome")
    else:
        lines.append(
            f"right by outcome: {_of(load.right, load.answered)} answered;"
            f" {load.unanswered} unanswered, with which it is {_of(load.right, told)}"
        )
    if load.ack_h is None:
        lines.append("time to acknowledge: nobody has acknowledged one")
    else:
        lines.append(
            f"time to acknowledge: median {load.ack_h:.1f} h; {load.acked} of {load.alerts} acknowledged,"
            f" {load.in_time} in time"
        )
    if load.top_tenth is not None:
        lines.append(f"the tenth of patients with the most has {100 * load.top_tenth:.0f} % of them")
    return lines


def _label_words(share: Share) -> str:
    young = f"of {share.unknown} not known: it takes {KNOWN_AFTER} nights"
    if not share.count:
        return f"not known of any; {young}" if share.unknown else "no alert"
    return f"{_of(share.right, share.count)}" + (f"; {young}" if share.unknown else "")


def _of(right: int, count: int) -> str:
    low, high = wilson(right, count) or (0.0, 1.0)
    return f"{right} of {count} ({100 * low:.0f} to {100 * high:.0f} %, 95 %)"
