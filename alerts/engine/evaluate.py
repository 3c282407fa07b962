"""Whether a rule's condition begins, lasts or ends: pure, in event time.

The clock here is the night, never the time of the run: the same nights give
the same verdicts whenever they are judged.
"""

import math
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from alerts.rules.rule import Readings, ReportedRule, Rule, ThresholdRule, parse_bound


class Outcome(StrEnum):
    """What a night did to the condition."""

    ENTER = "enter"
    STAY = "stay"
    EXIT = "exit"
    NO_DATA = "no-data"


class Band(StrEnum):
    """Where a night's value lies in the eyes of the rule."""

    BREACH = "breach"
    BETWEEN = "between"
    CLEAR = "clear"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class ConditionState:
    """Condition of one rule for one patient after `last_night`."""

    is_firing: bool = False
    since: date | None = None
    last_breach: date | None = None
    clear_count: int = 0
    last_night: date | None = None


#: Nothing judged yet.
IDLE = ConditionState()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a night said: the outcome, where its value lay, and the state after it."""

    outcome: Outcome
    band: Band
    value: float | None
    state: ConditionState


def evaluate(rule: Rule, readings: Readings, night: date, state: ConditionState = IDLE) -> Verdict:
    """Judge one patient's night.

    Parameters
    ----------
    rule : Rule
        The rule.
    readings : mapping
        Columns of the patient and night; an absent or null column is no data.
    night : date
        Local date on which the night ends; later than ``state.last_night``.
    state : ConditionState
        State after the patient's previous judged night.

    Returns
    -------
    Verdict
        ``enter`` and ``exit`` only when the condition changes.

    Raises
    ------
    ValueError
        When `night` is not later than the state's last night: late nights are
        folded anew by the caller, in order.
    """
    if state.last_night is not None and night <= state.last_night:
        raise ValueError(f"night {night} is not after {state.last_night}")
    band, value = band_of(rule, readings)
    outcome, after = step(rule, band, night, state)
    return Verdict(outcome, band, value, after)


def band_of(rule: Rule, readings: Readings) -> tuple[Band, float | None]:
    """Where the night's value lies, and the value."""
    value = _number(readings, rule.column)
    for column, bound in rule.requires.items():
        needed = _number(readings, column)
        if needed is None or not parse_bound(bound).holds(needed):
            return Band.ABSENT, value
    if value is None:
        return Band.ABSENT, None
    if isinstance(rule, ReportedRule):
        return (Band.BREACH if value else Band.CLEAR), value
    if parse_bound(rule.enter).holds(value):
        return Band.BREACH, value
    return (Band.CLEAR if parse_bound(rule.exit).holds(value) else Band.BETWEEN), value


def step(rule: Rule, band: Band, night: date, state: ConditionState) -> tuple[Outcome, ConditionState]:
    """Condition after one more night whose value lay in `band`."""
    after = replace(state, last_night=night)
    if band is Band.BREACH:
        since = state.since if state.is_firing else night
        after = replace(after, is_firing=True, since=since, last_breach=night, clear_count=0)
        return (Outcome.STAY if state.is_firing else Outcome.ENTER), after
    if state.is_firing:
        after = replace(after, clear_count=state.clear_count + (band is Band.CLEAR))
        if _is_over(rule, band, night, after):
            return Outcome.EXIT, replace(after, is_firing=False, since=None, clear_count=0)
    return (Outcome.NO_DATA if band is Band.ABSENT else Outcome.STAY), after


def _is_over(rule: Rule, band: Band, night: date, state: ConditionState) -> bool:
    if isinstance(rule, ThresholdRule):
        return band is Band.CLEAR
    silent_days = (night - state.last_breach).days if state.last_breach else 0
    return state.clear_count >= rule.quiet_days or silent_days >= rule.silent_days


def _number(readings: Readings, column: str) -> float | None:
    value = readings.get(column)
    if value is None or math.isnan(value):
        return None
    return float(value)
