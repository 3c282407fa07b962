"""Command lines of alerts: the care team's, the delivery's and the rule writer's.

Imports stay inside the commands, as in :mod:`flows.cli`.
"""

import argparse
from pathlib import Path
from typing import Any

from flows import care_parser, delivery_parser, settings


def _add_alerts(commands: Any) -> None:
    alerts = commands.add_parser("alerts", help="who needs a call, and who is told how")
    actions = alerts.add_subparsers(dest="action", required=True, metavar="ACTION")
    for add in (*care_parser.ACTIONS, *delivery_parser.ACTIONS):
        action = add(actions)
        action.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")


def home_of(arguments: argparse.Namespace) -> Path:
    """Folder of the clinic, as given or set."""
    return arguments.home or settings.from_environment().home


COMMANDS = (_add_alerts,)
