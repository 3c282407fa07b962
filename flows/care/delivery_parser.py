"""Command lines of delivery: `flarecast alerts test-channel | worker | live | steps | step | pathways`."""

import argparse
from pathlib import Path
from typing import Any

from flows.arguments import home_of, port_of
from flows.errors import UserError


def _add_test_channel(actions: Any) -> argparse.ArgumentParser:
    test = actions.add_parser(
        "test-channel", help="prove a channel before it is needed; exit code 1 if it fails"
    )
    test.add_argument(
        "name", metavar="NAME", nargs="?", help="as in channels.toml; without it they are listed"
    )
    test.add_argument(
        "--to", metavar="RECIPIENT", help="only to this one (default: everybody it has an address of)"
    )
    test.set_defaults(run=_test_channel)
    return test


def _test_channel(arguments: argparse.Namespace) -> int:
    from flows.care.channel_command import run_test_channel

    return run_test_channel(home_of(arguments), arguments.name, recipient=arguments.to)


def _add_worker(actions: Any) -> argparse.ArgumentParser:
    worker = actions.add_parser("worker", help="deliver what is due until stopped; several may run at once")
    worker.add_argument("--name", default="worker-1", help="stands in the lease of what it sends (worker-1)")
    worker.add_argument("--threads", type=_threads, default=16, help="attempts at the same time (16)")
    worker.set_defaults(run=_worker)
    return worker


def _worker(arguments: argparse.Namespace) -> int:
    from flows.care.delivery_command import run_worker

    return run_worker(home_of(arguments), name=arguments.name, threads=arguments.threads)


def _add_live(actions: Any) -> argparse.ArgumentParser:
    live = actions.add_parser("live", help="judge answers that page as they arrive, until stopped")
    live.add_argument("--host", default="127.0.0.1")
    live.add_argument("--port", type=port_of, default=1883)
    live.add_argument("--name", default="live-1", help="of its session: what it missed comes to this name")
    for name in ("ca", "certificate", "key"):
        live.add_argument(f"--{name}", type=Path, help=f"{name} of mutual TLS (PEM, from flarecast ca)")
    live.set_defaults(run=_live)
    return live


def _live(arguments: argparse.Namespace) -> int:
    from flows.care.live_command import run_live
    from ingest.wire.address import BrokerAddress

    files = (arguments.ca, arguments.certificate, arguments.key)
    if any(files) and not all(files):
        raise UserError("mutual TLS needs --ca, --certificate and --key")
    address = BrokerAddress(arguments.host, arguments.port, *files)
    return run_live(home_of(arguments), address, name=arguments.name)


def _threads(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 64):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 64")
    return int(text)


def _add_steps(actions: Any) -> argparse.ArgumentParser:
    steps = actions.add_parser("steps", help="what the care pathway suggests for an alert, as it stands now")
    steps.add_argument("alert", metavar="REFERENCE")
    steps.set_defaults(run=_steps)
    return steps


def _steps(arguments: argparse.Namespace) -> int:
    from flows.care.pathway_command import show_steps

    return show_steps(home_of(arguments), arguments.alert)


def _add_step(actions: Any) -> argparse.ArgumentParser:
    step = actions.add_parser("step", help="a step was done or taken up, or declined, and why")
    step.add_argument("alert", metavar="REFERENCE")
    step.add_argument("step", metavar="STEP")
    which = step.add_mutually_exclusive_group(required=True)
    which.add_argument("--accept", action="store_true", help="done, or taken up by the patient")
    which.add_argument("--decline", action="store_true")
    step.add_argument("--why", required=True, metavar="TEXT")
    step.set_defaults(run=_step)
    return step


def _step(arguments: argparse.Namespace) -> int:
    from flows.care.pathway_command import record_step

    home = home_of(arguments)
    return record_step(home, arguments.alert, arguments.step, is_accepted=arguments.accept, why=arguments.why)


def _add_pathways(actions: Any) -> argparse.ArgumentParser:
    pathways = actions.add_parser("pathways", help="care pathways in force; exit code 1 if anything is wrong")
    pathways.add_argument("--fhir", action="store_true", help="as PlanDefinitions (FHIR R4), one a line")
    pathways.set_defaults(run=_pathways)
    return pathways


def _pathways(arguments: argparse.Namespace) -> int:
    from flows.care.pathway_command import lint_pathways

    return lint_pathways(home_of(arguments), as_fhir=arguments.fhir)


ACTIONS = (_add_test_channel, _add_worker, _add_live, _add_steps, _add_step, _add_pathways)
