"""`flarecast alerts preview | measure`: what rules would ask of the team, before they do."""

import argparse
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa

from alerts.engine.alert import Alert
from alerts.engine.journal import Journal
from alerts.engine.load import BUDGET, Load
from alerts.engine.night import Surroundings
from alerts.rules.pack import READABLE, RulePack, load_pack
from alerts.rules.rule import ReportedRule
from alerts.store import audit
from alerts.store.schema import night_count
from devices.clock import system_clock
from flows.care.actor import actor_of
from flows.care.rehearsal import Measured, load_over, measure_recording, measure_simulator, rehearse
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.patient_states import ACTIVE, surroundings_by_night


def run_preview(clinic: Clinic, journal: Journal, before: RulePack, arguments: argparse.Namespace) -> int:
    """Judge the last nights by both packs, of patients in the states written down for each night."""
    after = load_pack(arguments.file, is_staffed=before.is_staffed)
    actor = actor_of(journal)
    with journal.transaction() as con:
        last = con.scalar(sa.select(sa.func.max(night_count.c.night)))
        if last is None:
            raise UserError("no night has been judged")
        audit.append(con, journal.now(), actor.staff, "preview", night=last.isoformat(), digest=after.digest)
    first = last - timedelta(days=arguments.days - 1)
    tables = {name: clinic.derived.read(name, first, last) for name in READABLE}
    patients, written = clinic.patients(), surroundings_by_night(clinic, system_clock())
    by_night = {}
    for day in (first + timedelta(days=n) for n in range(arguments.days)):
        noted = written(day)
        states = {patient: noted.statuses.get(patient, ACTIVE) for patient in patients}
        by_night[day] = Surroundings(statuses=states, sites=noted.sites)
    owed = sum(state != "withdrawn" for around in by_night.values() for state in around.statuses.values())
    old, new = (rehearse(tables, pack, first, last, by_night.__getitem__) for pack in (before, after))
    for words, found in (("now", old), ("after", new)):
        print(f"{words:6}{_line(load_over(found, owed / 7, first, last))}")
    print("\n".join(_changed(old, new)))
    live = [rule.id for rule in after.rule if rule.cadence == "live" and not isinstance(rule, ReportedRule)]
    if live:
        print(f"not counted, because judged as values arrive: {', '.join(live)}")
    return 0


def _changed(old: Sequence[Alert], new: Sequence[Alert]) -> list[str]:
    """Who would newly alert, more often than now, less often, or no longer."""
    before, after = (Counter((one.subject, one.rule) for one in found) for found in (old, new))
    lines: dict[str, list[str]] = {
        "newly alert": [],
        "alert more often": [],
        "alert less often": [],
        "no longer alert": [],
    }
    for key in sorted(before.keys() | after.keys()):
        was, becomes, who = before[key], after[key], f"{key[0]} ({key[1]})"
        if not was or not becomes:
            lines["no longer alert" if was else "newly alert"].append(who)
        elif was != becomes:
            words = f"{who}: {becomes} instead of {was}"
            lines["alert more often" if becomes > was else "alert less often"].append(words)
    said = [f"would {how}: {one}" for how, ones in lines.items() for one in ones]
    return said if lines["newly alert"] else [*said, "nobody would newly alert"]


def run_measure(arguments: argparse.Namespace) -> int:
    """Load and sensitivity side by side, all staff-facing alerts counted."""
    pack = load_pack(arguments.file)
    found = measure_simulator(pack, people=arguments.people, days=arguments.days, seed=arguments.seed)
    right = found.load.found
    print(f"SYNTHETIC, {arguments.people} people, {arguments.days} days: {_line(found.load)}")
    print(
        f"  true flares: {found.per_100_weeks:.1f} per 100 people and week ({found.flares}): what an engine"
        " without error would open"
    )
    print(
        f"  found, by an alert from a day before to six days after the onset: {_share(found.found, found)};"
        f" or told of within two weeks before: {_share(found.known, found)}"
    )
    print(f"  alerts of a true flare: {100 * right.right / max(1, right.count):.0f} % of {right.count}")
    if arguments.recording:
        real, nights = measure_recording(pack, arguments.recording)
        print(
            f"{arguments.recording.name}, {nights} person-days of real people without flares: {_line(real)}"
        )
    return 0


def _share(count: int, of: Measured) -> str:
    return f"{100 * count / max(1, of.flares):.0f} %"


def _line(load: Load) -> str:
    rate = "no patient" if load.per_100_weeks is None else f"{load.per_100_weeks:.1f}"
    rules = ", ".join(f"{rule} {count}" for rule, count in load.by_rule.items())
    over = f", over the budget of {BUDGET:.0f}" if load.is_over else ""
    return f"{rate} alerts per 100 patients and week{over} ({rules or 'none'})"
