"""`flarecast gateway`: run the home box until it is stopped, or show how it is doing."""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from devices.clock import system_clock
from flows.errors import UserError
from flows.gateway.config import GatewayConfig, read_config
from flows.gateway.uplink import Uplink
from flows.gateway.words import show
from ingest.edge.bluez import BluezHost
from ingest.edge.gateway import Gateway
from ingest.edge.ledger import Ledger, read_accounts
from ingest.edge.radio import Radio
from ingest.edge.spool import DEFAULT_LIMITS, Spool
from ingest.edge.spool_cipher import load_key
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
                _write_status(config, gateway, is_running=False)
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


def _write_status(config: GatewayConfig, gateway: Gateway, *, is_running: bool = True) -> None:
    devices = {
        device: {
            "is_listening": progress.is_listening,
            "connections": progress.connections,
            "revised": progress.revised,
            "silence": gateway.reason_of_silence(device),
        }
        for device, progress in gateway.progress.items()
    }
    partial = config.status.with_suffix(".partial")
    try:
        said = {"utc": system_clock(), "is_running": is_running, "devices": devices}
        partial.write_text(json.dumps(said))
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
    show(config, status, now=system_clock())
    return 0


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
    held = sum(by_device.waiting.values()) + sum(by_device.unconfirmed.values())
    # counted against what is really there: what neither waits nor was confirmed is gone
    lost = counts.appended - counts.confirmed - held
    return {
        "utc": said.get("utc"),
        "is_running": said.get("is_running", False),
        "samples": {**asdict(counts), "lost": lost},
        "devices": devices,
    }
