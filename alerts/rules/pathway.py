"""Care pathways: when this alert opens, then these tasks and offers, held back by what speaks against them.

Data, not code: a step names what it needs, whom it concerns and what holds it. An
offer is a suggestion that a person accepts or declines. Of a contraindication that
nobody has asked about nothing is assumed: the step says what to ask first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeAlias

import msgspec

from alerts.rules.rule import Readings, Severity, parse_bound

#: What is known of a contraindication; one that is not recorded is unknown.
Answer = Literal["yes", "no", "unknown"]
StepOutcome = Literal["done", "accepted", "declined"]
Standing = Literal["suggested", "ask", "held"]

_CAREFUL: tuple[Answer, ...] = ("no", "unknown", "yes")
_RANK: dict[str, int] = {"low": 0, "medium": 1, "high": 2, "critical": 3}


class Contraindication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that speaks against a step, as the patient record calls it, and how to ask about it."""

    code: str
    ask: str


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column of the derived tables and the bound it must satisfy; a missing value does not."""

    column: str
    bound: str

    def __post_init__(self) -> None:
        parse_bound(self.bound)


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Alerts a pathway is for."""

    rules: tuple[str, ...]
    min_severity: Severity = "low"
    all: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError("rules: a pathway without one is never used")


class After(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An earlier step and how it must have ended."""

    step: str
    outcome: StepOutcome


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    id: str
    text: str
    #: Any one of them is enough.
    after: tuple[After, ...] = ()
    hold_if: tuple[str, ...] = ()


class TaskStep(_Step, frozen=True, tag="task"):
    """Something a member of the team does."""

    role: str
    due_h: int

    def __post_init__(self) -> None:
        if self.due_h < 1:
            raise ValueError("due_h is at least 1")


class OfferStep(_Step, frozen=True, tag="offer"):
    """Something the patient may take up."""

    module: str


Step: TypeAlias = TaskStep | OfferStep


class Pathway(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One pathway.

    Parameters
    ----------
    id, version, title
        Every change is a new version.
    owner : str
        Who answers for it.
    review_by : date
        When it must have been looked at again.
    when : When
        Alerts it is for.
    step : tuple of Step
        In the order shown.
    signed_by, signed_on
        The clinician, and when; absent in a placeholder only.
    is_placeholder : bool
        Shows the form and carries no clinical authority.
    """

    id: str
    version: int
    title: str
    owner: str
    review_by: date
    when: When
    step: tuple[Step, ...]
    signed_by: str | None = None
    signed_on: date | None = None
    is_placeholder: bool = False

    def __post_init__(self) -> None:
        if self.version < 1:
            raise ValueError("version is at least 1")
        if not self.step:
            raise ValueError("step: a pathway has at least one")
        if not self.owner.strip():
            raise ValueError("owner: somebody must answer for it")
        if self.is_placeholder == (self.signed_by is not None and self.signed_on is not None):
            raise ValueError("signed_by and signed_on: either both are there, or is_placeholder is true")


class Pathways(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pathways of a site and the contraindications they know."""

    pathway: tuple[Pathway, ...] = ()
    contraindication: tuple[Contraindication, ...] = ()

    def question(self, code: str) -> str:
        """How to ask about a contraindication."""
        return next(one.ask for one in self.contraindication if one.code == code)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A step suggested for an alert.

    Parameters
    ----------
    pathway, version, step : str, int, str
        Where it comes from.
    text : str
        What to do, marked when no clinician has signed it.
    standing : str
        suggested; ask: something must be asked first; held: something speaks against it.
    ask : tuple of str
        Questions to be asked first.
    held_by : tuple of str
        Contraindications that hold it.
    after : tuple of After
        Steps that come before.
    """

    pathway: str
    version: int
    step: str
    text: str
    standing: Standing
    ask: tuple[str, ...] = ()
    held_by: tuple[str, ...] = ()
    after: tuple[After, ...] = ()

    @property
    def in_words(self) -> str:
        """One line for a person."""
        if self.standing == "held":
            return f"{self.text}: NOT NOW, because of {', '.join(self.held_by)}"
        if self.standing == "ask":
            return f"{self.text}: first ask: {' '.join(self.ask)}"
        return self.text


def suggest(
    pathways: Pathways,
    *,
    rule: str,
    severity: Severity,
    readings: Readings,
    answers: Mapping[str, Answer],
) -> tuple[Suggestion, ...]:
    """Steps for an alert; pure.

    Parameters
    ----------
    pathways : Pathways
        Those of the site.
    rule, severity, readings
        Of the alert.
    answers : mapping
        Contraindication -> what the patient record says of it now.
    """
    return tuple(
        suggestion(pathways, pathway, step, answers)
        for pathway in pathways.pathway
        if applies(pathway.when, rule, severity, readings)
        for step in pathway.step
    )


def applies(when: When, rule: str, severity: Severity, readings: Readings) -> bool:
    """Whether a pathway is for an alert."""
    return (
        rule in when.rules
        and _RANK[severity] >= _RANK[when.min_severity]
        and all(_holds(one, readings) for one in when.all)
    )


def suggestion(pathways: Pathways, pathway: Pathway, step: Step, answers: Mapping[str, Answer]) -> Suggestion:
    """A step as it stands by what is known: one yes holds it, otherwise what is unknown is asked."""
    known = {code: answers.get(code, "unknown") for code in step.hold_if}
    held_by = tuple(code for code, answer in known.items() if answer == "yes")
    ask = tuple(pathways.question(code) for code, answer in known.items() if answer == "unknown")
    mark = "[placeholder, not signed by a clinician] " if pathway.is_placeholder else ""
    return Suggestion(
        pathway=pathway.id,
        version=pathway.version,
        step=step.id,
        text=f"{mark}{_who(step)}{step.text}",
        standing="held" if held_by else "ask" if ask else "suggested",
        ask=() if held_by else ask,
        held_by=held_by,
        after=step.after,
    )


def outcomes(step: Step) -> Sequence[StepOutcome]:
    """How a step can end."""
    return ("done",) if isinstance(step, TaskStep) else ("accepted", "declined")


def answers_of(records: Iterable[tuple[str, Answer]]) -> dict[str, Answer]:
    """What is known, of several records of the same thing the more careful: yes, unknown, no."""
    known: dict[str, Answer] = {}
    for code, answer in records:
        before = known.get(code, answer)
        known[code] = answer if _CAREFUL.index(answer) > _CAREFUL.index(before) else before
    return known


def _holds(condition: Condition, readings: Readings) -> bool:
    value = readings.get(condition.column)
    return value is not None and parse_bound(condition.bound).holds(float(value))


def _who(step: Step) -> str:
    return f"{step.role}, within {step.due_h} h: " if isinstance(step, TaskStep) else ""
