"""The one transactional store of conditions, alerts, messages and their audit.

SQLite, write-ahead log, every commit on the disk (``synchronous=FULL``). All
writing transactions are immediate: two processes wait for each other instead
of failing half-way.
"""

import json
import secrets
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from alerts.engine import audit, outbox
from alerts.engine.evaluate import Band, ConditionState
from alerts.engine.outbox import Outbox
from alerts.errors import JournalError, StaleAlertError
from alerts.rules.rule import Readings, Route, Rule
from alerts.tables import ALERTS
from devices.clock import Clock

SCHEMA_VERSION = 1
#: Another process may hold the journal for a whole night's judgement.
BUSY_TIMEOUT_S = 60.0
#: Letters and digits that cannot be mistaken for each other when read aloud.
REFERENCE_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
REFERENCE_LENGTH = 10
ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """An alert that is open or acknowledged."""

    alert: str
    patient: str
    rule: str
    rule_version: int
    severity: str
    status: str
    local_date: date
    sentence: str
    version: int
    is_delivered: bool


@dataclass(frozen=True, slots=True)
class Opening:
    """What an alert is opened with."""

    patient: str
    rule: Rule
    route: Route
    night: date
    zone: str | None
    value: float | None
    sentence: str
    readings: Readings


class Journal:
    """The alert journal of an installation.

    Parameters
    ----------
    path : Path
        SQLite file; made when it is not there.
    clock : Clock
        Stamps what is written; no judgement depends on it.

    Raises
    ------
    JournalError
        When the file cannot be opened or is of another version.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._con = _connect(path)
        except (OSError, sqlite3.Error) as fault:
            raise JournalError(f"alert journal {path} cannot be opened: {fault}") from fault
        self.outbox = Outbox(self.transaction, clock)

    def close(self) -> None:
        """Close the file."""
        self._con.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection, None, None]:
        """Immediate transaction: everything inside is kept together or not at all.

        Inside another one it is part of that.
        """
        if self._con.in_transaction:
            yield self._con
            return
        self._con.execute("begin immediate")
        try:
            yield self._con
        except BaseException:
            self._con.execute("rollback")
            raise
        self._con.execute("commit")

    # -- conditions ---------------------------------------------------------------------------

    def conditions(self, rule: str) -> dict[str, ConditionState]:
        """Patient -> state of the rule's condition."""
        rows = self._con.execute("select * from condition where rule = ?", (rule,))
        return {row["patient"]: _state(row) for row in rows}

    def readings(self, rule: str, night: date) -> dict[str, Band]:
        """Patient -> where the night's value lay, for the nights judged before."""
        rows = self._con.execute(
            "select patient, band from reading where rule = ? and night = ?", (rule, night.isoformat())
        )
        return {patient: Band(band) for patient, band in rows}

    def history(self, patient: str, rule: str) -> list[tuple[date, Band]]:
        """Every judged night of a patient under a rule, in order."""
        rows = self._con.execute(
            "select night, band from reading where patient = ? and rule = ? order by night", (patient, rule)
        )
        return [(date.fromisoformat(night), Band(band)) for night, band in rows]

    def keep_reading(self, patient: str, rule: str, night: date, band: Band) -> None:
        """Remember where a night's value lay; a later word on the same night replaces it."""
        with self.transaction() as con:
            con.execute(
                "insert into reading values (?, ?, ?, ?) on conflict do update set band = excluded.band",
                (patient, rule, night.isoformat(), band.value),
            )

    def keep_condition(self, patient: str, rule: str, state: ConditionState) -> None:
        """Remember where the condition stands."""
        with self.transaction() as con:
            con.execute(
                "insert into condition values (?, ?, ?, ?, ?, ?, ?) on conflict do update set"
                " is_firing = excluded.is_firing, since = excluded.since, last_breach = excluded.last_breach,"
                " clear_count = excluded.clear_count, last_night = excluded.last_night",
                (
                    *(patient, rule, state.is_firing, _iso(state.since)),
                    *(_iso(state.last_breach), state.clear_count, _iso(state.last_night)),
                ),
            )

    # -- alerts -------------------------------------------------------------------------------

    def open_alert(self, opening: Opening) -> str:
        """Open an alert with its messages, in one transaction.

        Returns
        -------
        str
            Random reference: it says nothing about the patient.

        Raises
        ------
        JournalError
            When the patient has an active alert of the rule.
        """
        rule, route = opening.rule, opening.route
        alert = new_reference()
        with self.transaction() as con:
            now = self._clock()
            try:
                con.execute(
                    "insert into alert (alert, patient, rule, rule_version, severity, status, night, zone,"
                    " value, sentence, inputs, opened_utc) values (?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?)",
                    (
                        *(alert, opening.patient, rule.id, rule.version, rule.severity),
                        *(opening.night.isoformat(), opening.zone, opening.value, opening.sentence),
                        *(json.dumps(dict(opening.readings), sort_keys=True), now),
                    ),
                )
            except sqlite3.IntegrityError as fault:
                raise JournalError(
                    f"rule {rule.id!r} has an active alert for this patient already"
                ) from fault
            outbox.queue_open(con, alert, rule.severity, route.recipients, route.channel, now)
            audit.append(con, now, ENGINE, "open", alert, rule=rule.id, rule_version=rule.version)
        return alert

    def resolve(self, alert: str, night: date, closed_by: str) -> None:
        """The condition ended: close the alert, call off what is queued, tell those who were told."""
        with self.transaction() as con:
            now = self._clock()
            changed = con.execute(
                "update alert set status = 'resolved', resolved_utc = ?, resolved_night = ?, closed_by = ?,"
                " version = version + 1 where alert = ? and status <> 'resolved' returning severity",
                (now, night.isoformat(), closed_by, alert),
            ).fetchall()
            if not changed:
                return
            outbox.cancel_open(con, alert)
            outbox.queue_resolved(con, alert, changed[0]["severity"], now)
            audit.append(con, now, ENGINE, "resolve", alert, closed_by=closed_by)

    def acknowledge(self, alert: str, by: str, version: int) -> None:
        """A person takes the alert on; nothing more is sent about its opening.

        Parameters
        ----------
        alert : str
            Reference of the alert.
        by : str
            Who acknowledges.
        version : int
            Version of the alert that person saw.

        Raises
        ------
        StaleAlertError
            When the alert has changed since.
        JournalError
            When there is no such alert.
        """
        with self.transaction() as con:
            row = con.execute("select status, version from alert where alert = ?", (alert,)).fetchone()
            if row is None:
                raise JournalError(f"there is no alert {alert!r}")
            if row["status"] == "resolved":
                return
            if row["version"] != version:
                raise StaleAlertError(
                    f"alert {alert} is at version {row['version']}, not {version}: look again"
                )
            now = self._clock()
            con.execute(
                "update alert set status = 'acked', acked_utc = ?, acked_by = ?, version = version + 1"
                " where alert = ?",
                (now, by, alert),
            )
            outbox.cancel_open(con, alert)
            audit.append(con, now, by, "acknowledge", alert)

    def active(self, patients: Iterable[str] | None = None) -> list[ActiveAlert]:
        """Open and acknowledged alerts, oldest first; of some patients, or of all."""
        wanted = None if patients is None else set(patients)
        rows = self._con.execute(
            "select a.*, exists (select 1 from outbox o where o.alert = a.alert and o.step = 'open'"
            " and o.status = 'sent') as is_delivered from alert a where a.status in ('open', 'acked')"
            " order by a.night, a.alert"
        )
        return [_active(row) for row in rows if wanted is None or row["patient"] in wanted]

    def to_table(self) -> pa.Table:
        """Every alert, for the published `alerts` view (schema :data:`alerts.tables.ALERTS`)."""
        rows = self._con.execute(
            "select a.*, (select min(o.sent_utc) from outbox o where o.alert = a.alert and o.step = 'open')"
            " as delivered_utc from alert a order by a.night, a.alert"
        )
        return pa.Table.from_pylist([_published(row) for row in rows], schema=ALERTS)

    def first_audit_fault(self) -> int | None:
        """Number of the first audit row that was tampered with; None when the chain is whole."""
        return audit.first_fault(self._con)


def new_reference() -> str:
    """Random name of an alert: what is sent, and what the console asks for."""
    return "A-" + "".join(secrets.choice(REFERENCE_ALPHABET) for _ in range(REFERENCE_LENGTH))


def _connect(path: Path) -> sqlite3.Connection:
    con = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        con.row_factory = sqlite3.Row
        con.execute("pragma journal_mode = wal")
        con.execute("pragma synchronous = full")
        con.execute("pragma foreign_keys = on")
        _make_schema(con, path)
    except BaseException:
        con.close()
        raise
    return con


def _make_schema(con: sqlite3.Connection, path: Path) -> None:
    version = con.execute("pragma user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    if version:
        raise JournalError(f"alert journal {path} is version {version}; this program knows {SCHEMA_VERSION}")
    script = (files("alerts.engine") / "journal.sql").read_text("utf-8")
    con.executescript(f"begin immediate; {script}; pragma user_version = {SCHEMA_VERSION}; commit;")


def _state(row: Any) -> ConditionState:
    return ConditionState(
        bool(row["is_firing"]),
        _date(row["since"]),
        _date(row["last_breach"]),
        row["clear_count"],
        _date(row["last_night"]),
    )


def _active(row: Any) -> ActiveAlert:
    return ActiveAlert(
        alert=row["alert"],
        patient=row["patient"],
        rule=row["rule"],
        rule_version=row["rule_version"],
        severity=row["severity"],
        status=row["status"],
        local_date=date.fromisoformat(row["night"]),
        sentence=row["sentence"],
        version=row["version"],
        is_delivered=bool(row["is_delivered"]),
    )


def _published(row: Any) -> dict[str, Any]:
    same = {name: row[name] for name in ALERTS.names if name not in ("local_date", "resolved_date")}
    return {**same, "local_date": _date(row["night"]), "resolved_date": _date(row["resolved_night"])}


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _date(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
