"""What becomes of an alert: pure functions of its state, the rules and the time.

Each returns a :class:`Change`: the alert after it, whom to tell, what to call off, what the audit says.
Invariant: only an alert that is open, not held and not snoozed has timers.
"""

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

from alerts.engine.alert import Alert
from alerts.engine.letters import Kind
from alerts.engine.people import Directory, Recipient
from alerts.engine.service import add_service_time
from alerts.errors import JournalError, StaleAlertError
from alerts.rules.bounds import parse_duration
from alerts.rules.route import Route, Service
from devices.clock import HOUR

#: Longest snooze: of everybody, and of those with one of the roles that may decide for longer.
SNOOZE_LIMIT: Final = 24 * HOUR
LONG_SNOOZE_LIMIT: Final = 72 * HOUR
LONG_SNOOZE_ROLES: Final = frozenset({"clinician", "lead"})
#: An outcome is due so many service levels after the acknowledgement.
OUTCOME_FACTOR: Final = 2
FLARE: Final = "true-flare"
OUTCOMES: Final = (FLARE, "other-cause", "not-useful")


@dataclass(frozen=True, slots=True)
class Tell:
    """Messages to queue."""

    kind: Kind
    step: str
    recipients: tuple[Recipient, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What a decision changes.

    Parameters
    ----------
    alert : Alert
        State after it.
    action : str
        What the audit says was done; empty when nothing was.
    cancel : str, optional
        Why queued messages are called off.
    tells_end : bool
        Whether those who were told are told that it is over.
    uncovered : tuple of str
        Steps that meant nobody.
    """

    alert: Alert
    action: str = ""
    detail: dict[str, Any] = field(default_factory=dict[str, Any])
    tell: tuple[Tell, ...] = ()
    cancel: str | None = None
    tells_end: bool = False
    uncovered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """How an alert is told: its route, service hours, and who is there."""

    route: Route
    service: Service | None
    directory: Directory


def start(alert: Alert, way: Way, now: int, kind: Kind = "open", action: str = "open") -> Change:
    """Begin the chain at its first step; a held alert waits silently."""
    if alert.held_by is not None:
        return Change(_disarmed(alert), action, {"held_by": alert.held_by})
    return _chain(alert, way, 0, now, kind, action)


def restart(alert: Alert, way: Way, now: int, kind: Kind, action: str) -> Change:
    """Begin the chain anew, as another round: keys of its messages are new ones."""
    again = replace(alert, round=alert.round + 1, version=alert.version + 1, repeat_count=0)
    return start(again, way, now, kind, action)


def escalate(alert: Alert, way: Way, now: int) -> Change:
    """One step further, when it is due: at most one per tick, whatever was missed meanwhile."""
    due = alert.next_escalation_utc
    if not _is_audible(alert, now) or due is None or due > now:
        return Change(alert)
    return _chain(alert, way, alert.escalation_step + 1, now, "escalate", "escalate")


def _chain(alert: Alert, way: Way, first: int, now: int, kind: Kind, action: str) -> Change:
    """Tell the first step from `first` on that means anybody; set the timers after it."""
    uncovered: list[str] = []
    for index in range(first, len(way.route.step)):
        step = way.route.step[index]
        recipients = way.directory.resolve(step, way.route, now)
        if not recipients:
            uncovered.append(step.to)
            continue
        after = replace(
            alert,
            escalation_step=index,
            next_escalation_utc=_next_step(way, index, now),
            next_repeat_utc=_next_repeat(way.route, now),
        )
        label = f"{alert.round}.{index}" if index else str(alert.round)
        detail = {"step": index, "to": [one.name for one in recipients]}
        return Change(after, action, detail, (Tell(kind, label, recipients),), uncovered=tuple(uncovered))
    # nobody left to tell: what is known is repeated, and the missing people are an alert of their own
    after = replace(alert, next_escalation_utc=None, next_repeat_utc=_next_repeat(way.route, now))
    return Change(after, action, {"step": first, "to": []}, uncovered=tuple(uncovered))


def _next_step(way: Way, index: int, now: int) -> int | None:
    if index + 1 >= len(way.route.step):
        return None
    here, there = (parse_duration(way.route.step[n].after) for n in (index, index + 1))
    return add_service_time(now, there - here, way.service)


def _next_repeat(route: Route, now: int) -> int | None:
    return None if route.repeat is None else now + parse_duration(route.repeat)


def repeat(alert: Alert, way: Way, now: int) -> Change:
    """Tell the reached step again; what was missed meanwhile is said once."""
    due = alert.next_repeat_utc
    if not _is_audible(alert, now) or due is None or due > now:
        return Change(alert)
    recipients: tuple[Recipient, ...] = ()
    for index in range(min(alert.escalation_step, len(way.route.step) - 1), -1, -1):
        recipients = way.directory.resolve(way.route.step[index], way.route, now)
        if recipients:
            break
    count = alert.repeat_count + 1
    after = replace(alert, repeat_count=count, next_repeat_utc=_next_repeat(way.route, now))
    tell = (Tell("repeat", f"{alert.round}.{count}", recipients),) if recipients else ()
    return Change(after, "repeat", {"to": [one.name for one in recipients]}, tell)


# -- what people do ---------------------------------------------------------------------------------


def check_version(alert: Alert, version: int) -> None:
    """Refuse to act on what was not seen.

    Raises
    ------
    StaleAlertError
        When the alert has changed since.
    """
    if alert.version != version:
        raise StaleAlertError(f"alert {alert.alert} is at version {alert.version}, not {version}: look again")


def acknowledge(alert: Alert, by: str, version: int, way: Way, now: int) -> Change:
    """A person takes it on: timers stop, queued messages are called off, an outcome is due."""
    if not alert.is_active:
        return Change(alert)
    check_version(alert, version)
    due = add_service_time(now, OUTCOME_FACTOR * parse_duration(way.route.ack_within), way.service)
    after = replace(
        _disarmed(alert),
        status="acked",
        acked_utc=now,
        acked_by=by,
        first_acked_utc=alert.first_acked_utc or now,
        assignee=alert.assignee or by,
        outcome_due_utc=None if alert.outcome else due,
        snooze_until_utc=None,
        version=alert.version + 1,
    )
    return Change(after, "acknowledge", cancel="acknowledged")


def unacknowledge(alert: Alert, way: Way, now: int) -> Change:
    """No outcome followed: the alert is open again, and the chain begins anew."""
    if alert.status != "acked" or alert.outcome_due_utc is None or alert.outcome_due_utc > now:
        return Change(alert)
    again = replace(alert, status="open", outcome_due_utc=None, acked_utc=None, acked_by=None)
    return restart(again, way, now, "open", "unacknowledge")


def snooze(
    alert: Alert, by: str, roles: frozenset[str], version: int, until: int, reason: str, now: int
) -> Change:
    """Silent until an instant.

    Raises
    ------
    JournalError
        When the alert may not be snoozed, or not for so long, or no reason is given.
    """
    check_version(alert, version)
    if alert.status != "open":
        raise JournalError(f"alert {alert.alert} is not open: there is nothing to snooze")
    if alert.is_critical:
        raise JournalError("a critical alert cannot be snoozed, only acknowledged")
    limit = LONG_SNOOZE_LIMIT if roles & LONG_SNOOZE_ROLES else SNOOZE_LIMIT
    if not now < until <= now + limit:
        raise JournalError(f"a snooze lasts at most {limit // HOUR} h")
    if not reason.strip():
        raise JournalError("a snooze needs a reason")
    after = replace(_disarmed(alert), snooze_until_utc=until, snoozed_by=by, version=alert.version + 1)
    return Change(after, "snooze", {"until_utc": until, "reason": reason}, cancel="snoozed")


def wake(alert: Alert, way: Way, now: int, *, is_forced: bool = False) -> Change:
    """The snooze is over, or something worse came up: tell, and begin the chain anew."""
    until = alert.snooze_until_utc
    if alert.status != "open" or until is None or (until > now and not is_forced):
        return Change(alert)
    return restart(replace(alert, snooze_until_utc=None, snoozed_by=None), way, now, "unmuted", "wake")


def resolve(alert: Alert, by: str, why: str, now: int, night: date | None = None) -> Change:
    """Over: whoever was told is told that."""
    if not alert.is_active:
        return Change(alert)
    after = replace(
        _disarmed(alert),
        status="resolved",
        resolved_utc=now,
        resolved_night=night,
        closed_by=why,
        outcome_due_utc=None,
        snooze_until_utc=None,
        version=alert.version + 1,
    )
    return Change(after, "resolve", {"by": by, "why": why}, cancel="resolved", tells_end=True)


def condition_ended(alert: Alert, why: str, now: int, night: date | None = None) -> Change:
    """The numbers are back: over, unless a person has to close it."""
    if not alert.is_latched:
        return resolve(alert, "engine", why, now, night)
    if not alert.is_active or alert.cleared_utc is not None:
        return Change(alert)
    return Change(replace(alert, cleared_utc=now, version=alert.version + 1), "clear", {"why": why})


def reopen(alert: Alert, way: Way, now: int, sentence: str) -> Change:
    """A further event: told anew, also while the earlier one is acknowledged."""
    again = replace(
        alert, status="open", sentence=sentence, acked_utc=None, acked_by=None, outcome_due_utc=None
    )
    return restart(again, way, now, "event", "event")


def set_outcome(alert: Alert, label: str) -> Change:
    """What it turned out to be."""
    if label not in OUTCOMES:
        raise JournalError(f"an outcome is one of {', '.join(OUTCOMES)}")
    if label == FLARE and alert.scope != "patient":
        raise JournalError(f"{alert.alert} is about a {alert.scope}, not a patient: it can be no {FLARE}")
    after = replace(alert, outcome=label, outcome_due_utc=None, version=alert.version + 1)
    return Change(after, "outcome", {"label": label})


# -- silent for a reason ------------------------------------------------------------------------------


def hold(alert: Alert, reason: str | None, way: Way, now: int) -> Change:
    """Silence an alert for a reason, or let it speak again when the reason is gone.

    Nothing holds a critical one. Acknowledged ones are silent anyway, and only the reason is kept.
    """
    if not alert.is_active or alert.held_by == reason or (reason is not None and alert.is_critical):
        return Change(alert)
    changed = replace(alert, held_by=reason)
    if reason is not None:
        changed = replace(_disarmed(changed), version=alert.version + 1)
        return Change(changed, "hold", {"reason": reason}, cancel=f"held: {reason}")
    if changed.status != "open" or _is_snoozed(changed, now):
        return Change(replace(changed, version=alert.version + 1), "release")
    # a snooze that has run out meanwhile is over too: its end is not told once more
    return restart(replace(changed, snooze_until_utc=None, snoozed_by=None), way, now, "unmuted", "release")


def replace_hold(alert: Alert, reason: str | None) -> Alert:
    """The alert as it is opened: silent for a reason, or not."""
    return replace(alert, held_by=reason)


def _is_snoozed(alert: Alert, now: int) -> bool:
    return alert.snooze_until_utc is not None and alert.snooze_until_utc > now


def _is_audible(alert: Alert, now: int) -> bool:
    return alert.status == "open" and alert.held_by is None and not _is_snoozed(alert, now)


def _disarmed(alert: Alert) -> Alert:
    return replace(alert, next_escalation_utc=None, next_repeat_utc=None)
