"""What the demo's care team does with its alerts: one is acknowledged, one nobody answers goes further."""

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final

import sqlalchemy as sa

from alerts.delivery.channels.webhook import Webhook
from alerts.delivery.receiver import Receiver
from alerts.delivery.worker import deliver_due
from alerts.engine import alert as alerts
from alerts.engine.alert import IS_ACTIVE
from alerts.engine.desk import Actor, Desk
from alerts.engine.evaluate import event_time
from alerts.engine.journal import Journal
from alerts.engine.letters import OPENINGS
from alerts.engine.load import in_words
from alerts.engine.tick import tick
from alerts.rules.pack import RulePack
from alerts.rules.rule import TechnicalRule
from alerts.store.schema import alert as table
from alerts.store.schema import outbox, staff, staff_role
from devices.clock import DAY, system_clock
from flows.care.reports import load_of_clinic
from flows.care.rules_in_force import rules_in_force, rules_now
from flows.clinic import Clinic
from flows.os_user import os_user

#: SYNTHETIC staff: name -> role.
STAFF: Final = {"nurse-anna": "nurse", "doctor-ben": "clinician", "lead-cara": "lead"}
#: Whoever runs the demo is this one at the desk (`flarecast alerts list --home demo-out`).
YOU: Final = "nurse-anna"
#: Past any weekend and holiday, so that the service level has run out.
LATER: Final = 5 * DAY


def answer(clinic: Clinic, secret: str, first: date, last: date) -> dict[str, Any]:
    """Acknowledge one alert, let the service level of the others run out; lines for the summary."""
    pack, user = rules_now(clinic), os_user()
    lines: list[str] = []
    with Journal(clinic.alert_store, system_clock) as journal:
        with journal.transaction() as con:
            for name, role in STAFF.items():
                values = {"staff": name, "zone": "Europe/Berlin", "since_utc": system_clock()}
                con.execute(staff.insert().values(**values, os_user=user if name == YOU else None))
                con.execute(staff_role.insert().values(staff=name, role=role))
            active = [one for one in alerts.select(con, IS_ACTIVE) if one.scope == "patient"]
        answered = next((one for one in active if one.held_by is None), None)
        if answered is not None:
            desk = Desk(journal, pack, Actor(YOU, frozenset({"nurse"})))
            desk.acknowledge(answered.alert, answered.version)
            desk.set_outcome(answered.alert, "true-flare", "pacing")
            lines.append(
                f"{YOU} acknowledged {answered.alert} and noted what it was; nothing more is sent about it"
            )
    escalated = _wait(clinic, secret)
    if escalated:
        lines.append(
            f"five days later, by a clock set ahead: {len(escalated)} nobody answered went on to "
            + ", ".join(sorted(set(escalated)))
        )
    with Journal(clinic.alert_store, system_clock) as journal, journal.transaction() as con:
        found = alerts.select(con)
    own = [one for one in found if one.night is not None]
    load = load_of_clinic(clinic, pack, own, first, last, event_time(last + timedelta(days=1)))
    lines += in_words(load)
    return {"desk": lines, "acknowledged": answered and answered.alert, "escalated": len(escalated)}


def untold(clinic: Clinic) -> Counter[str]:
    """Why patients' alerts were opened and told nobody: reason -> alerts."""
    with Journal(clinic.alert_store, system_clock) as journal, journal.transaction() as con:
        is_told = sa.exists().where(
            outbox.c.alert == table.c.alert, outbox.c.kind.in_(OPENINGS), outbox.c.status == "sent"
        )
        found = alerts.select(con, table.c.scope == "patient", ~is_told)
    return Counter(one.held_by or one.closed_by or "waiting" for one in found)


def _wait(clinic: Clinic, secret: str) -> list[str]:
    """Whom the messages went to that a tick five days later queued."""

    def later() -> int:
        return system_clock() + LATER

    with Receiver(secret, clock=later) as receiver, Journal(clinic.alert_store, later) as journal:
        tick(journal, _of_patients(rules_in_force(clinic, journal)), later())
        deliver_due(journal, [Webhook(receiver.url, secret, ["127.0.0.1", "localhost"])], later)
        return [m.body["data"]["recipient"] for m in receiver.received if m.body["type"] == "alert.escalated"]


def _of_patients(pack: RulePack) -> RulePack:
    """Without what watches the machines: by a clock set ahead the night before is not late."""
    return replace(pack, rule=tuple(rule for rule in pack.rule if not isinstance(rule, TechnicalRule)))
