"""What only clinical channels are told: read for them, and for nobody else."""

import sqlalchemy as sa

from alerts.delivery.notice import ClinicalAlert
from alerts.engine.journal import Journal
from alerts.engine.outbox import Claim
from alerts.store.schema import alert, suggestion


def clinical_alerts(journal: Journal, claim: Claim) -> tuple[ClinicalAlert, ...]:
    """The alerts of a claimed batch that are about a patient, as they stand now, with their steps."""
    names = [message.alert for message in claim.messages]
    with journal.transaction() as con:
        rows = con.execute(
            sa.select(alert)
            .where(alert.c.alert.in_(names), alert.c.scope == "patient")
            .order_by(alert.c.opened_utc, alert.c.alert)
        ).all()
        steps = con.execute(sa.select(suggestion).where(suggestion.c.alert.in_(names))).all()
    return tuple(
        ClinicalAlert(
            alert=row.alert,
            patient=row.subject,
            rule=row.rule,
            rule_version=row.rule_version,
            severity=row.severity,
            status=row.status,
            local_date=row.night.isoformat() if row.night else None,
            zone=row.zone,
            sentence=row.sentence,
            readings=row.inputs,
            opened_utc=row.opened_utc,
            due_utc=row.next_escalation_utc or row.outcome_due_utc,
            resolved_utc=row.resolved_utc,
            steps=tuple(
                f"{one.step}: {one.status}{f', {one.reason}' if one.reason else ''}"
                for one in steps
                if one.alert == row.alert
            ),
        )
        for row in rows
    )
