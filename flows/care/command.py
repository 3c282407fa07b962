"""`flarecast alerts list | show | ack | ...`: the care team's desk until there is a console."""

import argparse
import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine.alert import IS_ACTIVE, Alert
from alerts.engine.desk import Desk
from alerts.engine.journal import Journal
from alerts.rules.pack import RulePack, read_text
from alerts.rules.rule import SEVERITIES
from alerts.store import audit
from alerts.store.schema import rule_change
from devices.clock import HOUR, system_clock
from flows.care.actor import acting, actor_of
from flows.care.reports import print_digest, print_load, print_worklist
from flows.care.rules_in_force import approve, faults_of, in_force_text, propose, rules_in_force
from flows.care.show import print_alert
from flows.care.silences import silences_in_force
from flows.care.site_rules import RULES
from flows.care.staff_command import run_staff
from flows.care.ticking import Ticking
from flows.care.words import began, moment, standing
from flows.clinic import Clinic
from flows.errors import UserError
from ingest.lake.enrolment import Cells, read_enrolment_leniently


def run_care(home: Path, arguments: argparse.Namespace) -> int:
    """Run one action; returns the exit code."""
    clinic = Clinic(home)
    if arguments.action == "lint":
        return _lint(arguments.file)
    if arguments.action == "measure":
        from flows.care.preview_command import run_measure

        return run_measure(arguments)
    if not home.is_dir():
        raise UserError(f"no clinic folder at {home}: set --home or FLARECAST_HOME")
    with Journal(clinic.alert_store, system_clock) as journal:
        if arguments.action == "preview":
            from flows.care.preview_command import run_preview

            return run_preview(clinic, journal, rules_in_force(clinic, journal), arguments)
        return _Care(clinic, journal, rules_in_force(clinic, journal)).run(arguments)


def _lint(file: Path | None) -> int:
    name, text = read_text(file)
    faults = faults_of(text, name, read_text(None)[1] if file else None)
    print("\n".join(faults) or f"{name}: no fault, every example holds")
    return 1 if faults else 0


class _Care:
    def __init__(self, clinic: Clinic, journal: Journal, pack: RulePack) -> None:
        self._clinic, self._journal, self._pack = clinic, journal, pack

    def run(self, given: argparse.Namespace) -> int:
        """One action by its name."""
        return {
            "list": self._list,
            "show": self._show,
            "silence": self._silence,
            "load": self._load,
            "digest": self._digest,
            "tick": self._tick,
            "audit": self._audit,
            "worklist": self._worklist,
            "rules": self._rules,
            "staff": lambda given: run_staff(self._clinic, self._journal, self._pack, given),
        }.get(given.action, self._act)(given)

    def _desk(self) -> Desk:
        return Desk(self._journal, self._pack, actor_of(self._journal))

    def _active(self) -> list[Alert]:
        with self._journal.transaction() as con:
            found = alerts.select(con, IS_ACTIVE)
        return sorted(found, key=lambda a: (a.status != "open", -SEVERITIES.index(a.severity), a.opened_utc))

    def _list(self, given: argparse.Namespace) -> int:
        actor, found = actor_of(self._journal), self._active()
        with self._journal.transaction() as con:
            audit.append(con, self._journal.now(), actor.staff, "list", alerts=[one.alert for one in found])
        if given.json:
            print(json.dumps([_row(one) for one in found]))
            return 0
        for line in silences_in_force(self._journal):
            print(line)
        for one in found:
            print(
                f"{one.alert}  v{one.version}  {one.severity:8} {began(one)}  {standing(one):28}"
                f" {one.subject}: {one.sentence}"
            )
        if not found:
            print("no active alert")
        return 0

    def _show(self, given: argparse.Namespace) -> int:
        one = self._desk().look(given.alert)
        return print_alert(self._clinic, self._journal, self._pack, one)

    def _act(self, given: argparse.Namespace) -> int:
        desk, name, action = self._desk(), given.alert, given.action
        if action == "comment":
            desk.comment(name, given.text)
        elif action == "outcome":
            desk.set_outcome(name, given.value, given.helped)
        else:
            version = given.version if given.version is not None else self._version(name)
            if action == "ack":
                desk.acknowledge(name, version)
            elif action == "assign":
                desk.assign(name, version, given.value)
            elif action == "snooze":
                desk.snooze(name, version, self._journal.now() + int(given.hours * HOUR), given.reason)
            else:
                desk.resolve(name, version, given.reason)
        with self._journal.transaction() as con:
            one = alerts.find(con, name)
        more = ""
        if action == "outcome" and one is not None and one.status == "open":
            more = "; it still waits for ack or resolve"
        elif action == "assign" and given.value != actor_of(self._journal).staff:
            more = "; tell them: this sends no message"
        print(f"{name}: {standing(one) if one else 'gone'}{more}")
        return 0

    def _version(self, name: str) -> int:
        with self._journal.transaction() as con:
            one = alerts.find(con, name)
        if one is None:
            raise UserError(f"there is no alert {name!r}")
        return one.version

    def _silence(self, given: argparse.Namespace) -> int:
        if given.end:
            self._desk().end_silence(given.end)
            print(f"{given.end} ended")
            return 0
        fields = ("rule", "subject", "site", "severity")
        matcher = {field: getattr(given, field) for field in fields if getattr(given, field)}
        if given.rule and self._pack.rule_named(given.rule) is None:
            raise UserError(f"--rule: no rule {given.rule!r} is in force, nothing would be silenced")
        if given.subject and given.subject not in self._subjects():
            raise UserError(f"--subject: {given.subject!r} is no patient, gateway or site, and has no alert")
        if given.severity and given.severity not in SEVERITIES:
            raise UserError(f"--severity: {given.severity!r} is none of {', '.join(SEVERITIES)}")
        if given.site and given.site not in self._sites():
            raise UserError(f"--site: {given.site!r} is none, nothing would be silenced")
        expires = self._journal.now() + int(given.hours * HOUR)
        print(self._desk().silence(matcher, expires, given.reason))
        return 0

    def _subjects(self) -> set[str]:
        with self._journal.transaction() as con:
            known = {one.subject for one in alerts.select(con)}
        return known.union(*({row.patient, row.gateway, row.site} for row in self._enrolled()))

    def _sites(self) -> set[str | None]:
        with self._journal.transaction() as con:
            known = {one.site for one in alerts.select(con)}
        return known | {row.site for row in self._enrolled()}

    def _enrolled(self) -> list[Cells]:
        # a mistyped line about one patient does not keep the others from being silenced
        path = self._clinic.enrolment_path
        return read_enrolment_leniently(path)[1] if path.exists() else []

    def _load(self, given: argparse.Namespace) -> int:
        del given
        return print_load(self._clinic, self._journal, self._pack)

    def _digest(self, given: argparse.Namespace) -> int:
        del given
        return print_digest(self._journal, self._pack, actor_of(self._journal).staff)

    def _tick(self, given: argparse.Namespace) -> int:
        del given
        done = Ticking(self._clinic, self._journal.now)(self._journal)
        print(", ".join(f"{count} {name}" for name, count in sorted(done.items())) or "nothing was due")
        return 0

    def _audit(self, given: argparse.Namespace) -> int:
        del given
        with self._journal.transaction() as con:
            fault, (length, last) = audit.first_fault(con), audit.head(con)
        print(
            f"{length} rows, chain whole, ends in {last[:16]}"
            if fault is None
            else f"row {fault} was tampered with"
        )
        return 0 if fault is None else 1

    def _worklist(self, given: argparse.Namespace) -> int:
        by = actor_of(self._journal).staff
        return print_worklist(self._clinic, self._journal, by, as_page=given.html)

    def _rules(self, given: argparse.Namespace) -> int:
        actor = actor_of(self._journal) if given.what == "pending" else acting(self._journal)
        if given.what == "pending":
            with self._journal.transaction() as con:
                rows = con.execute(sa.select(rule_change).where(rule_change.c.approved_utc.is_(None))).all()
            for row in rows:
                print(f"{row.change}  {moment(row.proposed_utc)} {row.proposed_by}: {row.summary}")
            if not rows:
                print("nothing waits")
        elif given.value is None:
            raise UserError(f"alerts rules {given.what} needs a file or a change")
        elif given.what == "propose":
            name, text = read_text(Path(given.value))
            print(propose(self._journal, text, name, actor.staff, in_force_text(self._journal)))
        else:
            approve(self._journal, given.value, actor.staff, self._clinic.home / RULES)
            print(f"{given.value} is in force")
        return 0


def _row(one: Alert) -> dict[str, Any]:
    names = (
        "alert",
        "version",
        "scope",
        "subject",
        "rule",
        "severity",
        "status",
        "held_by",
        "assignee",
        "sentence",
    )
    return {name: getattr(one, name) for name in names} | {"night": one.night and one.night.isoformat()}
