"""What a rule is: typed, versioned, with the examples that prove it.

No expression language: a rule names columns of derived tables, when they are breached, when that is
over, and what must be present to judge at all. Its kind says which fields it has.
"""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Final, Literal, TypeAlias

import msgspec

from alerts.rules.bounds import check_pair, parse_bound, parse_duration

#: Columns of one patient and night by name: `table.column`, and for the tables with one row per
#: metric (`baseline`, `trend`) `table.column.metric`.
Readings: TypeAlias = Mapping[str, float | int | bool | None]

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: Final = ("low", "medium", "high", "critical")

#: First night of the examples; any date would do.
EXAMPLE_FIRST_NIGHT: Final = date(2024, 1, 15)


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nights in their order, and what the rule must say after each.

    `at` gives event times (durations since the first) where they are not one night apart.
    """

    name: str
    nights: tuple[dict[str, float | int | bool], ...]
    want: tuple[Literal["enter", "stay", "exit", "no-data"], ...]
    at: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.nights) != len(self.want):
            raise ValueError(
                f"example {self.name!r} has {len(self.nights)} nights but {len(self.want)} in want"
            )
        if self.at and len(self.at) != len(self.nights):
            raise ValueError(f"example {self.name!r} has {len(self.nights)} nights but {len(self.at)} in at")
        for text in self.at:
            parse_duration(text)


class RuleBase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What all rules have.

    Parameters
    ----------
    cadence : str
        `nightly`: judged by the nightly run; `live`: by each observation as it arrives.
    for_, exit_for : str
        How long the condition must hold, or be over, in event time; a gap longer than `max_gap`
        starts the count anew.
    inhibited_by : tuple of str
        Rules (no data of the same metric) while whose condition holds for the patient the alert is
        open but silent. Never a critical one.
    is_latched : bool
        A person closes it, not the numbers.
    cooldown : str
        After the end, as long nothing new is opened.
    episode : str, optional
        What several rules see different sides of. They ask the team once per patient: while an alert of
        one is active none of the others opens, unless it is more severe; it is over when none of their
        conditions holds; ends, and what a person has closed, count for all of them.
    """

    id: str
    version: int
    title: str
    severity: Severity
    route: str
    cadence: Literal["nightly", "live"] = "nightly"
    example: tuple[Example, ...] = ()
    #: Fixed sentence; without one the night's own (flare_risk.sentence) is told.
    reason: str | None = None
    #: Other columns that must satisfy a bound, or the night counts as no data.
    requires: dict[str, str] = {}
    #: Columns one of which, satisfying its bound, says otherwise: such a night is no breach.
    unless: dict[str, str] = {}
    for_: str = msgspec.field(name="for", default="0m")
    exit_for: str = "0m"
    max_gap: str | None = None
    inhibited_by: tuple[str, ...] = ()
    is_latched: bool = False
    cooldown: str = "0m"
    episode: str | None = None
    pathway: str | None = None

    def __post_init__(self) -> None:
        if self.version < 1:
            raise ValueError("version is at least 1")
        for name, bounds in (("requires", self.requires), ("unless", self.unless)):
            for column, bound in bounds.items():
                _checked(f"{name} {column}", parse_bound, bound)
        for name, text in (("for", self.for_), ("exit_for", self.exit_for), ("cooldown", self.cooldown)):
            _checked(name, parse_duration, text)
        if self.max_gap is not None:
            _checked("max_gap", parse_duration, self.max_gap)
        if self.severity == "critical" and self.inhibited_by:
            raise ValueError("inhibited_by: nothing silences a critical rule")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns the rule reads."""
        return (*self.requires, *self.unless)


class ThresholdRule(RuleBase, frozen=True, tag="threshold"):
    """Breached when the column satisfies `enter`; over only when it satisfies `exit`.

    Between the two the condition stays what it was (hysteresis). `against` says whether the bound is
    the patient's own (a deviation from the baseline) or one for all.
    """

    column: str
    enter: str
    exit: str
    against: Literal["personal", "population"]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pair(self.enter, self.exit)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, *super().columns)


class TrendRule(RuleBase, frozen=True, tag="trend"):
    """Breached when the change per four weeks satisfies `enter` and its interval excludes zero."""

    metric: str
    enter: str
    exit: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pair(self.enter, self.exit)

    @property
    def column(self) -> str:
        """The change itself."""
        return f"trend.change_pct.{self.metric}"

    @property
    def sure_column(self) -> str:
        """The end of the interval nearer to zero."""
        side = "low" if parse_bound(self.enter).is_upper else "high"
        return f"trend.change_{side}_pct.{self.metric}"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, self.sure_column, *super().columns)


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column of a composite rule."""

    column: str
    enter: str
    exit: str

    def __post_init__(self) -> None:
        check_pair(self.enter, self.exit)


class CompositeRule(RuleBase, frozen=True, tag="composite"):
    """Breached when at least `least` parts are; over when fewer than `least` are not clear."""

    part: tuple[Part, ...]
    least: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.least <= len(self.part):
            raise ValueError(f"least is 1 to {len(self.part)}, the number of parts")

    @property
    def columns(self) -> tuple[str, ...]:
        return (*(part.column for part in self.part), *super().columns)


class ReportedRule(RuleBase, frozen=True, tag="reported"):
    """Breached when a yes/no column is true.

    Over after `quiet_days` nights that say false, or `silent_days` calendar days
    after the last report when nothing is said at all. A report that comes `again` so
    long after a person has closed the alert is told, although the condition never ended.
    """

    column: str
    quiet_days: int
    silent_days: int
    again: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quiet_days < 1:
            raise ValueError("quiet_days is at least 1")
        if self.silent_days < self.quiet_days:
            raise ValueError("silent_days is less than quiet_days")
        if self.again is not None:
            _checked("again", parse_duration, self.again)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, *super().columns)


class NoDataRule(RuleBase, frozen=True, tag="no-data"):
    """Breached when none of the columns has had a value for longer than is usual for this patient.

    A silence is unusual when a patient who has data on the share p of days would be silent as long
    with a chance below `unusual`: (1 - p) ** nights. At least `least` nights, whatever the share.
    `tell`: `list` notes a nudge for a technical reason, `staff` opens an alert.
    """

    present: tuple[str, ...]
    least: str
    tell: Literal["list", "staff"]
    unusual: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.present:
            raise ValueError("present: names at least one column")
        _checked("least", parse_duration, self.least)
        if not 0 < self.unusual < 1:
            raise ValueError("unusual is between 0 and 1")

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.present, *super().columns)


class ItemRule(RuleBase, frozen=True, tag="item"):
    """An answer to one item of a questionnaire that satisfies `enter`: an event, not a state.

    Each answer is judged once, however late it comes and whatever else of the form is missing; a
    further one tells anew, even while the first is acknowledged. `needs_staffed_response`: the rule
    loads only where the site says that somebody answers.
    """

    instrument: str
    item: str
    enter: str
    needs_staffed_response: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _checked("enter", parse_bound, self.enter)
        if self.inhibited_by:
            raise ValueError("inhibited_by: an answer is not held back")


class RiskRule(RuleBase, frozen=True, tag="risk"):
    """Flare risk among the highest of the site, as many as `budget` alerts per 100 patients and week.

    Breached when a threshold at the patient's risk would give no more than that, as counted where the
    model was fitted. Judged only on nights scored by a version that was approved for the site.
    """

    budget: float
    horizon: Literal["3d", "7d"] = "7d"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.budget <= 15:
            raise ValueError("budget is more than 0 and at most 15 alerts per 100 patients and week")

    @property
    def column(self) -> str:
        """The load it goes by: null without an approved version."""
        return f"flare_risk.alert_load_{self.horizon}"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, *super().columns)


Watch = Literal["dead-letter", "coverage-gap", "storm", "gateway", "site", "nightly"]


class TechnicalRule(RuleBase, frozen=True, tag="technical"):
    """Something of ours that must not fail unseen: a gateway, or all of a site, silent for `after`."""

    watch: Watch
    after: str = "0m"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checked("after", parse_duration, self.after)


Rule: TypeAlias = (
    ThresholdRule
    | TrendRule
    | CompositeRule
    | ReportedRule
    | NoDataRule
    | ItemRule
    | RiskRule
    | TechnicalRule
)
#: Rules with a condition that lasts, folded over the nights.
StateRule: TypeAlias = ThresholdRule | TrendRule | CompositeRule | ReportedRule | NoDataRule | RiskRule


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Other bounds of a threshold rule for one patient, or the rule switched off; with reason and end."""

    patient: str
    rule: str
    reason: str
    author: str
    until: date
    enter: str | None = None
    exit: str | None = None
    is_off: bool = False

    def __post_init__(self) -> None:
        if self.is_off == (self.enter is not None or self.exit is not None):
            raise ValueError("enter and exit, or is_off = true")
        if not self.is_off:
            if self.enter is None or self.exit is None:
                raise ValueError("enter and exit stand together")
            check_pair(self.enter, self.exit)


def _checked(name: str, parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except ValueError as fault:
        raise ValueError(f"{name}: {fault}") from None
