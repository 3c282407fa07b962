"""The file of a gateway: what it is called, where its broker is, and the wearables it may talk to."""

import json
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from devices.drivers.registry import find_driver
from devices.durable import replace_file
from devices.errors import DevicesError
from devices.ids import DeviceId, GatewayId, SiteId, check_id
from flows.errors import UserError
from ingest.edge.gateway import PairedDevice
from ingest.edge.radio import MAX_LINKS
from ingest.wire.address import BrokerAddress

#: A ring remembers a week; half an hour keeps a caregiver's picture fresh and its battery for days.
PULL_EVERY_S: Final = 1800


@dataclass(frozen=True)
class GatewayConfig:
    """Settings of one home box.

    Attributes
    ----------
    path : Path
        The file; spool, status and ledger lie beside it.
    adapter : str
        Name of the Bluetooth adapter.
    max_links : int
        Connections held at the same time.
    pull_every_s : float
        Seconds between visits to wearables with a memory.
    reconnect_s : float
        First pause after a lost connection, doubled up to ten minutes or to itself, each drawn within half
        of it. A site of tens of thousands wants minutes: their handshakes would fill its broker.
    spool_key : Path, optional
        File of the key that spool and ledger are encrypted with; ``spool.key`` beside `path` when absent.
    """

    path: Path
    gateway: GatewayId
    site: SiteId
    broker: BrokerAddress
    devices: tuple[PairedDevice, ...] = ()
    adapter: str = "hci0"
    max_links: int = MAX_LINKS
    pull_every_s: float = PULL_EVERY_S
    reconnect_s: float = 1.0
    spool_key: Path | None = None

    @property
    def spool(self) -> Path:
        """Database of what is not yet confirmed."""
        return self.path.with_name("spool.db")

    @property
    def status(self) -> Path:
        """What the running gateway says of itself."""
        return self.path.with_name("status.json")

    @property
    def ledger(self) -> Path:
        """Database of refused frames and of gaps, with their reasons."""
        return self.path.with_name("ledger.db")

    @property
    def key(self) -> Path:
        """File of the key of spool and ledger."""
        return self.spool_key or self.path.with_name("spool.key")

    @property
    def bonded(self) -> list[str]:
        """Addresses of the wearables that may bond, and no others."""
        return [device.address for device in self.devices if device.is_bonded]

    def with_device(self, device: PairedDevice) -> "GatewayConfig":
        """The same with a wearable more, or with this one in the place of its namesake."""
        others = tuple(each for each in self.devices if each.device_id != device.device_id)
        return replace(self, devices=(*others, device))


def read_config(path: Path) -> GatewayConfig:
    """Settings of a file.

    Raises
    ------
    UserError
        When it is absent or something in it is wrong, with the place.
    """
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"no gateway file {path}: flarecast gateway pair --config {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    try:
        return _config(path, content)
    except KeyError as error:
        raise UserError(f"{path}: {error.args[0]} is missing") from None
    except (DevicesError, TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None


def _config(path: Path, content: dict[str, Any]) -> GatewayConfig:
    content = dict(content)
    broker = dict(content.pop("broker"))
    for name in ("ca", "certificate", "key"):
        if name in broker:
            # relative to the file, wherever the service is started
            broker[name] = path.parent / broker[name]
    if "spool_key" in content:
        content["spool_key"] = path.parent / content["spool_key"]
    devices = tuple(_device(each) for each in content.pop("device", []))
    names = [device.device_id for device in devices]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two devices are called {', '.join(sorted(twice))}")
    for name in ("pull_every_s", "reconnect_s"):
        if name in content and not content[name] > 0:
            raise ValueError(f"{name} = {content[name]} is not more than 0")
    # a held link leaves none for visits
    least = max(1, len({find_driver(device.driver).plan for device in devices}))
    if not content.get("max_links", MAX_LINKS) >= least:
        raise ValueError(f"max_links = {content['max_links']} is less than {least}")
    return GatewayConfig(
        path=path,
        gateway=GatewayId(check_id(content.pop("gateway"), "gateway")),
        site=SiteId(check_id(content.pop("site"), "site")),
        broker=BrokerAddress(**broker),
        devices=devices,
        **content,
    )


def _device(entry: dict[str, Any]) -> PairedDevice:
    entry = dict(entry)
    device_id = DeviceId(check_id(entry.pop("id"), "device"))
    return PairedDevice(device_id, entry.pop("address"), find_driver(entry.pop("driver")).name, **entry)


def write_config(config: GatewayConfig) -> None:
    """Write the file in one step, readable by its owner only."""
    broker = config.broker
    lines = [
        f"gateway = {_text(config.gateway)}",
        f"site = {_text(config.site)}",
        f"adapter = {_text(config.adapter)}",
        f"max_links = {config.max_links}",
        f"pull_every_s = {config.pull_every_s}",
        f"reconnect_s = {config.reconnect_s}",
        *([] if config.spool_key is None else [f"spool_key = {_place(config, config.spool_key)}"]),
        "",
        "[broker]",
        f"host = {_text(broker.host)}",
        f"port = {broker.port}",
    ]
    lines += [
        f"{name} = {_place(config, value)}"
        for name in ("ca", "certificate", "key")
        if (value := getattr(broker, name)) is not None
    ]
    if broker.user is not None:
        lines.append(f"user = {_text(broker.user)}")
    for device in config.devices:
        lines += ["", "[[device]]", f"id = {_text(device.device_id)}", f"address = {_text(device.address)}"]
        lines.append(f"driver = {_text(device.driver)}")
        if device.is_bonded:
            lines.append("is_bonded = true")
        if device.serial is not None:
            lines.append(f"serial = {_text(device.serial)}")
    replace_file(config.path, "\n".join(lines) + "\n", mode=0o600)


def _text(value: str) -> str:
    """TOML's basic strings are JSON's."""
    return json.dumps(value, ensure_ascii=False)


def _place(config: GatewayConfig, path: Path) -> str:
    """A file beside ours by its name: it is read relative to us."""
    folder = config.path.parent
    return _text(str(path.relative_to(folder) if path.is_relative_to(folder) else path.absolute()))
