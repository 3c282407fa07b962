"""`flarecast gateway pair`: what is near, how strong and how charged, and which of it belongs here."""

import asyncio
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from devices.clock import system_clock
from devices.drivers.registry import DRIVERS, find_driver
from devices.errors import DevicesError
from devices.ids import DeviceId, GatewayId, SiteId, check_id
from devices.observations import Battery
from flows.errors import UserError
from flows.gateway.command import OpenRadio, open_bluez
from flows.gateway.config import GatewayConfig, read_config, write_config
from ingest.edge.errors import EdgeError
from ingest.edge.gateway import PairedDevice
from ingest.edge.radio import Radio, Sighting
from ingest.edge.session import Timing, open_session, read_serial
from ingest.wire.address import BrokerAddress

Ask = Callable[[str], str]


class Candidate(NamedTuple):
    """A wearable that is near and that a driver knows."""

    sighting: Sighting
    driver: str
    battery_pct: int | None
    serial: str | None


def pair(
    path: Path,
    *,
    gateway: str | None,
    site: str | None,
    broker: str | None,
    scan_s: float,
    ask: Ask = input,
    open_radio: OpenRadio = open_bluez,
) -> int:
    """Look for wearables, ask which are the patient's, and write the gateway's file."""
    config = read_config(path) if path.exists() else _new_config(path, gateway, site, broker)
    asyncio.run(_pair(config, scan_s, ask, open_radio))
    return 0


def _new_config(path: Path, gateway: str | None, site: str | None, broker: str | None) -> GatewayConfig:
    if gateway is None or site is None or broker is None:
        raise UserError(f"{path} is new: say --gateway ID --site ID --broker HOST:PORT")
    host, _, port = broker.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"broker {broker!r} is not HOST:PORT")
    return GatewayConfig(
        path,
        GatewayId(check_id(gateway, "gateway")),
        SiteId(check_id(site, "site")),
        BrokerAddress(host, int(port)),
    )


async def _pair(config: GatewayConfig, scan_s: float, ask: Ask, open_radio: OpenRadio) -> None:
    async with open_radio(config) as radio:
        await radio.prepare()
        known = {device.address.upper() for device in config.devices}
        found = [
            (sighting, driver)
            for sighting in await radio.discover(scan_s)
            if sighting.device.address.upper() not in known and (driver := _driver(sighting))
        ]
        if not found:
            print("no new wearable is near; worn straps and charged rings advertise")
        for sighting, driver in found:
            paired = await _offer(
                radio, sighting, driver, ask, {device.device_id for device in config.devices}
            )
            if paired is not None and sighting.is_private:
                paired = await _bonded(config, open_radio, sighting, paired, scan_s)
            if paired is not None:
                # at once: who stops here keeps what was answered
                config = config.with_device(paired)
                write_config(config)
    write_config(config)
    print(f"{config.path}: {len(config.devices)} paired")


def _driver(sighting: Sighting) -> str | None:
    matching = (name for name, driver in DRIVERS.items() if set(driver.services) & set(sighting.services))
    return next(matching, None)


async def _offer(
    radio: Radio, sighting: Sighting, driver: str, ask: Ask, taken: Collection[DeviceId]
) -> PairedDevice | None:
    """The wearable under the id it gets; ``None`` when it is not ours."""
    address = sighting.device.address
    try:
        candidate = await _look_closer(radio, sighting, driver)
    except EdgeError as error:
        print(f"{sighting.name or address}  {sighting.rssi} dBm  cannot be connected: {error}")
        return None
    charge = "not told" if candidate.battery_pct is None else f"{candidate.battery_pct} %"
    print(f"{sighting.name or address}  {driver}  {sighting.rssi} dBm  battery {charge}")
    if sighting.is_private and candidate.serial is None:
        # its address is another one tomorrow, and nothing else tells who it is
        print("  changes its address and states no serial number: bond it first, in the system's settings")
        return None
    name = _named(ask, taken)
    return None if name is None else PairedDevice(name, address, driver, serial=candidate.serial)


def _named(ask: Ask, taken: Collection[DeviceId]) -> DeviceId | None:
    """The id that is answered; asked again until it is one. ``None`` when it is not theirs."""
    while answer := _answer(ask, "  is this yours? then name it, such as band-1 (only Enter: no): "):
        try:
            name = DeviceId(check_id(answer, "id"))
        except DevicesError as error:
            print(f"  {error}")
            continue
        if name not in taken:
            return name
        print(f"  {name} is another wearable already")
    return None


def _answer(ask: Ask, question: str) -> str:
    # the event loop waits for the answer too, and would keep Ctrl-C until it came
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return ask(question).strip()
    except EOFError:
        raise UserError("nobody answers: pair where somebody can type") from None
    finally:
        signal.signal(signal.SIGINT, before)


async def _bonded(
    config: GatewayConfig, open_radio: OpenRadio, sighting: Sighting, paired: PairedDevice, scan_s: float
) -> PairedDevice:
    """Bond, and take the identity address that the bond reveals and at which it states its serial number."""
    # an agent of its own, that agrees to this bond and no other
    async with open_radio(config.with_device(replace(paired, is_bonded=True))) as radio:
        async with _session(radio, sighting, is_bonded=True, serial=paired.serial):
            pass
        for seen in await radio.discover(scan_s):
            if seen.is_private or not set(sighting.services) & set(seen.services):
                continue
            with suppress(EdgeError):
                async with _session(radio, seen, serial=paired.serial):
                    return replace(paired, address=seen.device.address, is_bonded=True)
    raise UserError(f"{paired.device_id} bonded, but states its serial number at no identity address")


async def _look_closer(radio: Radio, sighting: Sighting, driver: str) -> Candidate:
    async with _session(radio, sighting) as session:
        # some tell it only to whom they are bonded to
        told = await find_driver(driver).read_battery(session)
        level = next((item.level_pct for item in told.items if isinstance(item, Battery)), None)
        return Candidate(sighting, driver, level, await read_serial(session))


def _session(radio: Radio, sighting: Sighting, *, is_bonded: bool = False, serial: str | None = None):
    return open_session(
        radio,
        sighting.device.address,
        DeviceId("unpaired"),
        "pairing",
        clock=system_clock,
        cursor=lambda _: None,
        on_arrival=lambda: None,
        on_listening=lambda _: None,
        timing=Timing(),
        is_bonded=is_bonded,
        serial=serial,
    )
