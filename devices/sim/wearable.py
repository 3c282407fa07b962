"""A simulated wearable without a radio: services, characteristics and what they do.

A host (the virtual radio) puts it on the air and gives it a :class:`Link`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Flag, auto
from typing import Protocol

from devices.codec import battery, device_information


class Property(Flag):
    """What a central may do with a characteristic."""

    READ = auto()
    WRITE = auto()
    WRITE_WITHOUT_RESPONSE = auto()
    NOTIFY = auto()


@dataclass(frozen=True, slots=True)
class Characteristic:
    """One characteristic.

    Attributes
    ----------
    uuid : str
        128-bit text.
    properties : Property
        What it allows.
    read : callable, optional
        Gives its value.
    write : callable, optional
        Takes a written value; may notify before it returns.
    """

    uuid: str
    properties: Property
    read: Callable[[], bytes] | None = None
    write: Callable[[bytes], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One service."""

    uuid: str
    characteristics: tuple[Characteristic, ...]


class Link(Protocol):
    """A wearable's place on the air."""

    async def notify(self, characteristic: str, value: bytes) -> bool:
        """Send a notification; False when nobody has subscribed and it went nowhere."""
        ...

    async def until_subscribed(self, characteristic: str) -> None:
        """Wait until a central has subscribed."""
        ...


class Wearable:
    """What every simulated wearable is.

    Parameters
    ----------
    name : str
        Advertised name.
    address : str
        Static random address, ``F0:..`` style.
    services : tuple of Service
        Everything it offers.
    advertised : tuple of str
        Services its advertisement names.
    """

    def __init__(
        self, name: str, address: str, services: tuple[Service, ...], advertised: tuple[str, ...]
    ) -> None:
        self.name = name
        self.address = address
        self.services = services
        self.advertised = advertised
        #: Set by the host while the wearable is on the air.
        self.link: Link | None = None

    async def notify(self, characteristic: str, value: bytes) -> bool:
        """Send a notification; False when it went nowhere."""
        return self.link is not None and await self.link.notify(characteristic, value)


def readable(uuid: str, value: bytes) -> Characteristic:
    """Characteristic with a fixed value."""
    return Characteristic(uuid, Property.READ, read=lambda: value)


def battery_service(level_pct: Callable[[], int]) -> Service:
    """Battery Service."""
    level = Characteristic(battery.LEVEL, Property.READ, read=lambda: battery.encode(level_pct()))
    return Service(battery.SERVICE, (level,))


def information_service(*, maker: str, model: str, serial: str, firmware: str) -> Service:
    """Device Information Service."""
    texts = {
        device_information.MAKER: maker,
        device_information.MODEL: model,
        device_information.SERIAL: serial,
        device_information.FIRMWARE: firmware,
    }
    fields = (readable(uuid, device_information.encode_text(text)) for uuid, text in texts.items())
    return Service(device_information.SERVICE, tuple(fields))
