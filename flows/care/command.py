"""`flarecast alerts list | show | ack | ...`: the care team's desk until there is a console."""

import argparse
import json
import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa

from alerts.delivery.channels.settings import NAME as CHANNELS
from alerts.delivery.channels.settings import read_channels
from alerts.engine import alert as alerts
from alerts.engine import people
from alerts.engine.alert import IS_ACTIVE, Alert
from alerts.engine.desk import ACTING, Actor, Desk, hand_over
from alerts.engine.journal import Journal
from alerts.engine.oncall import read_calendar
from alerts.rules.bounds import parse_wall_clock
from alerts.rules.pack import RulePack, read_text
from alerts.rules.rule import SEVERITIES
from alerts.store import audit
from alerts.store.schema import rule_change, schedule, staff, staff_role
from devices.clock import HOUR, system_clock
from devices.errors import IdError
from devices.ids import check_id
from flows.care.reports import print_digest, print_load, print_worklist
from flows.care.rules_in_force import approve, faults_of, in_force_text, propose, rules_in_force
from flows.care.show import print_alert
from flows.care.site_rules import RULES
from flows.care.ticking import Ticking
from flows.care.words import began, moment, standing
from flows.clinic import Clinic
from flows.errors import UserError
from flows.words import counted
from ingest.lake.enrolment import Cells, read_enrolment_leniently

#: The channel that FLARECAST_WEBHOOK_URL makes.
WEBHOOK: Final = "webhook"
#: Roles beside those that the routes name: who only looks, and who sees to devices.
ROLES: Final = ACTING | {"analyst"}


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
            "staff": self._staff,
        }.get(given.action, self._act)(given)

    def _actor(self) -> Actor:
        """The member of staff whose operating-system user runs this."""
        user = pwd.getpwuid(os.getuid()).pw_name
        with self._journal.transaction() as con:
            is_user = (staff.c.os_user == user, staff.c.left_utc.is_(None))
            name = con.scalar(sa.select(staff.c.staff).where(*is_user))
            if name is None:
                raise UserError(f"{user} is not registered: flarecast alerts staff add NAME --os-user {user}")
            return Actor(name, people.load(con).people[name].roles)

    def _desk(self) -> Desk:
        return Desk(self._journal, self._pack, self._actor())

    def _active(self) -> list[Alert]:
        with self._journal.transaction() as con:
            found = alerts.select(con, IS_ACTIVE)
        return sorted(found, key=lambda a: (a.status != "open", -SEVERITIES.index(a.severity), a.opened_utc))

    def _list(self, given: argparse.Namespace) -> int:
        actor, found = self._actor(), self._active()
        with self._journal.transaction() as con:
            audit.append(con, self._journal.now(), actor.staff, "list", alerts=[one.alert for one in found])
        if given.json:
            print(json.dumps([_row(one) for one in found]))
            return 0
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
        is_waiting = action == "outcome" and one is not None and one.status == "open"
        more = "; it still waits for ack or resolve" if is_waiting else ""
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
        return print_digest(self._journal, self._actor().staff)

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
        by = self._actor().staff
        return print_worklist(self._clinic, self._journal, by, as_page=given.html)

    def _rules(self, given: argparse.Namespace) -> int:
        actor = self._actor()
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

    def _staff(self, given: argparse.Namespace) -> int:
        with self._journal.transaction() as con:
            now = self._journal.now()
            directory = people.load(con)
            if given.what == "list":
                for one in directory.people.values():
                    print(f"{one.staff}  {one.zone}  {', '.join(sorted(one.roles))}")
                return 0
            if given.name is None:
                raise UserError(f"alerts staff {given.what} needs a name")
            # the first one registers themselves; after that only staff do
            by = self._actor().staff if directory.people else given.name
            if given.what == "add":
                _check_channels(self._clinic.home / CHANNELS, given.channel or ())
                _hire(con, self._pack, given, now)
                roles = ", ".join(dict.fromkeys(given.role)) or "no role: may look, not act"
                user = f", operating-system user {given.os_user}" if given.os_user else ""
                print(f"{given.name} is registered: {roles}{user}")
            elif given.what == "leave":
                is_row = (staff.c.staff == given.name, staff.c.left_utc.is_(None))
                if not con.execute(staff.update().where(*is_row).values(left_utc=now, os_user=None)).rowcount:
                    raise UserError(f"{given.name!r} is not a member of staff")
                print(f"{counted(hand_over(con, self._pack, given.name, now), 'alert')} handed over")
            else:
                _load_schedule(con, given, now, by)
            audit.append(con, now, by, f"staff {given.what}", name=given.name)
        return 0


def _hire(con: sa.Connection, pack: RulePack, given: argparse.Namespace, now: int) -> None:
    quiet = given.quiet or (None, None)
    known = ROLES | {
        step.name for route in pack.route for step in route.step if step.kind in ("role", "oncall")
    }
    for role in given.role:
        if role not in known:
            raise UserError(f"--role: {role!r} is none; there are {', '.join(sorted(known))}")
    try:
        check_id(given.name, "name")
        ZoneInfo(given.zone)
    except (IdError, ZoneInfoNotFoundError, ValueError, OSError) as fault:
        zone = f"--zone: {given.zone!r} is not an IANA zone"
        raise UserError(str(fault) if isinstance(fault, IdError) else zone) from None
    try:
        for text in given.quiet or ():
            parse_wall_clock(text)
    except ValueError as fault:
        raise UserError(f"--quiet: {fault}") from None
    values = {"staff": given.name, "os_user": given.os_user, "zone": given.zone, "since_utc": now}
    values |= {"channels": given.channel, "quiet_from": quiet[0], "quiet_to": quiet[1]}
    known_as = con.execute(sa.select(staff.c.left_utc).where(staff.c.staff == given.name)).first()
    if known_as is not None:
        # what somebody did here stays theirs, whoever comes later
        left = "worked here and left: add them by another name"
        raise UserError(f"{given.name!r} {left if known_as.left_utc else 'is registered already'}")
    is_user = staff.c.os_user == given.os_user
    if given.os_user is not None and (other := con.scalar(sa.select(staff.c.staff).where(is_user))):
        raise UserError(f"--os-user: {given.os_user!r} is {other} already")
    con.execute(staff.insert().values(**values))
    for role in dict.fromkeys(given.role):
        con.execute(staff_role.insert().values(staff=given.name, role=role))


def _check_channels(path: Path, wanted: Sequence[str]) -> None:
    known = {one.name for one in read_channels(path).channels} if path.exists() else set[str]()
    for name in wanted:
        if name not in known | {WEBHOOK}:
            have = ", ".join(sorted(known)) or "none"
            raise UserError(f"--channel: there is no channel {name!r} in {path.name}; there is {have}")


def _load_schedule(con: sa.Connection, given: argparse.Namespace, now: int, by: str) -> None:
    if given.file is None:
        raise UserError("alerts staff oncall needs a role and a calendar file")
    try:
        text = given.file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"{given.file} cannot be read: {fault}") from None
    read_calendar(text)
    con.execute(schedule.delete().where(schedule.c.role == given.name))
    con.execute(schedule.insert().values(role=given.name, calendar=text, loaded_utc=now, loaded_by=by))


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
