"""Command lines of the care team: `flarecast alerts list | show | ack | ...`, and of its rules and staff."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from flows.arguments import home_of

#: Action -> what it does.
ACTS: Final = {
    "ack": "take an alert on",
    "assign": "give it to somebody",
    "snooze": "silence it for some hours, with a reason",
    "resolve": "close it by hand, with a reason",
    "comment": "write something beside it",
    "outcome": "say what it turned out to be, and what helped",
}


#: Action -> what its value is.
VALUES: Final = {"assign": "a member of staff", "outcome": "true-flare, other-cause or not-useful"}


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    # NaN is not more than nothing
    if not 0 < hours <= 24 * 7:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours of a week at most")
    return hours


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= 3650:
            raise argparse.ArgumentTypeError(f"{text!r} is not {least} to 3650")
        return int(text)

    return parse


def _add_list(actions: Any) -> argparse.ArgumentParser:
    one = actions.add_parser("list", help="active alerts, most urgent first")
    one.add_argument("--json", action="store_true")
    one.set_defaults(run=_run)
    return one


def _add_show(actions: Any) -> argparse.ArgumentParser:
    one = actions.add_parser("show", help="why, in whose own terms, what happened before, what would end it")
    one.add_argument("alert", type=str.upper)
    one.set_defaults(run=_run)
    return one


def _act(name: str) -> Any:
    def add(actions: Any) -> argparse.ArgumentParser:
        one = actions.add_parser(name, help=ACTS[name])
        one.add_argument("alert", type=str.upper)
        if name in ("assign", "outcome"):
            one.add_argument("value", help=VALUES[name])
        if name == "snooze":
            one.add_argument("--hours", type=_hours, required=True)
        if name in ("snooze", "resolve"):
            one.add_argument("--reason", required=True)
        if name == "comment":
            one.add_argument("text")
        if name == "outcome":
            one.add_argument("--helped", metavar="WHAT", help="what helped this patient")
        if name not in ("comment", "outcome"):
            one.add_argument("--version", type=int, help="the version you have seen (default: as it is now)")
        one.set_defaults(run=_run)
        return one

    return add


def _add_silence(actions: Any) -> argparse.ArgumentParser:
    one = actions.add_parser("silence", help="silence whatever matches for a week at most; --end S-...")
    for field in ("rule", "subject", "site", "severity"):
        one.add_argument(f"--{field}")
    one.add_argument("--hours", type=_hours, default=24.0)
    one.add_argument("--reason", default="")
    one.add_argument("--end", metavar="SILENCE")
    one.set_defaults(run=_run)
    return one


def _add_reports(name: str, words: str) -> Any:
    def add(actions: Any) -> argparse.ArgumentParser:
        one = actions.add_parser(name, help=words)
        one.set_defaults(run=_run)
        return one

    return add


def _add_audit(actions: Any) -> argparse.ArgumentParser:
    one = actions.add_parser("audit", help="verify: whether a row of the audit was edited or is missing")
    one.add_argument("what", choices=("verify",))
    one.set_defaults(run=_run)
    return one


def _add_worklist(actions: Any) -> argparse.ArgumentParser:
    one = actions.add_parser("worklist", help="patients as they need attention, of the last night")
    one.add_argument("--html", action="store_true", help="write the page, with charts, and say where it is")
    one.set_defaults(run=_run)
    return one


def _add_lint(actions: Any) -> argparse.ArgumentParser:
    one = actions.add_parser("lint", help="every fault of a rule pack by file, rule and field")
    one.add_argument("file", type=Path, nargs="?", help="default: the pack in force")
    one.set_defaults(run=_run)
    return one


def _add_preview(actions: Any) -> argparse.ArgumentParser:
    one = actions.add_parser("preview", help="load before and after a rule change, and who would newly alert")
    one.add_argument("file", type=Path)
    one.add_argument("--days", type=_at_least(1), default=56, help="nights judged again (56)")
    one.set_defaults(run=_run)
    return one


def _add_measure(actions: Any) -> argparse.ArgumentParser:
    one = actions.add_parser("measure", help="load and sensitivity of a pack on SYNTHETIC people")
    one.add_argument("file", type=Path, nargs="?")
    one.add_argument("--people", type=_at_least(1), default=200)
    one.add_argument("--days", type=_at_least(60), default=182)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument(
        "--recording", type=Path, metavar="FILE.parquet", help="and load on daily/lifesnaps.parquet"
    )
    one.set_defaults(run=_run)
    return one


def _add_rules(actions: Any) -> argparse.ArgumentParser:
    one = actions.add_parser(
        "rules", help="propose FILE | approve CHANGE | pending: two people change the rules"
    )
    one.add_argument("what", choices=("propose", "approve", "pending"))
    one.add_argument("value", nargs="?")
    one.set_defaults(run=_run)
    return one


def _add_staff(actions: Any) -> argparse.ArgumentParser:
    one = actions.add_parser("staff", help="who works here: add, leave, list, oncall ROLE FILE.ics")
    one.add_argument("what", choices=("add", "leave", "list", "oncall"))
    one.add_argument("name", nargs="?")
    one.add_argument("file", type=Path, nargs="?")
    one.add_argument("--role", action="append", default=[])
    one.add_argument("--os-user", metavar="USER")
    one.add_argument("--zone", default="UTC")
    one.add_argument("--channel", action="append")
    one.add_argument("--quiet", nargs=2, metavar="HH:MM")
    one.set_defaults(run=_run)
    return one


def _run(arguments: argparse.Namespace) -> int:
    from flows.care.command import run_care

    return run_care(home_of(arguments), arguments)


ACTIONS: Final = (
    _add_list,
    _add_show,
    *(_act(name) for name in ACTS),
    _add_silence,
    _add_reports(
        "load", "alerts per 100 patients and week, whether they were right, how fast they were answered"
    ),
    _add_reports("digest", "the morning handover: new, overdue, resolved overnight"),
    _add_reports("tick", "do what is due: escalate, repeat, wake, reopen"),
    _add_audit,
    _add_worklist,
    _add_lint,
    _add_preview,
    _add_measure,
    _add_rules,
    _add_staff,
)
