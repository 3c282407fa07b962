"""`flarecast ca`: who may connect to the broker of a site."""

import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from devices.clock import from_utc, system_clock
from flows.errors import UserError
from ingest.lake.registrar import Registrar
from ingest.lake.security import Authority
from ingest.lake.security_broker import COLLECTOR_PORT, GATEWAY_PORT
from ingest.lake.security_invitations import Invitations
from ingest.wire.address import BrokerAddress
from ingest.wire.certificates import REGISTRAR

_RELOAD = "Bring it to mosquitto (deploy/mosquitto/install.sh): only then does it hold."


def init(folder: Path, *, hosts: Sequence[str], installed: Path | None) -> int:
    """Make the authority and the broker's files; returns the exit code."""
    Authority.found(folder, hosts=hosts, clock=system_clock, installed=installed)
    print(f"authority in {folder}; keep ca.key off every other machine")
    print(f"broker files in {folder / 'broker'}: gateways on {GATEWAY_PORT}, collectors on {COLLECTOR_PORT}")
    return 0


def issue(folder: Path, role: Literal["gateway", "collector"], name: str) -> int:
    """Issue or renew a certificate; returns the exit code."""
    written = Authority(folder, clock=system_clock).issue(role, name)
    print(f"{role} {name}: {written} (ca.crt, client.crt, client.key)")
    if role == "collector":
        print(f"{folder / 'broker' / 'collectors.acl'} has changed. {_RELOAD}")
    return 0


def revoke(folder: Path, name: str) -> int:
    """Revoke a name's certificates; returns the exit code."""
    authority = Authority(folder, clock=system_clock)
    count = authority.revoke(name)
    Invitations(authority, clock=system_clock).withdraw(name)
    print(f"{count} certificates of {name} revoked in {folder / 'broker' / 'crl.pem'}. {_RELOAD}")
    return 0


def invite(folder: Path, name: str, *, site: str, broker: str, days: int) -> int:
    """Write the file that lets a new gateway ask for its certificate, and say its code; exit code."""
    host, _, port = broker.rpartition(":") if ":" in broker else (broker, "", str(GATEWAY_PORT))
    if not host or not port.isdecimal():
        raise UserError(f"--broker {broker!r} is not HOST or HOST:PORT")
    invitations = Invitations(Authority(folder, clock=system_clock), clock=system_clock)
    path, code = invitations.make(name, site=site, host=host, port=int(port), days=days)
    today = from_utc(system_clock()).date().isoformat()
    print(f"invitation of {name}: {path}")
    print(f"code: {code}  (holds once, for {days} days from {today}; tell it another way than the file)")
    print(f"at the box: flarecast gateway join {path.name} --code {code}")
    return 0


def serve(folder: Path, *, host: str, port: int) -> int:
    """Sign what invited gateways and those whose certificate ends ask for, until stopped; exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    authority = Authority(folder, clock=system_clock)
    own = authority.issue("registrar", REGISTRAR)
    broker = BrokerAddress(host, port, own / "ca.crt", own / "client.crt", own / "client.key")
    registrar = Registrar(authority, broker, clock=system_clock)

    def stop(signum: int, frame: Any) -> None:
        del signum, frame
        registrar.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    registrar.run()
    return 0
