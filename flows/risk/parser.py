"""Command lines of `flarecast risk`: why a number is what it is, and how far calibration is.

Imports stay inside the commands, as in :mod:`flows.cli`.
"""

import argparse
from pathlib import Path
from typing import Any

from flows.arguments import date_of, home_of


def _add_risk(commands: Any) -> None:
    risk = commands.add_parser("risk", help="explain, check, progress to calibration, type-I errors")
    actions = risk.add_subparsers(dest="action", required=True, metavar="ACTION")
    explain = actions.add_parser("explain", help="the sentence, the contributions, what was there, the model")
    explain.add_argument("patient")
    explain.add_argument("--language", default="en", help="of the sentence: en, de")
    check = actions.add_parser("check", help="a published night again, in SQL; exit code 1 if it differs")
    for action in (explain, check):
        action.add_argument("--date", type=date_of, required=True)
    progress = actions.add_parser("progress", help="onsets so far; when the site's own model is in reach")
    scales = actions.add_parser("scales", help="estimate the usual within-person spreads of this site")
    scales.add_argument("version", help="name of the new version, never changed afterwards")
    for action in (explain, check, progress, scales):
        action.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
        action.add_argument("--json", action="store_true")
        action.set_defaults(run=_risk)
    errors = actions.add_parser("type-one", help="how often trend and shift are found where nothing is")
    errors.add_argument("--series", type=int, default=2000, help="simulated series per row (2000)")
    errors.set_defaults(run=_type_one)


def _risk(arguments: argparse.Namespace) -> int:
    from flows.risk import command as risk_command

    home = home_of(arguments)
    if arguments.action == "explain":
        return risk_command.run_explain(
            home, arguments.patient, arguments.date, language=arguments.language, as_json=arguments.json
        )
    if arguments.action == "scales":
        return risk_command.run_scales(home, arguments.version, as_json=arguments.json)
    if arguments.action == "check":
        return risk_command.run_check(home, arguments.date, as_json=arguments.json)
    return risk_command.run_progress(home, as_json=arguments.json)


def _type_one(arguments: argparse.Namespace) -> int:
    from flows.risk import command as risk_command

    return risk_command.run_type_one(arguments.series)


COMMANDS = (_add_risk,)
