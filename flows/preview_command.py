"""`flarecast alerts preview | measure`: what rules would ask of the team, before they do."""

import argparse
from datetime import timedelta

import sqlalchemy as sa

from alerts.engine.journal import Journal
from alerts.engine.load import Load
from alerts.rules.pack import READABLE, RulePack, load_pack
from alerts.store.schema import night_count
from flows.clinic import Clinic
from flows.errors import UserError
from flows.rehearsal import load_over, measure_recording, measure_simulator, rehearse


def run_preview(clinic: Clinic, journal: Journal, before: RulePack, arguments: argparse.Namespace) -> int:
    """Judge the last nights by both packs."""
    after = load_pack(arguments.file, is_staffed=before.is_staffed)
    with journal.transaction() as con:
        last = con.scalar(sa.select(sa.func.max(night_count.c.night)))
    if last is None:
        raise UserError("no night has been judged")
    first = last - timedelta(days=arguments.days - 1)
    tables = {name: clinic.derived.read(name, first, last) for name in READABLE}
    patients = list(clinic.patients())
    old, new = (rehearse(tables, pack, first, last, patients) for pack in (before, after))
    for words, found in (("now", old), ("after", new)):
        print(f"{words:6}{_line(load_over(found, len(patients), first, last))}")
    known = {(one.scope, one.subject, one.rule) for one in old}
    newly = {(one.subject, one.rule) for one in new if (one.scope, one.subject, one.rule) not in known}
    for subject, rule in sorted(newly):
        print(f"would newly alert: {subject} ({rule})")
    if not newly:
        print("nobody would newly alert")
    return 0


def run_measure(arguments: argparse.Namespace) -> int:
    """Load and sensitivity side by side, all staff-facing alerts counted."""
    pack = load_pack(arguments.file)
    load, share, flares = measure_simulator(
        pack, people=arguments.people, days=arguments.days, seed=arguments.seed
    )
    print(f"SYNTHETIC, {arguments.people} people, {arguments.days} days: {_line(load)}")
    print(
        f"  flares under way, found from a day before to six days after the onset: {100 * share:.0f} %"
        f" of {flares}"
    )
    if arguments.recording:
        real, nights = measure_recording(pack, arguments.recording)
        print(
            f"{arguments.recording.name}, {nights} person-days of real people without flares: {_line(real)}"
        )
    return 0


def _line(load: Load) -> str:
    rate = "no patient" if load.per_100_weeks is None else f"{load.per_100_weeks:.1f}"
    rules = ", ".join(f"{rule} {count}" for rule, count in load.by_rule.items())
    return f"{rate} alerts per 100 patients and week ({rules or 'none'})"
