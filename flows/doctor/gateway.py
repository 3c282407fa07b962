"""`flarecast doctor --gateway FILE`: what is wrong with a home box, asked on the box itself."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from devices.clock import DAY, MINUTE, Clock, from_utc, system_clock
from flows.doctor.report import report
from flows.errors import UserError
from flows.gateway.config import GatewayConfig, read_config
from ingest.edge.certificate import RENEW_BEFORE, expires_utc
from ingest.edge.ledger import read_accounts
from ingest.edge.spool import DEFAULT_LIMITS
from ingest.edge.spool_cipher import load_key
from ingest.edge.spool_reader import SpoolReader
from ingest.errors import IngestError

Findings = Iterator[tuple[str, str]]

#: A running gateway says every few seconds that it is.
SILENCE: Final = 5 * MINUTE
TIMEOUT_S: Final = 3.0


def run_doctor_gateway(path: Path, *, as_json: bool) -> int:
    """Print every finding of a home box; exit code 1 when there is one."""
    return report(examine_gateway(path, clock=system_clock), as_json=as_json, has_each=True)


def examine_gateway(path: Path, *, clock: Clock) -> list[tuple[str, str]]:
    """Findings as (where, words), in the order of the data's way."""
    try:
        config = read_config(path)
    except UserError as error:
        return [("gateway", f"{error}: correct it, or `flarecast gateway join`")]
    return [
        *_service(config, clock()),
        *_spool(config, clock),
        *_certificate(config, clock()),
        *_broker(config),
    ]


def _service(config: GatewayConfig, now: int) -> Findings:
    if not config.devices:
        yield "gateway", f"no wearable is paired: `flarecast gateway pair --config {config.path}`"
    try:
        said = int(json.loads(config.status.read_text())["utc"])
    except FileNotFoundError:
        yield "gateway", "it has never run here: start the service flarecast-gateway"
    except (OSError, ValueError, KeyError, TypeError):
        yield (
            "gateway",
            f"{config.status} cannot be read: is the disk full? It is written anew every few seconds",
        )
    else:
        if said - now > SILENCE:
            yield "gateway", f"the clock was set back by {(said - now) / MINUTE:.0f} min: is it right now?"
        elif now - said > SILENCE:
            yield (
                "gateway",
                f"it does not run since {from_utc(said):%Y-%m-%d %H:%M} UTC: start flarecast-gateway",
            )


def _spool(config: GatewayConfig, clock: Clock) -> Findings:
    if not config.spool.exists():
        return
    if not config.key.exists():
        yield (
            "spool",
            f"{config.key} is missing: put it back; what waits in {config.spool} cannot be read without",
        )
        return
    try:
        key = load_key(config.key)
        with SpoolReader(config.spool, clock=clock, key=key, limits=DEFAULT_LIMITS) as reader:
            counts, by_device = reader.counts(), reader.by_device()
        read_accounts(by_device, config.ledger, [], latest=0)
    except IngestError as error:
        yield "spool", str(error)
        return
    if counts.state != "ok":
        yield (
            "spool",
            f"{counts.state}: {counts.word}: is the broker reached, does a collector run, is there room?",
        )


def _certificate(config: GatewayConfig, now: int) -> Findings:
    broker = config.broker
    for path in (broker.certificate, broker.key):
        if path is not None and path.exists() and path.stat().st_mode & 0o077 and _holds_key(path):
            yield "certificate", f"{path} can be read by others than its owner: chmod 600 {path}"
    if broker.certificate is None:
        return
    try:
        ends = expires_utc(broker.certificate)
    except IngestError as error:
        yield "certificate", f"{error}: ask the clinic for another invitation"
        return
    if ends <= now:
        yield "certificate", f"it ended on {from_utc(ends):%Y-%m-%d}: ask the clinic for another invitation"
    elif ends - now < RENEW_BEFORE - 2 * DAY:
        yield (
            "certificate",
            f"it ends on {from_utc(ends):%Y-%m-%d} and was not renewed: `flarecast gateway renew` says why",
        )


def _holds_key(path: Path) -> bool:
    return b"PRIVATE KEY" in path.read_bytes()


def _broker(config: GatewayConfig) -> Findings:
    broker = config.broker
    try:
        socket.create_connection((broker.host, broker.port), TIMEOUT_S).close()
    except OSError as error:
        yield (
            "broker",
            f"cannot reach {broker} ({error.strerror or error}): is the box on line? Nothing is lost",
        )
