"""How the care team's commands say where an alert stands, and when."""

from datetime import date

from alerts.engine.alert import Alert
from devices.clock import from_utc


def standing(one: Alert) -> str:
    """Where an alert stands, and with whom, in a few words."""
    said = _standing(one)
    return said if one.assignee in (None, one.acked_by) else f"{said}, for {one.assignee}"


def _standing(one: Alert) -> str:
    if not one.is_active:
        return f"{one.status}: {one.closed_by}"
    if one.status == "acked":
        return f"acknowledged by {one.acked_by}"
    if one.held_by is not None:
        return f"silent: {one.held_by}"
    if one.snooze_until_utc is not None:
        return f"snoozed until {moment(one.snooze_until_utc)}"
    # the first step is those who are told anyway
    return "open, escalated" if one.escalation_step else "open"


def began(one: Alert) -> date:
    """The night it is about, or the date (UTC) on which it was opened."""
    return one.night or from_utc(one.opened_utc).date()


def moment(utc: int) -> str:
    """An instant in UTC, to the minute."""
    return f"{from_utc(utc):%Y-%m-%d %H:%M} UTC"
