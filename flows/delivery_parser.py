"""Command lines of delivery: `flarecast alerts test-channel`."""

import argparse
from typing import Any


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
    from flows.alerts_parser import home_of
    from flows.channel_command import run_test_channel

    return run_test_channel(home_of(arguments), arguments.name, recipient=arguments.to)


ACTIONS = (_add_test_channel,)
