"""Command line of `flarecast record`: what patients say and what is noted about them.

Imports stay inside the commands, as in :mod:`flows.cli`.
"""

import argparse
from pathlib import Path
from typing import Any, Final

from flows.arguments import home_of

_AT: Final = "ISO 8601, by the patient's clock unless it has an offset (default: now)"
_ABOUT: Final = ("travel", "illness", "medication", "device-change", "algorithm-change", "other")


def _add_record(commands: Any) -> None:
    record = commands.add_parser("record", help="write down a pain score, flare, mood, practice or a note")
    whats = record.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, text in (("pain", "pain now"), ("mood", "mood now, 0 good to 10 low")):
        score = whats.add_parser(name, help=f"{text}, 0-10")
        score.add_argument("value", type=_score, metavar="0-10")
        _add_common(score)
    flare = whats.add_parser("flare", help="a flare is on")
    flare.add_argument("--harder", type=_yes, metavar="yes|no", help="harder to tolerate than usual?")
    flare.add_argument("--stopped", type=_yes, metavar="yes|no", help="stopped you doing things?")
    _add_common(flare)
    practice = whats.add_parser("practice", help="something practised at home")
    practice.add_argument("practice", help="walking, breathing, a module's name")
    practice.add_argument("--minutes", type=_minutes, required=True)
    practice.add_argument("--intensity", choices=("light", "moderate", "vigorous"))
    _add_common(practice)
    _add_context(whats)


def _add_context(whats: Any) -> None:
    context = whats.add_parser("context", help="what explains the numbers; suspends or segments scoring")
    context.add_argument("--about", choices=_ABOUT, required=True)
    context.add_argument("--text", default="", help="in words")
    context.add_argument(
        "--class", dest="medication_class", metavar="CLASS", help="beta-blocker, tca, snri ..."
    )
    context.add_argument("--from", dest="at", metavar="INSTANT", help=_AT)
    context.add_argument(
        "--to", dest="end", metavar="INSTANT", help="end, a date included (default: it holds)"
    )
    context.add_argument("--replaces", metavar="RECORD", help="id of the note that this one corrects")
    _add_who(context)


def _add_common(parser: Any) -> None:
    parser.add_argument("--at", metavar="INSTANT", help=_AT)
    parser.add_argument("--respondent", choices=("patient", "caregiver"), default="patient")
    parser.add_argument("--device", help="device it is filed under (default: the patient's diary)")
    _add_who(parser)


def _add_who(parser: Any) -> None:
    parser.add_argument("--patient", required=True)
    parser.add_argument("--author", required=True, help="who writes it down (an id: nurse-7)")
    parser.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    parser.set_defaults(run=_record)


def _record(arguments: argparse.Namespace) -> int:
    from flows.lake.record_command import run_record

    return run_record(home_of(arguments), arguments)


def _score(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10:
        raise argparse.ArgumentTypeError(f"{text!r} is not 0 to 10")
    return value


def _minutes(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 1440:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 1440 whole minutes")
    return int(text)


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} is not yes or no")
    return text == "yes"


COMMANDS = (_add_record,)
