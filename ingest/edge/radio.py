"""The radio: the only place that knows which Bluetooth backend bleak uses.

By default it is bleak's own (BlueZ on a gateway). A simulation passes backend
classes of its own; everything above this module is the same code.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from bleak import BleakClient, BleakScanner
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner

#: A Raspberry Pi's adapter becomes unreliable above five links.
MAX_LINKS = 5


class Radio:
    """One Bluetooth adapter.

    Parameters
    ----------
    scanner_backend, client_backend : type, optional
        Backend classes for bleak; its own when not given.
    options : dict, optional
        Passed to both backends (bleak hands through what it does not know).
    max_links : int
        Connections held at the same time.
    """

    def __init__(
        self,
        scanner_backend: type[BaseBleakScanner] | None = None,
        client_backend: type[BaseBleakClient] | None = None,
        *,
        options: dict[str, Any] | None = None,
        max_links: int = MAX_LINKS,
    ) -> None:
        self._scanner_options = _with_backend(options, scanner_backend)
        self._client_options = _with_backend(options, client_backend)
        #: An adapter has one pending connection; a second attempt makes both fail.
        self.connecting = asyncio.Lock()
        self.links = asyncio.Semaphore(max_links)

    async def find(self, address: str, timeout_s: float) -> BLEDevice | None:
        """Device with this address as soon as it advertises; ``None`` after `timeout_s` seconds."""

        def is_wanted(device: BLEDevice, _: AdvertisementData) -> bool:
            return device.address.upper() == address.upper()

        return await BleakScanner.find_device_by_filter(is_wanted, timeout=timeout_s, **self._scanner_options)

    async def discover(self, duration_s: float) -> list[tuple[BLEDevice, AdvertisementData]]:
        """Everything that advertises within `duration_s` seconds, strongest signal first."""
        found = await BleakScanner.discover(timeout=duration_s, return_adv=True, **self._scanner_options)
        return sorted(found.values(), key=lambda seen: -seen[1].rssi)

    def client(self, device: BLEDevice, on_drop: Callable[[], None], timeout_s: float) -> BleakClient:
        """Unconnected client of a device that was found."""
        return BleakClient(device, lambda _: on_drop(), timeout=timeout_s, **self._client_options)


def _with_backend(options: dict[str, Any] | None, backend: type | None) -> dict[str, Any]:
    return {**(options or {}), **({} if backend is None else {"backend": backend})}
