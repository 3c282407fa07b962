"""Command lines of the home box and of who lets it in: gateway, ca.

Imports stay inside the commands, as in :mod:`flows.cli`: a home box never loads the clinic's libraries.
"""

import argparse
from pathlib import Path
from typing import Any, Final

from flows.arguments import home_of

#: Days an invitation holds, and its longest.
INVITED_DAYS: Final = 7
MOST_INVITED_DAYS: Final = 30


def _add_gateway(commands: Any) -> None:
    gateway = commands.add_parser("gateway", help="the home box: wearables to broker")
    actions = gateway.add_subparsers(dest="action", required=True, metavar="ACTION")
    join = actions.add_parser("join", help="get the box's certificate, with an invitation and its code")
    join.add_argument("invitation", type=Path, metavar="FILE", help="from flarecast ca invite")
    join.add_argument("--code", required=True)
    join.set_defaults(run=_join)
    pair = actions.add_parser("pair", help="list what is near, ask, and write the gateway's file")
    pair.add_argument("--gateway", metavar="ID", help="name of a new gateway")
    pair.add_argument("--site", metavar="ID", help="where it stands")
    pair.add_argument("--broker", metavar="HOST:PORT")
    pair.add_argument("--scan", type=_positive, default=15, metavar="SECONDS")
    pair.set_defaults(run=_pair)
    run = actions.add_parser("run", help="read and forward until stopped; renews its certificate")
    run.set_defaults(run=_run)
    status = actions.add_parser("status", help="when data last came; what is kept, sent and confirmed; spool")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=_status)
    renew = actions.add_parser("renew", help="renew the certificate now, with the service stopped")
    renew.set_defaults(run=_renew)
    for action in (join, pair, run, status, renew):
        action.add_argument("--config", type=Path, default=Path("gateway.toml"), help="the gateway's file")


def _join(arguments: argparse.Namespace) -> int:
    from flows.gateway.uplink import join

    return join(arguments.config, arguments.invitation, code=arguments.code)


def _pair(arguments: argparse.Namespace) -> int:
    from flows.gateway.pairing import pair

    return pair(
        arguments.config,
        gateway=arguments.gateway,
        site=arguments.site,
        broker=arguments.broker,
        scan_s=arguments.scan,
    )


def _run(arguments: argparse.Namespace) -> int:
    from flows.gateway.command import run_gateway

    return run_gateway(arguments.config)


def _status(arguments: argparse.Namespace) -> int:
    from flows.gateway.command import show_status

    return show_status(arguments.config, as_json=arguments.json)


def _renew(arguments: argparse.Namespace) -> int:
    from flows.gateway.uplink import run_renew

    return run_renew(arguments.config)


def _add_ca(commands: Any) -> None:
    ca = commands.add_parser("ca", help="certificates and broker configuration of a site")
    actions = ca.add_subparsers(dest="action", required=True, metavar="ACTION")
    init = actions.add_parser("init", help="make the authority, the broker's certificate and mosquitto.conf")
    init.add_argument(
        "--host", action="append", default=[], help="name or address of the broker (repeatable)"
    )
    init.add_argument("--installed", type=Path, help="where the broker will find its files")
    invite = actions.add_parser("invite", help="let a new gateway ask for its certificate: a file and a code")
    invite.add_argument("name", metavar="GATEWAY")
    invite.add_argument("--site", required=True)
    invite.add_argument("--broker", required=True, metavar="HOST[:PORT]", help="as the gateway reaches it")
    invite.add_argument("--days", type=_days, default=INVITED_DAYS, help=f"it holds ({INVITED_DAYS})")
    serve = actions.add_parser("serve", help="answer gateways that ask for a certificate, until stopped")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=_positive, default=8884, help="the collectors' listener")
    issue = actions.add_parser("issue", help="certificate and key of a gateway or collector, made here")
    issue.add_argument("role", choices=("gateway", "collector"))
    revoke = actions.add_parser("revoke", help="certificates of this name are worth nothing any more")
    for action in (issue, revoke):
        action.add_argument("name", metavar="NAME")
    for action in (init, invite, serve, issue, revoke):
        action.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
        action.set_defaults(run=_ca)


def _ca(arguments: argparse.Namespace) -> int:
    from flows.lake import ca_command

    folder = home_of(arguments) / "ca"
    match arguments.action:
        case "init":
            return ca_command.init(folder, hosts=arguments.host, installed=arguments.installed)
        case "invite":
            how = {"site": arguments.site, "broker": arguments.broker, "days": arguments.days}
            return ca_command.invite(folder, arguments.name, **how)
        case "serve":
            return ca_command.serve(folder, host=arguments.host, port=arguments.port)
        case "issue":
            return ca_command.issue(folder, arguments.role, arguments.name)
        case _:
            return ca_command.revoke(folder, arguments.name)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _days(text: str) -> int:
    if _positive(text) > MOST_INVITED_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST_INVITED_DAYS} days")
    return int(text)


COMMANDS = (_add_gateway, _add_ca)
