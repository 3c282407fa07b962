"""`flarecast ca`: who may connect to the broker of a site."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from devices.clock import system_clock
from ingest.lake.security import Authority
from ingest.lake.security_broker import COLLECTOR_PORT, GATEWAY_PORT

_RESTART = "Copy it beside mosquitto and restart mosquitto: only then does it hold."


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
        print(f"{folder / 'broker' / 'collectors.acl'} has changed. {_RESTART}")
    return 0


def revoke(folder: Path, name: str) -> int:
    """Revoke a name's certificates; returns the exit code."""
    count = Authority(folder, clock=system_clock).revoke(name)
    print(f"{count} certificates of {name} revoked in {folder / 'broker' / 'crl.pem'}. {_RESTART}")
    return 0
