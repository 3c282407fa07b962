"""Command lines of the night shift: serve, watch and what the schedules run.

Imports stay inside the commands, as in :mod:`flows.cli`.
"""

import argparse
from pathlib import Path
from typing import Any

from flows import settings
from flows.arguments import date_of, home_of, port_of
from flows.errors import UserError


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser("serve", help="run the schedules of the night shift, with Prefect's pages")
    serve.add_argument("--port", type=port_of, default=4200, help="of the embedded Prefect server (4200)")
    serve.add_argument("--zone", help="IANA time zone of the site (default FLARECAST_ZONE, else UTC)")
    serve.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    serve.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    from flows.shift.serve_command import end_in_order, run_serve

    end_in_order()
    return run_serve(home_of(arguments), port=arguments.port, zone=arguments.zone)


def _add_watch(commands: Any) -> None:
    watch = commands.add_parser("watch", help="exit code 1 when no snapshot was published for 26 h")
    watch.add_argument("--hours", type=int, default=26)
    watch.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    watch.set_defaults(run=_watch)


def _watch(arguments: argparse.Namespace) -> int:
    import sys

    from devices.clock import HOUR, system_clock
    from flows.clinic import Clinic
    from flows.shift.watch import fault

    clinic = Clinic(home_of(arguments))
    if not clinic.home.is_dir():
        # a misspelt folder must not look like a clinic that is well
        raise UserError(f"no clinic folder at {clinic.home}")
    words = fault(clinic, system_clock(), arguments.hours * HOUR)
    if words:
        print(f"flarecast: {words}", file=sys.stderr)
    return 1 if words else 0


def _add_erase(commands: Any) -> None:
    erase = commands.add_parser("erase", help="erase a patient everywhere, prove it, and give a receipt")
    which = erase.add_mutually_exclusive_group(required=True)
    which.add_argument("--patient", help="whom; refused under a legal hold (HOME/legal-holds.toml)")
    which.add_argument("--sweep", action="store_true", help="what arrived since from erased patients' homes")
    which.add_argument("--confirm", metavar="REFERENCE", help="the spool of --gateway is emptied")
    erase.add_argument("--gateway")
    erase.add_argument(
        "--dry-run", action="store_true", help="of --patient: say what is there, erase nothing"
    )
    erase.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    erase.add_argument("--json", action="store_true")
    erase.set_defaults(run=_erase)


def _erase(arguments: argparse.Namespace) -> int:
    from flows.shift import erase_command

    home = home_of(arguments)
    # an empty id of a script is nobody, and no sweep
    if arguments.dry_run and arguments.patient is None:
        raise UserError("--dry-run is of --patient")
    if arguments.dry_run:
        return erase_command.run_look(home, arguments.patient)
    if arguments.patient is not None:
        return erase_command.run_erase(home, arguments.patient, as_json=arguments.json)
    if arguments.confirm is not None:
        return erase_command.run_confirm(home, arguments.confirm, arguments.gateway)
    return erase_command.run_sweep(home)


def _add_backup(commands: Any) -> None:
    make = commands.add_parser("backup", help="alert store, registry, lake and derived files at one point")
    make.add_argument("--to", type=Path, help="folder of the backups (default FLARECAST_BACKUP)")
    back = commands.add_parser("restore", help="a home of a backup, in an empty folder")
    make.add_argument("--check", action="store_true", help="only read the newest one: is it whole?")
    back.add_argument("backup", type=Path)
    back.add_argument(
        "--without-damaged", action="store_true", help="leave out files of the lake that are damaged"
    )
    back.add_argument(
        "--erasures", type=Path, metavar="FOLDER", help="erasures/ of the home it replaces: who went since"
    )
    for one in (make, back):
        one.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    make.set_defaults(run=_backup)
    back.set_defaults(run=_restore)


def _backup(arguments: argparse.Namespace) -> int:
    from flows.errors import UserError
    from flows.shift.commands import run_backup, run_check

    target = arguments.to or settings.from_environment().backup
    if target is None:
        raise UserError("where to? --to FOLDER, or FLARECAST_BACKUP")
    return run_check(target) if arguments.check else run_backup(home_of(arguments), target)


def _restore(arguments: argparse.Namespace) -> int:
    from flows.shift.commands import run_restore

    return run_restore(
        arguments.backup,
        home_of(arguments),
        arguments.erasures,
        is_damage_left=arguments.without_damaged,
    )


def _add_retention(commands: Any) -> None:
    retention = commands.add_parser("retention", help="delete what is older than HOME/retention.toml says")
    retention.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    retention.set_defaults(run=_retention)


def _retention(arguments: argparse.Namespace) -> int:
    from flows.shift.commands import run_retention

    return run_retention(home_of(arguments))


def _add_backfill(commands: Any) -> None:
    backfill = commands.add_parser("backfill", help="compute past nights by today's code; tells nobody")
    for name, meaning in (("from", "first"), ("to", "last")):
        backfill.add_argument(f"--{name}", dest=meaning, type=date_of, required=True, help=f"{meaning} night")
    backfill.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    backfill.set_defaults(run=_backfill)


def _backfill(arguments: argparse.Namespace) -> int:
    from flows.shift.commands import run_backfill

    return run_backfill(home_of(arguments), arguments.first, arguments.last)


def _add_recalibrate(commands: Any) -> None:
    recalibrate = commands.add_parser(
        "recalibrate", help="drift of the active risk model, and a candidate; approves nothing"
    )
    recalibrate.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    recalibrate.set_defaults(run=_recalibrate)


def _recalibrate(arguments: argparse.Namespace) -> int:
    from flows.shift.commands import run_recalibrate

    return run_recalibrate(home_of(arguments))


def _add_review(commands: Any) -> None:
    review = commands.add_parser("review", help="quality review of a month as a page; names nobody")
    review.add_argument("--month", help="like 2026-10 (default the one before this)")
    review.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    review.set_defaults(run=_review)


def _review(arguments: argparse.Namespace) -> int:
    from flows.shift.commands import run_review

    return run_review(home_of(arguments), arguments.month)


COMMANDS = (
    _add_serve,
    _add_watch,
    _add_erase,
    _add_backup,
    _add_retention,
    _add_backfill,
    _add_recalibrate,
    _add_review,
)
