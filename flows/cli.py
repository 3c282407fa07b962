"""The `flarecast` command.

Imports stay inside the commands: a home gateway never loads the clinic's libraries.
"""

import argparse
import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from flows import settings
from flows.analyst import parser as analyst_parser
from flows.arguments import date_of, home_of, port_of
from flows.care import alerts_parser
from flows.errors import UserError
from flows.gateway import parser as gateway_parser
from flows.lake import parser as clinic_parser
from flows.lake import record_parser
from flows.risk import model_parser
from flows.risk import parser as risk_parser
from flows.shift import parser as shift_parser

Command = Callable[[argparse.Namespace], int]

#: A user's fault is one line and this exit code; a bug is a traceback.
USER_ERROR = 2
#: What a folder or disk refuses; nothing in the code would change it.
_OF_THE_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG),
    *(errno.EISDIR, errno.ENOTDIR),
)
#: As of a program that SIGPIPE has ended (128 and 13).
UNREAD = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        try:
            return _run(argv)
        finally:
            # a reader who has gone is met here, and not when the interpreter ends
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_unread():
            raise
        return UNREAD
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        _forget_output()
        where = f": {error.filename}" if error.filename else ""
        print(f"flarecast: {error.strerror}{where}", file=sys.stderr)
        return USER_ERROR


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not _is_users_fault(error):
            raise
        print(f"flarecast: {error}", file=sys.stderr)
        return USER_ERROR


def _is_unread() -> bool:
    """Whether nobody reads standard output any more (`flarecast ... | head`); then it is closed for good.

    A connection that broke raises the same error, and is no reason to end without a word.
    """
    reader = select.poll()
    reader.register(sys.stdout.fileno(), 0)
    is_gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in reader.poll(0))
    if is_gone:
        _forget_output()
    return is_gone


def _forget_output() -> None:
    """What is still to be printed goes nowhere: the interpreter flushes once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_users_fault(error: Exception) -> bool:
    """Whether the error is one our packages raise for bad input, by the root of its class."""
    roots = {"UserError", "DevicesError", "IngestError", "AnalyticsError", "AlertsError"}
    return any(base.__name__ in roots for base in type(error).__mro__)


@cache
def _parser() -> argparse.ArgumentParser:
    variables = "\n".join(f"  {name:26} {text}" for name, text in settings.VARIABLES.items())
    parser = argparse.ArgumentParser(
        prog="flarecast",
        description="Remote monitoring for people with chronic pain. Decision support, not diagnosis.",
        epilog=f"environment:\n{variables}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_demo,
        _add_replay,
        _add_nightly,
        *analyst_parser.COMMANDS,
        _add_collector,
        *clinic_parser.COMMANDS,
        *record_parser.COMMANDS,
        *model_parser.COMMANDS,
        *alerts_parser.COMMANDS,
        *risk_parser.COMMANDS,
        _add_hrv,
        *gateway_parser.COMMANDS,
        *shift_parser.COMMANDS,
    ):
        add(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser("demo", help="the whole system on SYNTHETIC people: wearables to alerts")
    demo.add_argument("--people", type=_positive, default=40)
    demo.add_argument("--days", type=_demo_days, default=60)
    demo.add_argument("--seed", type=int, default=1)
    demo.add_argument("--out", type=Path, default=Path("demo-out"), help="folder to write to (replaced)")
    demo.add_argument("--json", action="store_true", help="one JSON object on standard output")
    demo.set_defaults(run=_demo)


def _end_in_order() -> None:
    """Let SIGTERM end a command as Ctrl-C does, so that no process of ours is left behind."""

    def stop(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def _demo(arguments: argparse.Namespace) -> int:
    _end_in_order()
    from flows.demo.command import run_demo

    return run_demo(
        people=arguments.people,
        days=arguments.days,
        seed=arguments.seed,
        out=arguments.out,
        as_json=arguments.json,
    )


def _add_replay(commands: Any) -> None:
    replay = commands.add_parser("replay", help="send real recordings through the same path")
    replay.add_argument(
        "files", nargs="+", type=Path, metavar="FILE.parquet", help="RR (rec, beat, rr_ms) or steps"
    )
    replay.add_argument(
        "--recording", action="append", default=[], help="only this recording or person (repeatable)"
    )
    replay.add_argument(
        "--per-notification", type=_frame_size, default=9, help="RR intervals per notification (1-9)"
    )
    replay.add_argument("--start", default="2024-01-15T12:00", help="local start of RR recordings")
    replay.add_argument("--zone", help="zone of the recording (default UTC for RR, Asia/Tokyo for steps)")
    replay.add_argument("--out", type=Path, default=Path("replay-out"), help="folder to write to (replaced)")
    replay.add_argument("--json", action="store_true")
    replay.set_defaults(run=_replay)


def _replay(arguments: argparse.Namespace) -> int:
    _end_in_order()
    from flows.demo.replay import run_replay

    return run_replay(
        arguments.files,
        recordings=arguments.recording,
        per_notification=arguments.per_notification,
        start=arguments.start,
        zone=arguments.zone,
        out=arguments.out,
        as_json=arguments.json,
    )


def _add_nightly(commands: Any) -> None:
    nightly = commands.add_parser(
        "nightly", help="features, baseline, trend, risk, alerts and snapshot of a night"
    )
    nightly.add_argument("--date", type=date_of, help="the night that ends on this local date")
    nightly.add_argument("--from", dest="first", type=date_of, help="first night of a range")
    nightly.add_argument("--to", dest="last", type=date_of, help="last night of a range")
    nightly.add_argument("--patient", action="append", help="recompute this patient only (repeatable)")
    nightly.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    nightly.add_argument("--lake", type=Path, help="folder of the lake (default HOME/lake)")
    nightly.add_argument("--json", action="store_true")
    nightly.set_defaults(run=_nightly)


def _nightly(arguments: argparse.Namespace) -> int:
    from flows.night.command import run_nightly

    return run_nightly(
        home=arguments.home or _home_of_lake(arguments.lake) or home_of(arguments),
        lake=arguments.lake,
        first=arguments.date or arguments.first,
        last=arguments.date or arguments.last,
        is_range=arguments.first is not None or arguments.last is not None,
        has_date=arguments.date is not None,
        patients=arguments.patient,
        as_json=arguments.json,
    )


def _add_collector(commands: Any) -> None:
    collector = commands.add_parser("collector", help="broker to Parquet")
    actions = collector.add_subparsers(dest="action", required=True, metavar="ACTION")
    run = actions.add_parser("run", help="collect until stopped")
    run.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    run.add_argument("--host", default="127.0.0.1")
    run.add_argument("--port", type=port_of, default=1883)
    run.add_argument("--name", default="collector-1")
    run.add_argument(
        "--window", type=_positive, default=100, help="un-acknowledged messages the broker allows"
    )
    run.add_argument(
        "--flush-s",
        type=_positive,
        default=2,
        metavar="SECONDS",
        help="longest wait of a message for company",
    )
    run.add_argument(
        "--metrics-port", type=port_of, metavar="PORT", help="answer Prometheus on this loopback port"
    )
    run.add_argument(
        "--keep-raw", type=_days, default=14, metavar="DAYS", help="keep messages as they came (14; 0: none)"
    )
    run.add_argument("--group", help="share the work with the other collectors of this group")
    for name in ("ca", "certificate", "key"):
        run.add_argument(f"--{name}", type=Path, help=f"{name} of mutual TLS (PEM, from flarecast ca)")
    run.set_defaults(run=_collector_run)
    status = actions.add_parser("status", help="received, stored and quarantined samples")
    status.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=_collector_status)


def _collector_run(arguments: argparse.Namespace) -> int:
    from flows.lake.collector_command import run_collector
    from ingest.wire.address import BrokerAddress

    files = (arguments.ca, arguments.certificate, arguments.key)
    if any(files) and not all(files):
        raise UserError("mutual TLS needs --ca, --certificate and --key")
    return run_collector(
        home_of(arguments),
        BrokerAddress(arguments.host, arguments.port, *files),
        name=arguments.name,
        group=arguments.group,
        window=arguments.window,
        flush_s=arguments.flush_s,
        metrics_port=arguments.metrics_port,
        keep_raw_days=arguments.keep_raw,
    )


def _collector_status(arguments: argparse.Namespace) -> int:
    from flows.lake.collector_command import show_status

    return show_status(home_of(arguments), as_json=arguments.json)


def _add_hrv(commands: Any) -> None:
    hrv = commands.add_parser("hrv", help="heart-rate variability of your own file of RR intervals")
    hrv.add_argument(
        "files", nargs="+", type=Path, metavar="FILE.parquet", help="RR in ms: lists, or long rows"
    )
    hrv.add_argument("--column", default="rr_ms", help="the intervals (default rr_ms)")
    hrv.add_argument("--recording", metavar="COLUMN", help="what names a recording")
    hrv.add_argument("--order", metavar="COLUMN", help="order of long rows; the same row twice counts once")
    hrv.add_argument("--window", choices=("whole", "5min"), default="whole")
    hrv.add_argument("--raw", action="store_true", help="take the intervals as they are")
    hrv.add_argument("--out", type=Path, metavar="FILE.parquet", help="write the rows here")
    hrv.add_argument("--json", action="store_true", help="rows as JSON instead of a table")
    hrv.set_defaults(run=_hrv)


def _hrv(arguments: argparse.Namespace) -> int:
    from flows.analyst.hrv_command import run_hrv

    return run_hrv(
        arguments.files,
        column=arguments.column,
        recording=arguments.recording,
        order=arguments.order,
        window=arguments.window,
        raw=arguments.raw,
        out=arguments.out,
        as_json=arguments.json,
    )


def _home_of_lake(lake: Path | None) -> Path | None:
    """The clinic a lake belongs to: the folder beside it that holds its enrolment."""
    is_at_home = lake is not None and (lake.resolve().parent / "enrolment.csv").is_file()
    return lake.resolve().parent if lake is not None and is_at_home else None


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 or more")
    return number


def _demo_days(text: str) -> int:
    if _positive(text) > 3650:
        raise argparse.ArgumentTypeError(f"{text!r} is more than ten years")
    return int(text)


def _days(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _frame_size(text: str) -> int:
    """RR intervals of one notification: nine fit the smallest frame (23 bytes)."""
    if not 1 <= _positive(text) <= 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 9")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
