"""`flarecast gateway`: run the home box until it is stopped, or show how it is doing."""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from devices.clock import from_utc, system_clock
from flows.errors import UserError
from flows.gateway_config import GatewayConfig, read_config
from flows.gateway_uplink import Uplink
from ingest.edge.bluez import BluezHost
from ingest.edge.gateway import Gateway
from ingest.edge.ledger import Ledger, read_accounts
from ingest.edge.radio import Radio
from ingest.edge.spool import DEFAULT_LIMITS, Spool
from ingest.edge.spool_cipher import load_key
from ingest.edge.spool_limits import EARLIEST_UTC
from ingest.edge.spool_reader import SpoolReader, is_encrypted

logger = logging.getLogger(__name__)

OpenRadio = Callable[[GatewayConfig], AbstractAsyncContextManager[Radio]]

STATUS_EVERY_S: Final = 5.0
GAPS_SHOWN: Final = 5


@asynccontextmanager
async def open_bluez(config: GatewayConfig) -> AsyncGenerator[Radio]:
    """The radio of a home box: bleak's own backend, BlueZ prepared for it."""
    host = BluezHost(config.adapter, expected=config.bonded, on_loss=lambda why: radio.lose_host(why))
    radio = Radio(options={"bluez": {"adapter": config.adapter}}, max_links=config.max_links, host=host)
    try:
        yield radio
    finally:
        await host.aclose()


def run_gateway(path: Path, *, open_radio: OpenRadio = open_bluez) -> int:
    """Read wearables, spool and forward until SIGTERM or SIGINT; returns the exit code.

    An adapter that is absent or disappears is waited for; so is a broker.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    config = read_config(path)
    if not config.devices:
        raise UserError(f"{path}: no device is paired yet: flarecast gateway pair --config {path}")
    asyncio.run(_run(config, open_radio))
    return 0


async def _run(config: GatewayConfig, open_radio: OpenRadio) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    key = _key(config)
    spool = Spool(config.spool, clock=system_clock, key=key)
    ledger = Ledger(config.ledger, spool, clock=system_clock, key=key)
    uplink = Uplink(config, spool)
    try:
        async with open_radio(config) as radio:
            gateway = Gateway(
                config.gateway,
                radio,
                ledger,
                clock=system_clock,
                devices=config.devices,
                on_rejected=ledger.on_rejected,
                on_gap=ledger.on_gap,
            )
            uplink.start()
            beside = [
                asyncio.create_task(_report(config, gateway)),
                asyncio.create_task(uplink.keep_certificate()),
            ]
            try:
                await gateway.run(stop, pull_every_s=config.pull_every_s)
            finally:
                for task in beside:
                    task.cancel()
                _write_status(config, gateway)
    finally:
        await asyncio.to_thread(uplink.stop)
        ledger.close()
        spool.close()


def _key(config: GatewayConfig) -> bytes:
    if not config.key.exists() and is_encrypted(config.spool):
        # a new key would open nothing of what waits there
        raise UserError(
            f"{config.key} is missing: put it back; {config.spool} is as it was, and waits for it"
        )
    return load_key(config.key)


async def _report(config: GatewayConfig, gateway: Gateway) -> None:
    while True:
        _write_status(config, gateway)
        await asyncio.sleep(STATUS_EVERY_S)


def _write_status(config: GatewayConfig, gateway: Gateway) -> None:
    devices = {
        device: {
            "is_listening": progress.is_listening,
            "connections": progress.connections,
            "revised": progress.revised,
        }
        for device, progress in gateway.progress.items()
    }
    partial = config.status.with_suffix(".partial")
    try:
        partial.write_text(json.dumps({"utc": system_clock(), "devices": devices}))
        partial.replace(config.status)
    except OSError as error:
        # a full disk: the spool has said so, and whether wearables listen is not worth the gateway
        logger.error("status_not_written reason=%s", error)


def show_status(path: Path, *, as_json: bool) -> int:
    """Print when data last came from each wearable, and what is kept, sent and confirmed."""
    config = read_config(path)
    status = _status(config)
    if as_json:
        print(json.dumps(status))
        return 0
    samples = status["samples"]
    print(f"gateway {config.gateway} at {config.site}, broker {config.broker}")
    print(f"  kept {samples['appended']}  sent {samples['sealed']}  confirmed {samples['confirmed']} samples")
    print(f"  spool {_fill(samples)}")
    for kind, counts in samples["by_kind"].items():
        kept, sent, confirmed = counts["appended"], counts["sealed"], counts["confirmed"]
        print(f"    {kind:12} kept {kept}  sent {sent}  confirmed {confirmed}")
    for device, seen in status["devices"].items():
        _show_device(device, seen)
    return 0


def _fill(samples: dict[str, Any]) -> str:
    """State of the spool: how full, how old, and what is wrong in capitals."""
    oldest = samples["oldest_utc"]
    waits = "nothing waits" if oldest is None else f"oldest unconfirmed from {_moment(oldest)}"
    percent = 100 * samples["used"] / samples["most"]
    said = f"{samples['state'].upper()}: {samples['word']}" if samples["word"] else samples["state"]
    return f"{said}  {samples['used']} bytes ({percent:.1f} % of its limit), {waits}"


def _show_device(device: str, seen: dict[str, Any]) -> None:
    came = "no data yet" if seen["heard_utc"] is None else f"data at {_moment(seen['heard_utc'])}"
    state = "listening" if seen.get("is_listening") else "not connected"
    print(f"  {device:12} {came}, {state}, {seen.get('connections', 0)} connections since the start")
    print(f"    kept {seen['kept']}  sent {seen['sent']}  confirmed {seen['confirmed']}", end="")
    print(f"  revised {seen.get('revised', 0)} since the start")
    for log, value in seen["clock"].items():
        print(f"    {log} {_moment(value) if abs(value) >= EARLIEST_UTC else value}")
    for reason, count in seen["rejected"].items():
        print(f"    rejected {count}: {reason}")
    for reason, (count, seconds) in seen["gaps"].items():
        print(f"    gaps {count}, {seconds:.0f} s: {reason}")
    for gap in seen["latest_gaps"]:
        print(f"    gap {_moment(gap['start_utc'])} to {_moment(gap['end_utc'])}: {gap['reason']}")


def _status(config: GatewayConfig) -> dict[str, Any]:
    said: dict[str, Any] = {}
    # half a line of a full disk is not worth a status
    with suppress(FileNotFoundError, ValueError):
        said = json.loads(config.status.read_text())
    if not config.spool.exists():
        raise UserError(f"the gateway of {config.path} has not run yet")
    with SpoolReader(config.spool, clock=system_clock, key=_key(config), limits=DEFAULT_LIMITS) as reader:
        counts, by_device = reader.counts(), reader.by_device()
    names = [device.device_id for device in config.devices]
    accounts = read_accounts(by_device, config.ledger, names, latest=GAPS_SHOWN)
    devices = {
        device: {
            **said.get("devices", {}).get(device, {}),
            **asdict(account),
            "latest_gaps": [gap._asdict() for gap in account.latest_gaps],
        }
        for device, account in accounts.items()
    }
    return {"utc": said.get("utc"), "samples": asdict(counts), "devices": devices}


def _moment(utc: int) -> str:
    moment: datetime = from_utc(utc)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
