"""The alert journal: conditions, alerts, outbox and audit in one SQLite database.

Every change is one immediate transaction, durable on commit. The database, not
code, keeps a patient from having two active alerts of one rule. A message is
queued in the transaction that opens or resolves its alert, so none can be lost
between the two; its key is the same however often it is sent.
"""

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from alerts.tables import ALERTS
from devices.clock import SECOND, Clock

_SCHEMA = """
create table if not exists condition (
    patient text not null, rule text not null, is_firing integer not null, judged_date text not null,
    primary key (patient, rule)
) strict;
create table if not exists alert (
    reference text primary key, patient text not null, rule text not null, rule_version integer not null,
    severity text not null, state text not null check (state in ('open', 'acked', 'resolved')),
    opened_date text not null, opened_utc integer not null,
    resolved_date text, resolved_utc integer, delivered_utc integer, sentence text not null, zone text not null
) strict;
create unique index if not exists one_active_alert on alert (patient, rule) where state in ('open', 'acked');
create table if not exists outbox (
    key text primary key, reference text not null references alert (reference), step text not null,
    body text not null, state text not null check (state in ('queued', 'leased', 'sent', 'cancelled', 'dead')),
    attempts integer not null default 0, not_before_utc integer not null, lease_until_utc integer not null default 0,
    deadline_utc integer not null, last_error text
) strict;
create table if not exists audit (
    number integer primary key, at_utc integer not null, event text not null, reference text not null,
    detail text not null, previous text not null, digest text not null
) strict;
"""
#: A message that nobody took for three days is dead, and visibly so.
DEADLINE = 3 * 86_400 * SECOND
#: 40 random bits: short enough to read out, hopeless to guess within a deadline.
_REFERENCE_BYTES = 5


@dataclass(frozen=True)
class Message:
    """One leased outbox row."""

    key: str
    reference: str
    step: str
    body: str
    attempts: int
    deadline_utc: int


class Journal:
    """The journal in one file; a context manager."""

    def __init__(self, path: Path, clock: Clock) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(
            "pragma journal_mode=wal; pragma synchronous=full; pragma foreign_keys=on;" + _SCHEMA
        )

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing; other processes wait."""
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    # -- conditions and alerts

    def condition(self, patient: str, rule: str) -> tuple[bool, date | None]:
        """Whether the rule fires for the patient, and the last night judged."""
        row = self._one(
            "select is_firing, judged_date from condition where patient = ? and rule = ?", patient, rule
        )
        return (bool(row[0]), date.fromisoformat(row[1])) if row else (False, None)

    def set_condition(self, patient: str, rule: str, *, is_firing: bool, day: date) -> None:
        """Remember the outcome of a night."""
        self._db.execute(
            "insert into condition values (?, ?, ?, ?) on conflict (patient, rule) "
            "do update set is_firing = excluded.is_firing, judged_date = excluded.judged_date",
            (patient, rule, int(is_firing), day.isoformat()),
        )

    def open_alert(self, alert: Mapping[str, Any], body: Mapping[str, Any]) -> str:
        """Open an alert and queue its message; returns its reference.

        Raises
        ------
        sqlite3.IntegrityError
            When the patient has an active alert of this rule.
        """
        reference = secrets.token_hex(_REFERENCE_BYTES)
        now = self._clock()
        row = {**alert, "reference": reference, "state": "open", "opened_utc": now}
        names = ", ".join(row)
        self._db.execute(
            f"insert into alert ({names}) values ({', '.join('?' * len(row))})", tuple(row.values())
        )
        self._queue(reference, "open", {**body, "reference": reference}, now)
        self._record("opened", reference, {"rule": alert["rule"], "version": alert["rule_version"]})
        return reference

    def resolve_alert(self, patient: str, rule: str, day: date, body: Mapping[str, Any]) -> bool:
        """Resolve the active alert; who was told it opened is told it is over."""
        row = self._one(
            "select reference from alert where patient = ? and rule = ? and state in ('open', 'acked')",
            patient,
            rule,
        )
        if row is None:
            return False
        reference, now = row["reference"], self._clock()
        self._db.execute(
            "update alert set state = 'resolved', resolved_date = ?, resolved_utc = ? where reference = ?",
            (day.isoformat(), now, reference),
        )
        self._queue(reference, "resolved", {**body, "reference": reference}, now)
        self._record("resolved", reference, {"date": day.isoformat()})
        return True

    # -- outbox

    def lease(self, *, limit: int, lease_us: int) -> list[Message]:
        """Claim due messages, oldest first; a lease that ran out is due again."""
        now = self._clock()
        with self.transaction():
            rows = self._db.execute(
                "select key, reference, step, body, attempts, deadline_utc from outbox where not_before_utc <= ? "
                "and (state = 'queued' or (state = 'leased' and lease_until_utc <= ?)) "
                "order by not_before_utc, rowid limit ?",
                (now, now, limit),
            ).fetchall()
            for row in rows:
                self._db.execute(
                    "update outbox set state = 'leased', lease_until_utc = ?, attempts = attempts + 1 where key = ?",
                    (now + lease_us, row["key"]),
                )
        return [Message(**dict(row) | {"attempts": row["attempts"] + 1}) for row in rows]

    def is_still_wanted(self, message: Message) -> bool:
        """Re-check at send: an opening nobody has heard of is not sent once the alert is resolved."""
        row = self._one("select state from alert where reference = ?", message.reference)
        return row is not None and (message.step == "resolved" or row["state"] == "open")

    def settle(
        self, message: Message, state: str, *, error: str | None = None, not_before_utc: int = 0
    ) -> None:
        """Sent, queued again, cancelled or dead; on the record either way."""
        with self.transaction():
            self._db.execute(
                "update outbox set state = ?, last_error = ?, not_before_utc = ? where key = ?",
                (state, error, not_before_utc, message.key),
            )
            if state == "sent":
                self._db.execute(
                    "update alert set delivered_utc = coalesce(delivered_utc, ?) where reference = ?",
                    (self._clock(), message.reference),
                )
            self._record(state, message.reference, {"key": message.key, "attempt": message.attempts})

    def outbox_counts(self) -> dict[str, int]:
        """Messages by state."""
        rows = self._db.execute("select state, count(*) from outbox group by 1").fetchall()
        return dict(rows)

    # -- reading

    def active(self) -> list[dict[str, Any]]:
        """Open and acknowledged alerts, oldest first."""
        query = "select * from alert where state in ('open', 'acked') order by opened_utc, reference"
        return [dict(row) for row in self._db.execute(query)]

    def to_table(self) -> pa.Table:
        """Every alert, in the schema of the published view."""
        rows = self._db.execute("select * from alert order by opened_date, reference").fetchall()
        columns: list[pa.Array] = []
        for column in ALERTS:
            values = [row[column.name] for row in rows]
            if pa.types.is_date32(column.type):
                values = [date.fromisoformat(text) if text else None for text in values]
            columns.append(pa.array(values, column.type))
        return pa.Table.from_arrays(columns, schema=ALERTS)

    def verify_audit(self) -> int:
        """Rows of an unbroken audit chain.

        Raises
        ------
        ValueError
            Naming the first row that was changed.
        """
        previous, count = "", 0
        for row in self._db.execute("select * from audit order by number"):
            if row["previous"] != previous or row["digest"] != _digest(row):
                raise ValueError(f"audit row {row['number']} was changed")
            previous, count = row["digest"], count + 1
        return count

    # -- inside a transaction

    def _queue(self, reference: str, step: str, body: Mapping[str, Any], now: int) -> None:
        self._db.execute(
            "insert into outbox (key, reference, step, body, state, not_before_utc, deadline_utc) "
            "values (?, ?, ?, ?, 'queued', ?, ?)",
            (f"{reference}:{step}:care-team:webhook", reference, step, json.dumps(body), now, now + DEADLINE),
        )

    def _record(self, event: str, reference: str, detail: Mapping[str, Any]) -> None:
        last = self._one("select digest from audit order by number desc limit 1")
        row = {
            "at_utc": self._clock(),
            "event": event,
            "reference": reference,
            "detail": json.dumps(detail, sort_keys=True),
            "previous": last["digest"] if last else "",
        }
        row["digest"] = _digest(row)
        names = ", ".join(row)
        self._db.execute(
            f"insert into audit ({names}) values ({', '.join('?' * len(row))})", tuple(row.values())
        )

    def _one(self, query: str, *values: Any) -> Any:
        return self._db.execute(query, values).fetchone()


def _digest(row: Any) -> str:
    parts = (row["at_utc"], row["event"], row["reference"], row["detail"], row["previous"])
    return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()
