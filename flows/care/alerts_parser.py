"""Command lines of alerts: the care team's, the delivery's and the rule writer's.

Imports stay inside the commands, as in :mod:`flows.cli`.
"""

from pathlib import Path
from typing import Any

from flows.care import delivery_parser
from flows.care import parser as care_parser


def _add_alerts(commands: Any) -> None:
    alerts = commands.add_parser("alerts", help="who needs a call, and who is told how")
    actions = alerts.add_subparsers(dest="action", required=True, metavar="ACTION")
    for add in (*care_parser.ACTIONS, *delivery_parser.ACTIONS):
        action = add(actions)
        action.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")


COMMANDS = (_add_alerts,)
