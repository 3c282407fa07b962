"""`flarecast alerts staff add | leave | list | oncall`: who works here, as what, and who is on call when."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa

from alerts.delivery.channels.settings import NAME as CHANNELS
from alerts.delivery.channels.settings import read_channels
from alerts.engine import people
from alerts.engine.desk import ACTING, hand_over
from alerts.engine.journal import Journal
from alerts.engine.oncall import named, read_calendar
from alerts.engine.people import Directory
from alerts.rules.bounds import parse_wall_clock
from alerts.rules.pack import RulePack
from alerts.store import audit
from alerts.store.schema import schedule, staff, staff_role
from devices.errors import IdError
from devices.ids import check_id
from flows.care.actor import acting
from flows.clinic import Clinic
from flows.errors import UserError
from flows.words import counted

#: The channel that FLARECAST_WEBHOOK_URL makes.
WEBHOOK: Final = "webhook"
#: Roles beside those that the routes name: who only looks, and who sees to devices.
ROLES: Final = ACTING | {"analyst"}


def run_staff(clinic: Clinic, journal: Journal, pack: RulePack, given: argparse.Namespace) -> int:
    """Run one action; returns the exit code."""
    with journal.transaction() as con:
        now, directory = journal.now(), people.load(con)
        if given.what == "list":
            for one in directory.people.values():
                print(f"{one.staff}  {one.zone}  {', '.join(sorted(one.roles))}")
            return 0
        if given.name is None:
            raise UserError(f"alerts staff {given.what} needs a name")
        by = acting(journal).staff if directory.people else _first(given)
        if given.what == "add":
            _check_channels(clinic.home / CHANNELS, given.channel or ())
            _hire(con, pack, given, now)
            roles = ", ".join(dict.fromkeys(given.role)) or "no role: may look, not act"
            user = f", operating-system user {given.os_user}" if given.os_user else ""
            print(f"{given.name} is registered: {roles}{user}")
        elif given.what == "leave":
            print(f"{counted(_leave(con, pack, given.name, directory, now), 'alert')} handed over")
        else:
            print(_load_schedule(con, pack, given, directory, now, by))
        audit.append(con, now, by, f"staff {given.what}", name=given.name)
    return 0


def _first(given: argparse.Namespace) -> str:
    """The first one registers themselves; after that only staff who may act change who is staff."""
    if given.what != "add" or given.os_user is None or not ACTING.intersection(given.role):
        words = f"alerts staff add NAME --os-user USER --role {'|'.join(sorted(ACTING))}"
        raise UserError(f"nobody is registered yet, and who is first registers the others: {words}")
    return given.name


def _leave(con: sa.Connection, pack: RulePack, name: str, directory: Directory, now: int) -> int:
    """Somebody leaves; returns how many alerts were handed over."""
    if name not in directory.people:
        raise UserError(f"{name!r} is not a member of staff")
    mapped = con.scalars(
        sa.select(staff.c.staff).where(staff.c.left_utc.is_(None), staff.c.os_user.is_not(None))
    )
    able = {one for one in mapped if directory.people[one].roles & ACTING}
    if able == {name}:
        raise UserError(
            f"{name} is the last who may act here and has an operating-system user: add another one first"
        )
    con.execute(staff.update().where(staff.c.staff == name).values(left_utc=now, os_user=None))
    return hand_over(con, pack, name, now)


def _roles(pack: RulePack) -> frozenset[str]:
    """Roles there are: those of the desk, and those the routes name."""
    steps = (step for route in pack.route for step in route.step)
    return ROLES | {step.name for step in steps if step.kind in ("role", "oncall")}


def _hire(con: sa.Connection, pack: RulePack, given: argparse.Namespace, now: int) -> None:
    quiet = given.quiet or (None, None)
    known = _roles(pack)
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


def _load_schedule(
    con: sa.Connection, pack: RulePack, given: argparse.Namespace, directory: Directory, now: int, by: str
) -> str:
    """Take over a calendar; returns what it says."""
    if given.name not in _roles(pack):
        raise UserError(f"{given.name!r} is no role; there are {', '.join(sorted(_roles(pack)))}")
    if given.file is None:
        raise UserError("alerts staff oncall needs a role and a calendar file")
    try:
        text = given.file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"{given.file} cannot be read: {fault}") from None
    there = named(read_calendar(text)) & directory.people.keys()
    strangers = sorted(named(read_calendar(text)) - there)
    if not there:
        raise UserError(f"{given.file}: names no member of staff, but {', '.join(strangers)}")
    con.execute(schedule.delete().where(schedule.c.role == given.name))
    con.execute(schedule.insert().values(role=given.name, calendar=text, loaded_utc=now, loaded_by=by))
    more = f"; not of the staff, so nobody then: {', '.join(strangers)}" if strangers else ""
    return f"on call as {given.name}: {', '.join(sorted(there))}{more}"
