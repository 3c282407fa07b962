"""A new alert as its rule makes it."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from alerts.engine.alert import Alert
from alerts.engine.holds import RETROSPECTIVE
from alerts.engine.journal import new_reference
from alerts.rules.rule import Rule


def new_alert(
    rule: Rule,
    of: tuple[str, str],
    sentence: str,
    now: int,
    *,
    site: str | None = None,
    night: date | None = None,
    zone: str | None = None,
    value: float | None = None,
    inputs: Mapping[str, Any] | None = None,
    is_late: bool = False,
) -> Alert:
    """Alert of a rule, under a random reference and not yet in the store.

    Parameters
    ----------
    of : tuple of str
        Scope and subject.
    sentence : str
        What is told.
    now : int
        Microseconds UTC.
    is_late : bool
        Whether it should have been opened earlier; one that is not critical is then silent until the
        next night confirms it.
    """
    scope, subject = of
    return Alert(
        alert=new_reference(),
        scope=scope,
        subject=subject,
        site=site,
        rule=rule.id,
        rule_version=rule.version,
        route=rule.route,
        severity=rule.severity,
        night=night,
        zone=zone,
        value=value,
        sentence=sentence,
        inputs=dict(inputs or {}),
        opened_utc=now,
        is_latched=rule.is_latched,
        is_retrospective=is_late,
        held_by=RETROSPECTIVE if is_late and rule.severity != "critical" else None,
    )
