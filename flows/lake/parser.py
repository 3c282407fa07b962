"""Command lines of the clinic's lake and registry: lake, enrol, import, doctor.

Imports stay inside the commands, as in :mod:`flows.cli`.
"""

import argparse
from pathlib import Path
from typing import Any

from flows.arguments import date_of, home_of


def _add_lake(commands: Any) -> None:
    lake = commands.add_parser("lake", help="compact, verify, release from quarantine, replay")
    actions = lake.add_subparsers(dest="action", required=True, metavar="ACTION")
    compact = actions.add_parser("compact", help="landing files into one file per site and day")
    compact.add_argument(
        "--keep-days", type=int, default=7, help="days snapshots and replaced files stay (7)"
    )
    verify = actions.add_parser("verify", help="manifests, checksums and row counts; exit code 1 if wrong")
    release = actions.add_parser("release", help="store what waited for its device to be enrolled")
    release.add_argument(
        "--ahead", action="store_true", help="and what came ahead of its time: the clinic's clock was wrong"
    )
    replay = actions.add_parser("replay", help="read kept messages again, with today's codecs and enrolment")
    for name, meaning in (("from", "first"), ("to", "last")):
        replay.add_argument(f"--{name}", dest=meaning, type=date_of, help=f"{meaning} day of arrival (UTC)")
    replay.add_argument("--gateway", help="only messages of this one")
    for action in (compact, verify, release, replay):
        action.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
        action.add_argument("--json", action="store_true")
        action.set_defaults(run=_lake)


def _lake(arguments: argparse.Namespace) -> int:
    from flows.lake import command as lake_command

    home = home_of(arguments)
    if arguments.action == "compact":
        return lake_command.run_compact(home, keep_days=arguments.keep_days, as_json=arguments.json)
    if arguments.action == "verify":
        return lake_command.run_verify(home, as_json=arguments.json)
    if arguments.action == "replay":
        return lake_command.run_replay(
            home, arguments.first, arguments.last, gateway=arguments.gateway, as_json=arguments.json
        )
    return lake_command.run_release(home, has_ahead=arguments.ahead)


def _add_enrol(commands: Any) -> None:
    enrol = commands.add_parser("enrol", help="whose device is it: add, end, list, import, export")
    actions = enrol.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="give a device to a patient; stores what waited for it")
    for name in ("patient", "site", "zone", "gateway", "device"):
        add.add_argument(f"--{name}", required=True)
    add.add_argument("--from", dest="start", required=True, metavar="INSTANT", help="2024-05-01T00:00Z")
    add.add_argument("--to", dest="end", default="", metavar="INSTANT")
    add.add_argument("--replaces", metavar="DEVICE", help="device given back at the same instant")
    end = actions.add_parser("end", help="a device was given back")
    end.add_argument("--device", required=True)
    end.add_argument("--at", required=True, metavar="INSTANT")
    show = actions.add_parser("list", help="rows that hold now, or of one device or patient")
    for name in ("--device", "--patient"):
        show.add_argument(name)
    many = actions.add_parser("import", help="add the rows of a CSV file, all or none")
    out = actions.add_parser("export", help="every row as CSV, to standard output or a file")
    many.add_argument("path", type=Path)
    out.add_argument("path", type=Path, nargs="?")
    for action in (add, many):
        action.add_argument(
            "--again-after-erasure", dest="again", action="store_true", help="who was erased comes back"
        )
        action.add_argument("--author", help="by whose word an erased patient comes back (an id: nurse-7)")
    for action in (many, out):
        action.add_argument("--records", action="store_true", help="patient records instead of devices")
    for action in (add, end, show, many, out):
        action.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
        action.set_defaults(run=_enrol)


def _enrol(arguments: argparse.Namespace) -> int:
    from flows.lake.enrol_command import run_enrol

    return run_enrol(home_of(arguments), arguments)


def _add_import(commands: Any) -> None:
    one = commands.add_parser("import", help="historical observations from Parquet or CSV")
    one.add_argument("path", type=Path)
    one.add_argument("--kind", required=True, help="rr_interval, step_count ...: docs/data-dictionary.md")
    one.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    one.add_argument("--json", action="store_true")
    one.set_defaults(run=_import)


def _import(arguments: argparse.Namespace) -> int:
    from flows.lake.import_command import run_import

    return run_import(home_of(arguments), arguments.path, kind=arguments.kind, as_json=arguments.json)


def _add_doctor(commands: Any) -> None:
    doctor = commands.add_parser("doctor", help="what is wrong, and what to do; exit code 1 if anything is")
    doctor.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    doctor.add_argument("--broker", default="127.0.0.1:1883", metavar="HOST:PORT")
    doctor.add_argument(
        "--gateway", type=Path, metavar="FILE", help="examine a home box, by its gateway.toml"
    )
    doctor.add_argument("--all", action="store_true", help="findings that are alike one by one")
    doctor.add_argument("--json", action="store_true")
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    if arguments.gateway is not None:
        from flows.doctor.gateway import run_doctor_gateway

        return run_doctor_gateway(arguments.gateway, as_json=arguments.json)
    from flows.doctor.command import run_doctor

    return run_doctor(
        home_of(arguments), broker=arguments.broker, as_json=arguments.json, has_each=arguments.all
    )


COMMANDS = (_add_lake, _add_enrol, _add_import, _add_doctor)
