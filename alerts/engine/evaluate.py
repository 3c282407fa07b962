"""Does a rule fire? A pure function of the rule, the night's row and whether it fired before."""

from collections.abc import Mapping
from typing import Any, Literal

from alerts.rules.pack import Rule

#: `enter` and `exit` change the condition, `stay` keeps it; `unknown` keeps it
#: too, because there was nothing to judge.
Verdict = Literal["enter", "stay", "exit", "unknown"]


def evaluate(rule: Rule, row: Mapping[str, Any], *, was_firing: bool) -> Verdict:
    """Judge one patient's night.

    Parameters
    ----------
    rule : Rule
    row : mapping
        The patient's row of the rule's table; a missing value is None.
    was_firing : bool
        Condition after the night before.
    """
    value = row.get(rule.column)
    if value is None or not _has_enough(rule, row):
        return "unknown"
    is_firing = bool(value) if rule.kind == "flag" else _is_below(rule, float(value), was_firing)
    if is_firing == was_firing:
        return "stay"
    return "enter" if is_firing else "exit"


def _has_enough(rule: Rule, row: Mapping[str, Any]) -> bool:
    return rule.min_cells is None or (row.get("cell_count") or 0) >= rule.min_cells


def _is_below(rule: Rule, value: float, was_firing: bool) -> bool:
    assert rule.enter is not None
    assert rule.exit is not None
    return value <= (rule.exit if was_firing else rule.enter)
