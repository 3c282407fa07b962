"""Whether a rule's condition begins, lasts or ends: pure, in event time.

The clock here is the event's (for the nightly rules the night, as a calendar day of 24 h), never the
time of the run: the same readings give the same verdicts whenever they are judged.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import IntEnum, StrEnum
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

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
Floats: TypeAlias = NDArray[np.float64]
Marks: TypeAlias = NDArray[np.bool_]
#: Of each patient a :class:`Band`.
Bands: TypeAlias = NDArray[np.uint8]
#: Name of a column -> its value of each patient, NaN where there is none.
Columns: TypeAlias = Callable[[str], Floats]
_EPOCH = date(1970, 1, 1)


class Outcome(StrEnum):
    """What a reading did to the condition."""

    ENTER = "enter"
    STAY = "stay"
    EXIT = "exit"
    NO_DATA = "no-data"


class Band(IntEnum):
    """Where a reading lies in the eyes of the rule; the store keeps these numbers, 0 is not judged."""

    BREACH = 1
    BETWEEN = 2
    CLEAR = 3
    ABSENT = 4


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


def bands_of(rule: StateRule, columns: Columns, override: Override | None = None) -> tuple[Bands, Floats]:
    """Where the readings of patients lie, and the values shown (NaN: none).

    Parameters
    ----------
    rule : StateRule
        Any but a no-data rule, which is judged by its history (:mod:`alerts.engine.silence`).
    columns : callable
        Columns of the patients, all of one length.
    override : Override, optional
        What holds for these patients instead.
    """
    if isinstance(rule, CompositeRule):
        bands, values = _composite(rule, columns)
    elif isinstance(rule, ThresholdRule | TrendRule | ReportedRule | RiskRule):
        values = columns(rule.column).copy()
        bands = _single(rule, values, columns, override)
        bands[np.isnan(values) | (override is not None and override.is_off)] = Band.ABSENT
    else:
        raise TypeError(f"rule {rule.id!r} is not judged by one night's readings")
    for column, bound in rule.unless.items():
        bands[(bands == Band.BREACH) & parse_bound(bound).holds_in(columns(column))] = Band.BETWEEN
    for column, bound in rule.requires.items():
        is_unknown = ~parse_bound(bound).holds_in(columns(column))
        bands[is_unknown], values = Band.ABSENT, np.where(is_unknown, np.nan, values)
    return bands, values


def band_of(
    rule: StateRule, readings: Readings, override: Override | None = None
) -> tuple[Band, float | None]:
    """Where the readings of one patient lie, and the value shown; see :func:`bands_of`."""
    bands, values = bands_of(rule, lambda column: np.array([number(readings, column)], np.float64), override)
    return Band(bands[0]), None if np.isnan(values[0]) else float(values[0])


def _single(
    rule: ThresholdRule | TrendRule | ReportedRule | RiskRule,
    values: Floats,
    columns: Columns,
    override: Override | None,
) -> Bands:
    if isinstance(rule, ReportedRule):
        return _coded(np.where(values != 0, Band.BREACH, Band.CLEAR))
    if isinstance(rule, RiskRule):
        return _coded(np.where(values <= rule.budget, Band.BREACH, Band.CLEAR))
    enter, leave = rule.enter, rule.exit
    if override is not None and override.enter and override.exit:
        enter, leave = override.enter, override.exit
    bands = _between(values, enter, leave)
    if isinstance(rule, TrendRule):
        # a change that the interval does not vouch for is no breach; it may still be an end
        end = columns(rule.sure_column)
        is_sure = end > 0 if parse_bound(rule.enter).is_upper else end < 0
        bands[(bands == Band.BREACH) & ~is_sure] = Band.BETWEEN
    return bands


def _between(values: Floats, enter: str, leave: str) -> Bands:
    bands = np.where(parse_bound(leave).holds_in(values), Band.CLEAR, Band.BETWEEN)
    bands = np.where(parse_bound(enter).holds_in(values), Band.BREACH, bands)
    return _coded(np.where(np.isnan(values), Band.ABSENT, bands))


def _composite(rule: CompositeRule, columns: Columns) -> tuple[Bands, Floats]:
    parts = np.stack([_between(columns(part.column), part.enter, part.exit) for part in rule.part])
    breached, clear, absent = (
        np.count_nonzero(parts == one, axis=0) for one in (Band.BREACH, Band.CLEAR, Band.ABSENT)
    )
    # with what is missing it could be either
    is_undecided = (breached + absent >= rule.least) & (absent > 0)
    bands = np.where(is_undecided, Band.ABSENT, Band.BETWEEN)
    bands = np.where(len(rule.part) - clear < rule.least, Band.CLEAR, bands)
    return _coded(np.where(breached >= rule.least, Band.BREACH, bands)), breached.astype(np.float64)


def _coded(bands: NDArray[np.generic]) -> Bands:
    return bands.astype(np.uint8)


def number(readings: Readings, column: str) -> float:
    """A column's value; NaN when it is absent or null."""
    value = readings.get(column)
    return np.nan if value is None else float(value)
