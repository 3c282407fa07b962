"""How the care team's commands say where an alert stands, and when."""

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
    return f"{one.status}, step {one.escalation_step + 1}"


def moment(utc: int) -> str:
    """An instant in UTC, to the minute."""
    return f"{from_utc(utc):%Y-%m-%d %H:%M} UTC"
