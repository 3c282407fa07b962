"""Whether a rule's condition begins, lasts or ends: pure, in event time.

The clock here is the event's (for the nightly rules the night, as a calendar day of 24 h), never the
time of the run: the same readings give the same verdicts whenever they are judged.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Literal, TypeAlias

from alerts.rules.bounds import parse_bound, parse_duration
from alerts.rules.rule import (
    CompositeRule,
    Override,
    Readings,
    ReportedRule,
    RiskRule,
    StateRule,
    ThresholdRule,
    TrendRule,
)
from devices.clock import DAY

Phase: TypeAlias = Literal["idle", "pending", "firing", "clearing"]
_EPOCH = date(1970, 1, 1)


class Outcome(StrEnum):
    """What a reading did to the condition."""

    ENTER = "enter"
    STAY = "stay"
    EXIT = "exit"
    NO_DATA = "no-data"


class Band(StrEnum):
    """Where a reading lies in the eyes of the rule."""

    BREACH = "breach"
    BETWEEN = "between"
    CLEAR = "clear"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class ConditionState:
    """Condition of one rule for one patient after the reading at `last_at`; instants in event time, us."""

    phase: Phase = "idle"
    since: int | None = None
    clear_since: int | None = None
    last_breach: int | None = None
    last_seen: int | None = None
    last_at: int | None = None
    clear_count: int = 0

    @property
    def is_firing(self) -> bool:
        """Whether the condition holds; while it is clearing it still does."""
        return self.phase in ("firing", "clearing")


#: Nothing judged yet.
IDLE = ConditionState()


def event_time(night: date) -> int:
    """A night on the axis of event time: calendar days of 24 h each, whatever the clocks did."""
    return (night - _EPOCH).days * DAY


def night_of(at: int) -> date:
    """The night at a point of event time."""
    return date.fromordinal(_EPOCH.toordinal() + at // DAY)


def fold(rule: StateRule, readings: Mapping[int, Band]) -> ConditionState:
    """Condition after all readings (event time -> band), in the order of event time."""
    state = IDLE
    for at in sorted(readings):
        state = step(rule, readings[at], at, state)[1]
    return state


def step(rule: StateRule, band: Band, at: int, state: ConditionState) -> tuple[Outcome, ConditionState]:
    """Condition after one more reading in `band` at event time `at`.

    Raises
    ------
    ValueError
        When `at` is not later than the state's last reading: late ones are folded anew, in order.
    """
    if state.last_at is not None and at <= state.last_at:
        raise ValueError(f"a reading at {at} is not after {state.last_at}")
    before = _after_gap(rule, state, at)
    after = replace(before, last_at=at)
    if band is Band.ABSENT:
        if before.is_firing and _is_silent_over(rule, at, before):
            return Outcome.EXIT, _ended(after)
        return Outcome.NO_DATA, after
    after = replace(after, last_seen=at)
    if band is Band.BREACH:
        return _breach(rule, at, before, after)
    if before.phase == "pending":
        return Outcome.STAY, replace(after, phase="idle", since=None)
    if not before.is_firing:
        return Outcome.STAY, after
    if band is Band.BETWEEN:
        return Outcome.STAY, replace(after, phase="firing", clear_since=None)
    return _clear(rule, at, before, after)


def _after_gap(rule: StateRule, state: ConditionState, at: int) -> ConditionState:
    """A gap longer than `max_gap` says nothing about what was between: what was counting starts anew."""
    if (
        rule.max_gap is None
        or state.last_seen is None
        or at - state.last_seen <= parse_duration(rule.max_gap)
    ):
        return state
    if state.phase == "pending":
        return replace(state, phase="idle", since=None)
    return replace(state, phase="firing", clear_since=None) if state.phase == "clearing" else state


def _breach(
    rule: StateRule, at: int, before: ConditionState, after: ConditionState
) -> tuple[Outcome, ConditionState]:
    after = replace(after, last_breach=at, clear_since=None, clear_count=0)
    if before.is_firing:
        return Outcome.STAY, replace(after, phase="firing")
    since = at if before.since is None else before.since
    if at - since >= parse_duration(rule.for_):
        return Outcome.ENTER, replace(after, phase="firing", since=since)
    return Outcome.STAY, replace(after, phase="pending", since=since)


def _clear(
    rule: StateRule, at: int, before: ConditionState, after: ConditionState
) -> tuple[Outcome, ConditionState]:
    after = replace(after, clear_count=before.clear_count + 1)
    if isinstance(rule, ReportedRule):
        is_over = after.clear_count >= rule.quiet_days or _is_silent_over(rule, at, before)
        return (Outcome.EXIT, _ended(after)) if is_over else (Outcome.STAY, after)
    since = at if before.clear_since is None else before.clear_since
    if at - since >= parse_duration(rule.exit_for):
        return Outcome.EXIT, _ended(after)
    return Outcome.STAY, replace(after, phase="clearing", clear_since=since)


def _is_silent_over(rule: StateRule, at: int, state: ConditionState) -> bool:
    if not isinstance(rule, ReportedRule) or state.last_breach is None:
        return False
    return at - state.last_breach >= rule.silent_days * DAY


def _ended(state: ConditionState) -> ConditionState:
    return replace(state, phase="idle", since=None, clear_since=None, clear_count=0)


# -- where a reading lies ---------------------------------------------------------------------------


def band_of(
    rule: StateRule, readings: Readings, override: Override | None = None
) -> tuple[Band, float | None]:
    """Where the readings lie, and the value shown.

    Parameters
    ----------
    rule : StateRule
        Any but a no-data rule, which is judged by its history (:mod:`alerts.engine.silence`).
    readings : mapping
        Columns of the patient; an absent or null column is no data.
    override : Override, optional
        What holds for this patient instead.
    """
    for column, bound in rule.requires.items():
        needed = number(readings, column)
        if needed is None or not parse_bound(bound).holds(needed):
            return Band.ABSENT, None
    if isinstance(rule, CompositeRule):
        return _composite(rule, readings)
    column = getattr(rule, "column", None)
    value = number(readings, column) if column is not None else None
    if value is None or (override is not None and override.is_off):
        return Band.ABSENT, value
    if isinstance(rule, ReportedRule):
        return (Band.BREACH if value else Band.CLEAR), value
    if isinstance(rule, RiskRule):
        return (Band.BREACH if value <= rule.budget else Band.CLEAR), value
    if isinstance(rule, TrendRule):
        return _trend(rule, value, readings), value
    if isinstance(rule, ThresholdRule):
        enter, leave = rule.enter, rule.exit
        if override is not None and override.enter and override.exit:
            enter, leave = override.enter, override.exit
        return _between(value, enter, leave), value
    return Band.ABSENT, value


def _between(value: float, enter: str, leave: str) -> Band:
    if parse_bound(enter).holds(value):
        return Band.BREACH
    return Band.CLEAR if parse_bound(leave).holds(value) else Band.BETWEEN


def _trend(rule: TrendRule, change: float, readings: Readings) -> Band:
    """A change that the interval does not vouch for is no breach; it may still be an end."""
    band = _between(change, rule.enter, rule.exit)
    if band is not Band.BREACH:
        return band
    end = number(readings, rule.sure_column)
    is_sure = end is not None and (end > 0 if parse_bound(rule.enter).is_upper else end < 0)
    return Band.BREACH if is_sure else Band.BETWEEN


def _composite(rule: CompositeRule, readings: Readings) -> tuple[Band, float | None]:
    values = [number(readings, part.column) for part in rule.part]
    bands = [
        Band.ABSENT if value is None else _between(value, part.enter, part.exit)
        for part, value in zip(rule.part, values, strict=True)
    ]
    breached, clear, absent = (bands.count(one) for one in (Band.BREACH, Band.CLEAR, Band.ABSENT))
    if breached >= rule.least:
        return Band.BREACH, float(breached)
    if len(bands) - clear < rule.least:
        return Band.CLEAR, float(breached)
    # with what is missing it could be either
    undecided = breached + absent >= rule.least and absent > 0
    return (Band.ABSENT if undecided else Band.BETWEEN), float(breached)


def number(readings: Readings, column: str) -> float | None:
    """A column's value; None when it is absent, null or not a number."""
    value = readings.get(column)
    if value is None or math.isnan(value):
        return None
    return float(value)
