"""What a live rule may read: single values as they arrive, by name."""

from typing import Final

from alerts.rules.rule import (
    CompositeRule,
    ItemRule,
    NoDataRule,
    ReportedRule,
    RiskRule,
    Rule,
    TechnicalRule,
    ThresholdRule,
    TrendRule,
)
from devices.observations import FlareReport, HeartRate, ProAnswer

HEART_RATE: Final = "heart_rate.bpm"
#: Answers to an item: `pro_answer.value.INSTRUMENT.ITEM`.
ANSWER: Final = "pro_answer.value"
#: What a flare report makes true of its date.
REPORTED: Final = "patient_day.is_flare_reported"

#: Why rules of a kind are judged by the night alone.
_NIGHTLY_BY_NATURE: Final[dict[type[Rule], str]] = {
    TrendRule: "a trend is the change over weeks of nights: judge it nightly",
    CompositeRule: "its parts do not arrive together, so nothing says which belong to each other:"
    " judge it nightly",
    NoDataRule: "what silence is usual for a patient is known by nights: judge it nightly",
    RiskRule: "the risk is computed by the night: judge it nightly",
    TechnicalRule: "it is looked at all the time, whatever the cadence: leave it out",
}


def answer_column(instrument: str, item: str) -> str:
    """Name of an answer's value: ``pro_answer.value.nrs.pain``."""
    return f"{ANSWER}.{instrument}.{item}"


def kind_of(column: str) -> str | None:
    """Kind of observation that brings a live column; None for what does not arrive live."""
    if column == HEART_RATE:
        return HeartRate.kind
    if column == REPORTED:
        return FlareReport.kind
    parts = column.removeprefix(f"{ANSWER}.").split(".")
    return ProAnswer.kind if column.startswith(f"{ANSWER}.") and len(parts) == 2 and all(parts) else None


def kinds_of(rule: Rule) -> frozenset[str]:
    """Kinds of observation by which a live rule is judged; none for one that is not live."""
    if rule.cadence != "live":
        return frozenset()
    if isinstance(rule, ItemRule):
        return frozenset({ProAnswer.kind})
    return frozenset(kind for column in rule.columns if (kind := kind_of(column)) is not None)


def live_faults(rule: Rule) -> list[str]:
    """What keeps a rule from being judged at its cadence, by field."""
    if rule.cadence != "live":
        is_late = isinstance(rule, ItemRule) and rule.severity == "critical"
        return ['cadence: a critical answer does not wait for the night: cadence = "live"'] if is_late else []
    if type(rule) in _NIGHTLY_BY_NATURE:
        return [f"cadence: {_NIGHTLY_BY_NATURE[type(rule)]}"]
    faults: list[str] = []
    faults += [
        f"{name}: a value that arrives alone has no other columns beside it"
        for name, bounds in (("requires", rule.requires), ("unless", rule.unless))
        if bounds
    ]
    if isinstance(rule, ReportedRule) and rule.column != REPORTED:
        faults.append(f"column {rule.column!r} does not arrive live; a report is {REPORTED}")
    if isinstance(rule, ThresholdRule) and (rule.column == REPORTED or kind_of(rule.column) is None):
        faults.append(
            f"column {rule.column!r} does not arrive live; what does is {HEART_RATE}"
            f" and {answer_column('INSTRUMENT', 'ITEM')}"
        )
    return faults


def judges(rule: Rule, column: str) -> bool:
    """Whether a live rule is judged by a column that arrives."""
    return rule.cadence == "live" and isinstance(rule, ThresholdRule | ReportedRule) and rule.column == column
