"""Steps of care pathways that an alert carries, and what a person decided about each, and why."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from alerts.engine.journal import Journal
from alerts.errors import JournalError
from alerts.rules.pathway import After, Answer, Pathway, Pathways, Step, TaskStep, suggest
from alerts.rules.pathway import suggestion as stand
from alerts.store import audit
from alerts.store.schema import alert, suggestion

#: Contraindication -> what is known of it, of one patient.
Answers = Mapping[str, Answer]
ENGINE: Final = "engine"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person says to a step.

    Parameters
    ----------
    by : str
        Who.
    is_accepted : bool
        Of a task: done; of an offer: the patient takes it up.
    reason : str
        Why; never empty.
    """

    by: str
    is_accepted: bool
    reason: str


def attach(journal: Journal, pathways: Pathways, answers_of: Callable[[str], Answers], now: int) -> int:
    """Give active alerts the steps of their pathways, once; returns how many alerts got some.

    Parameters
    ----------
    journal : Journal
        Holds the alerts; in the caller's transaction, if there is one.
    pathways : Pathways
        Those of the site.
    answers_of : callable
        Patient -> what is known of contraindications now.
    now : int
        Microseconds UTC.
    """
    rules = {rule for one in pathways.pathway for rule in one.when.rules}
    has_steps = sa.exists().where(suggestion.c.alert == alert.c.alert)
    is_waiting = (alert.c.status.in_(("open", "acked")), alert.c.rule.in_(rules), ~has_steps)
    count, fresh = 0, list[dict[str, Any]]()
    with journal.transaction() as con:
        for row in con.execute(sa.select(alert).where(alert.c.scope == "patient", *is_waiting)).all():
            found = suggest(
                pathways,
                rule=row.rule,
                severity=row.severity,
                readings=row.inputs,
                answers=answers_of(row.subject),
            )
            fresh += [
                {
                    "alert": row.alert,
                    "pathway": one.pathway,
                    "step": one.step,
                    "pathway_version": one.version,
                    "status": one.standing,
                    "suggested_utc": now,
                    "reason": " ".join(one.ask) or ", ".join(one.held_by) or None,
                }
                for one in found
            ]
            count += bool(found)
        if fresh:
            con.execute(suggestion.insert(), fresh)
    return count


def steps_of(journal: Journal, name: str) -> list[Any]:
    """Rows of an alert's steps; :func:`in_order` puts them as their pathways have them."""
    with journal.transaction() as con:
        return list(con.execute(sa.select(suggestion).where(suggestion.c.alert == name)).all())


def in_order(pathways: Pathways, rows: Iterable[Any]) -> list[Any]:
    """Rows of steps as their pathways have them; those of versions not in force any more at the end."""
    places = {
        (pathway.id, step.id): place
        for place, (pathway, step) in enumerate(
            (pathway, step) for pathway in pathways.pathway for step in pathway.step
        )
    }
    return sorted(rows, key=lambda row: places.get((row.pathway, row.step), len(places)))


def decide(
    journal: Journal,
    pathways: Pathways,
    answers: Answers,
    name: str,
    step: str,
    decision: Decision,
    now: int,
) -> None:
    """Write down what a person decided about a step.

    What is held, or must be asked about first, cannot be accepted: `answers` says what is known now.

    Raises
    ------
    JournalError
        When the alert has no such step, a contraindication or an earlier step stands in the way, or
        no reason is given.
    """
    if not decision.reason.strip():
        raise JournalError("say why: a decision without a reason teaches nobody")
    with journal.transaction() as con:
        rows = {row.step: row for row in con.execute(sa.select(suggestion).where(suggestion.c.alert == name))}
        row = rows.get(step)
        if row is None:
            raise JournalError(
                f"alert {name} has no step {step!r}; it has {', '.join(sorted(rows)) or 'none'}"
            )
        if decision.is_accepted:
            _check(pathways, answers, rows, row)
        status = "accepted" if decision.is_accepted else "declined"
        is_row = (suggestion.c.alert == name, suggestion.c.pathway == row.pathway, suggestion.c.step == step)
        con.execute(
            suggestion.update()
            .where(*is_row)
            .values(status=status, decided_utc=now, decided_by=decision.by, reason=decision.reason)
        )
        whose = con.execute(sa.select(alert.c.scope, alert.c.subject).where(alert.c.alert == name)).one()
        audit.append(
            *(con, now, decision.by, f"step-{status}"),
            alert=name,
            subject=(whose.scope, whose.subject),
            pathway=row.pathway,
            step=step,
            reason=decision.reason,
        )


def _check(pathways: Pathways, answers: Answers, rows: Mapping[str, Any], row: Any) -> None:
    """Refuse what is held, unasked or too early.

    A pathway that has been replaced since holds nothing any more, and offers nothing either.
    """
    found = _definition(pathways, row)
    if found is None:
        raise JournalError(f"pathway {row.pathway!r} version {row.pathway_version} is not in force any more")
    pathway, step = found
    now = stand(pathways, pathway, step, answers)
    if now.standing == "held":
        raise JournalError(f"step {step.id!r} is held by {', '.join(now.held_by)}")
    if now.standing == "ask":
        raise JournalError(f"step {step.id!r}: first ask and record: {' '.join(now.ask)}")
    steps = {one.id: one for one in pathway.step}
    if step.after and not any(_has_ended(after, rows, steps) for after in step.after):
        waits = " or ".join(f"{after.step} ({after.outcome})" for after in step.after)
        raise JournalError(f"step {step.id!r} comes after {waits}")


def _definition(pathways: Pathways, row: Any) -> tuple[Pathway, Step] | None:
    for pathway in pathways.pathway:
        if (pathway.id, pathway.version) == (row.pathway, row.pathway_version):
            for step in pathway.step:
                if step.id == row.step:
                    return pathway, step
    return None


def _has_ended(after: After, rows: Mapping[str, Any], steps: Mapping[str, Step]) -> bool:
    status = rows[after.step].status
    if isinstance(steps[after.step], TaskStep):
        return status == "accepted"
    return status == after.outcome


def in_words(pathways: Pathways, answers: Answers, row: Any) -> str:
    """A step as it stands now, in one line."""
    if row.status in ("accepted", "declined"):
        return f"{row.step}: {row.status} by {row.decided_by}: {row.reason}"
    found = _definition(pathways, row)
    if found is None:
        return f"{row.step}: of a version that is not in force any more"
    return f"{row.step}: {stand(pathways, *found, answers).in_words}"
