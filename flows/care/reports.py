"""`flarecast alerts load | digest | worklist`: what is asked of the team, and what it takes over."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from alerts.console.terminal import in_words as worklist_in_words
from alerts.engine import alert as alerts
from alerts.engine.alert import IS_ACTIVE, Alert
from alerts.engine.evaluate import event_time, night_of
from alerts.engine.journal import Journal
from alerts.engine.load import KNOWN_AFTER, Labels, Load, in_words, load_of
from alerts.engine.service import add_service_time
from alerts.engine.technical import has_judged
from alerts.rules.bounds import parse_duration
from alerts.rules.pack import RulePack
from alerts.rules.rule import SEVERITIES, RiskRule
from alerts.store import audit
from alerts.store.schema import alert as table
from alerts.store.schema import heartbeat, night_count, nudge
from devices.clock import DAY, system_clock
from flows.care.page import facts_of, worklist_rows, write_page
from flows.care.silences import silences_in_force
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.patient_states import surroundings_by_night
from flows.words import counted

#: Four weeks: long enough for a share, short enough to still be about the rules in force.
DAYS_OF_LOAD: Final = 28
#: Parts of the handover, what is most urgent first; resolved: within the last day.
PARTS: Final = ("overdue", "new", "open", "silent", "taken on", "resolved")


def print_load(clinic: Clinic, journal: Journal, pack: RulePack) -> int:
    """Print the load of the last weeks; returns the exit code."""
    now, last = journal.now(), night_of(journal.now())
    with journal.transaction() as con:
        found = alerts.select(con)
    load = load_of_clinic(clinic, pack, found, last - timedelta(days=DAYS_OF_LOAD - 1), last, now)
    print("\n".join(in_words(load)))
    return 0


def load_of_clinic(
    clinic: Clinic, pack: RulePack, found: list[Alert], first: date, last: date, now: int
) -> Load:
    """Load of the nights `first` to `last`, or of as many as were published; withdrawn patients are not."""
    columns = ("patient", "local_date", "last_onset_date")
    nights = clinic.derived.read("flare_risk", first, last + timedelta(days=KNOWN_AFTER), columns=columns)
    judged = _nights_of(nights.filter(pc.field("local_date") <= last))
    around = surroundings_by_night(clinic, now)
    withdrawn = {
        (patient, night)
        for night in {night for own in judged.values() for night in own}
        for patient, status in around(night).statuses.items()
        if status == "withdrawn"
    }
    owed = sum((patient, night) not in withdrawn for patient, own in judged.items() for night in own)
    begin = min((night for own in judged.values() for night in own), default=first)

    labels = labels_of(nights, pack)
    due_of = partial(due, pack)
    return load_of(found, owed / 7, event_time(begin), now + 1, labels=labels, due_of=due_of)


def due(pack: RulePack, one: Alert) -> int:
    """When an alert is to be acknowledged: the service level of its route, in service hours."""
    route = pack.route_named(one.route)
    return add_service_time(one.opened_utc, parse_duration(route.ack_within), pack.service_of(route))


def labels_of(nights: pa.Table, pack: RulePack) -> Labels:
    """Onsets of published nights (patient, local_date, last_onset_date)."""
    onsets: dict[str, set[date]] = defaultdict(set)
    for row in nights.group_by(["patient", "last_onset_date"]).aggregate([]).to_pylist():
        if row["last_onset_date"] is not None:
            onsets[row["patient"]].add(row["last_onset_date"])
    forecasts = {rule.id for rule in pack.rule if isinstance(rule, RiskRule)}
    return Labels(onsets, _nights_of(nights), forecasts)


def _nights_of(nights: pa.Table) -> Mapping[str, set[date]]:
    found: dict[str, set[date]] = defaultdict(set)
    for patient, night in zip(nights["patient"].to_pylist(), nights["local_date"].to_pylist(), strict=True):
        found[patient].add(night)
    return found


def print_digest(journal: Journal, pack: RulePack, by: str) -> int:
    """Print the morning handover, each alert once; returns the exit code."""
    now = journal.now()
    with journal.transaction() as con:
        found = alerts.select(con, sa.or_(IS_ACTIVE, sa.column("resolved_utc") >= now - DAY))
        nudges = con.scalar(sa.select(sa.func.count()).select_from(nudge)) or 0
        night_due = con.scalar(sa.select(heartbeat.c.due_utc).where(heartbeat.c.subject == "nightly"))
        is_judged = has_judged(con)
        audit.append(con, now, by, "digest", alerts=[one.alert for one in found])
    parts: dict[str, list[Alert]] = {name: [] for name in PARTS}
    for one in found:
        parts[_part_of(one, due(pack, one), now)].append(one)
    for line in silences_in_force(journal):
        print(line)
    for name in PARTS:
        ones = sorted(parts[name], key=lambda one: (-SEVERITIES.index(one.severity), one.opened_utc))
        for one in ones:
            print(f"{name:9} {one.alert}  {one.severity:8} {one.subject}: {one.sentence}")
    counts = [f"{len(ones)} {name}" for name, ones in parts.items() if ones]
    if not is_judged or night_due is None or night_due < now:
        print("the nightly run is missing: what is not here has not been looked at")
    elif not counts:
        print("all quiet" + ("" if nudges else ", data complete"))
    if counts:
        print(", ".join(counts))
    print(f"{counted(nudges, 'patient')} to be asked about their device")
    return 0


def _part_of(one: Alert, due_utc: int, now: int) -> str:
    if not one.is_active:
        return "resolved"
    if one.held_by is not None or one.snooze_until_utc is not None:
        return "silent"
    if one.status == "acked":
        return "taken on"
    if one.escalation_step > 0 or due_utc < now:
        return "overdue"
    return "new" if one.opened_utc >= now - DAY else "open"


def print_worklist(clinic: Clinic, journal: Journal, by: str, *, as_page: bool) -> int:
    """Print the worklist of the last night, or write its page and print where that is; the exit code."""
    with journal.transaction() as con:
        day = con.scalar(sa.select(sa.func.max(night_count.c.night)))
        if day is None:
            raise UserError("no night has been judged")
        audit.append(con, journal.now(), by, "worklist", night=day.isoformat())
        others = con.scalar(
            sa.select(sa.func.count()).select_from(table).where(IS_ACTIVE, table.c.scope != "patient")
        )
    if as_page:
        print(write_page(clinic, day, clock=system_clock, is_synthetic=clinic.is_synthetic))
        return 0
    rows = worklist_rows(clinic, day, system_clock)
    facts = facts_of(clinic, journal, day, system_clock)
    print("\n".join(worklist_in_words(rows, facts=facts, is_synthetic=clinic.is_synthetic)))
    if others:
        print(f"{counted(others, 'alert')} not about a patient: flarecast alerts list")
    return 0
