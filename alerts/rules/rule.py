"""What a rule is: typed, versioned, with the examples that prove it.

No expression language: a rule names one column of a derived table, when it is
breached, when it is over, and what must be present for it to judge at all.
"""

import operator
import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import msgspec

#: Columns of one patient and night by name: `table.column`, and for the baseline,
#: which has one row per metric, `baseline.column.metric`.
Readings: TypeAlias = Mapping[str, float | int | bool | None]

Severity = Literal["low", "medium", "high", "critical"]

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
}
_BOUND = re.compile(r"(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)")


class Bound(NamedTuple):
    """One side of a threshold: `<= -1.0`."""

    comparison: str
    value: float

    @property
    def is_upper(self) -> bool:
        """Whether values above the bound satisfy it."""
        return self.comparison.startswith(">")

    def holds(self, value: float) -> bool:
        """Whether the value satisfies the bound."""
        return _COMPARE[self.comparison](value, self.value)


@lru_cache(maxsize=1024)
def parse_bound(text: str) -> Bound:
    """Read ``<= -1.0``.

    Raises
    ------
    ValueError
        When the text is not a comparison and a number.
    """
    match = _BOUND.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a comparison (<, <=, >, >=) and a number")
    return Bound(match[1], float(match[2]))


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nights in their order, and what the rule must say after each."""

    name: str
    nights: tuple[dict[str, float | int | bool], ...]
    want: tuple[Literal["enter", "stay", "exit", "no-data"], ...]

    def __post_init__(self) -> None:
        if len(self.nights) != len(self.want):
            raise ValueError(
                f"example {self.name!r} has {len(self.nights)} nights but {len(self.want)} in want"
            )


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    id: str
    version: int
    title: str
    column: str
    severity: Severity
    route: str
    example: tuple[Example, ...]
    #: Fixed sentence; without one the night's own (flare_risk.sentence) is told.
    reason: str | None = None
    #: Other columns that must satisfy a bound, or the night counts as no data.
    requires: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.version < 1:
            raise ValueError("version is at least 1")
        if not self.example:
            raise ValueError("example: a rule carries at least one")
        for column, bound in self.requires.items():
            try:
                parse_bound(bound)
            except ValueError as fault:
                raise ValueError(f"requires {column}: {fault}") from None


class ThresholdRule(_Rule, frozen=True, tag="threshold"):
    """Breached when the column satisfies `enter`; over only when it satisfies `exit`.

    Between the two the condition stays what it was (hysteresis).
    """

    enter: str
    exit: str

    def __post_init__(self) -> None:
        super().__post_init__()
        bounds: list[Bound] = []
        for name, text in (("enter", self.enter), ("exit", self.exit)):
            try:
                bounds.append(parse_bound(text))
            except ValueError as fault:
                raise ValueError(f"{name}: {fault}") from None
        enter, leave = bounds
        if enter.is_upper == leave.is_upper:
            raise ValueError(f"exit {self.exit!r} points the same way as enter {self.enter!r}")
        if (leave.value >= enter.value) if enter.is_upper else (leave.value <= enter.value):
            raise ValueError(f"exit {self.exit!r} does not lie strictly inside enter {self.enter!r}")


class ReportedRule(_Rule, frozen=True, tag="reported"):
    """Breached when a yes/no column is true.

    Over after `quiet_days` nights that say false, or `silent_days` calendar days
    after the last report when nothing is said at all.
    """

    quiet_days: int
    silent_days: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quiet_days < 1:
            raise ValueError("quiet_days is at least 1")
        if self.silent_days < self.quiet_days:
            raise ValueError("silent_days is less than quiet_days")


Rule: TypeAlias = ThresholdRule | ReportedRule


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whom a rule tells, and by which channel."""

    id: str
    channel: str
    recipients: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.recipients:
            raise ValueError("recipients: a route without one tells nobody")


class RulePack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules and routes of a site, checked against each other."""

    rule: tuple[Rule, ...]
    route: tuple[Route, ...]

    def route_of(self, rule: Rule) -> Route:
        """The route of a rule."""
        return next(route for route in self.route if route.id == rule.route)

    def columns(self) -> frozenset[str]:
        """Every column some rule reads."""
        return frozenset(name for rule in self.rule for name in (rule.column, *rule.requires))


#: First night of the examples; any date would do.
EXAMPLE_FIRST_NIGHT = date(2024, 1, 15)
