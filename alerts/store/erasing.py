"""Take a patient out of the store: alerts, messages, conditions, silences; of the audit, the secret.

So are gateways behind which nobody else is: alerts of their silence, and when they were last heard.

Rows of the audit stay: they name a random key and hold ciphertext whose secret is destroyed,
and the chain still verifies.
"""

import json
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from alerts.store import audit, readings
from alerts.store.schema import METADATA, alert, silence
from alerts.store.schema import audit as audit_table

SCOPE: Final = "patient"
GATEWAY: Final = "gateway"


def erase_patient(
    con: sa.Connection, patient: str, *, utc: int, actor: str, gateways: Collection[str] = ()
) -> dict[str, int]:
    """Delete every row about a patient, in the caller's transaction; returns rows by table.

    Parameters
    ----------
    gateways : collection of str
        Gateways that were only this patient's.
    """
    counts: dict[str, int] = {}
    names = {patient, *gateways}
    own = sa.select(alert.c.alert).where(_is_about(alert, patient, gateways))
    silenced = [
        row.silence for row in con.execute(sa.select(silence)) if names & _words(json.dumps(row.matcher))
    ]
    counts["reading"] = readings.forget(con, patient)
    counts["silence"] = con.execute(silence.delete().where(silence.c.silence.in_(silenced))).rowcount
    # what names an alert goes before the alert
    for table in reversed(METADATA.sorted_tables):
        if table is audit_table or table.name == "subject_key":
            continue
        about: list[sa.ColumnElement[bool]] = []
        if "alert" in table.c and table is not alert:
            about.append(table.c.alert.in_(own))
        if "subject" in table.c:
            about.append(_is_about(table, patient, gateways))
        if about:
            counts[table.name] = con.execute(table.delete().where(sa.or_(*about))).rowcount
    counts["subject_key"] = int(audit.erase_subject(con, SCOPE, patient))
    counts["subject_key"] += sum(audit.erase_subject(con, GATEWAY, name) for name in gateways)
    found = {name: rows for name, rows in counts.items() if rows}
    if found:
        audit.append(con, utc, actor, "erase", rows=found)
    return found


def _is_about(table: sa.Table, patient: str, gateways: Collection[str]) -> sa.ColumnElement[bool]:
    is_own = table.c.subject == patient
    if "scope" not in table.c:
        return is_own
    is_gateway = sa.and_(table.c.scope == GATEWAY, table.c.subject.in_(gateways))
    return sa.or_(sa.and_(table.c.scope == SCOPE, is_own), is_gateway)


def left(con: sa.Connection, patient: str) -> list[str]:
    """Tables in which any value still names the patient."""
    return [
        table.name
        for table in METADATA.sorted_tables
        if any(patient in _words(str(value)) for row in con.execute(sa.select(table)) for value in row)
    ]


def _words(text: str) -> set[str]:
    """Words of a text as ids are spelt, so that p-1 is not found in p-10."""
    return set("".join(one if one.isalnum() or one in "-_." else " " for one in text).split())
