"""The radio: the only place that knows which Bluetooth backend bleak uses.

By default it is bleak's own (BlueZ on a gateway). A simulation passes backend
classes of its own; everything above this module is the same code.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from bleak import BleakClient, BleakScanner
from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.exc import BleakError

from ingest.edge.errors import RadioError

logger = logging.getLogger(__name__)

#: A Raspberry Pi's adapter becomes unreliable above five links.
MAX_LINKS = 5
#: No advertisement of anything for so long: the scanner is deaf, not the home empty.
DEAF_S = 90.0
#: Deaf scans in a row after which the adapter itself is restarted.
DEAF_SCANS = 2


class Sighting(NamedTuple):
    """What an advertisement says: the wearable, its signal (dBm), its services (128-bit text)."""

    device: BLEDevice
    rssi: int
    name: str | None
    services: tuple[str, ...]

    @property
    def is_private(self) -> bool:
        """Whether the address is a private one, which changes: it says nothing about who this is."""
        details = self.device.details
        properties = details.get("props", {}) if isinstance(details, dict) else {}
        is_random = properties.get("AddressType", "public") == "random"
        # the two highest bits: 11 static, 01 private and resolvable, 00 private (Core Vol 6, Part B, 1.3.2)
        return is_random and int(self.device.address[:2], 16) & 0xC0 != 0xC0


class RadioHost(Protocol):
    """What the operating system's Bluetooth service needs beside bleak; see :mod:`ingest.edge.bluez`."""

    async def prepare(self) -> None:
        """Be ready to pair and to bond."""
        ...

    async def forget_device(self, address: str) -> None:
        """Remove what is remembered of a device that can no longer be connected; its bond too."""
        ...

    async def restart_adapter(self) -> None:
        """Switch the adapter off and on."""
        ...


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
    host : RadioHost, optional
        The Bluetooth service beneath bleak, where it needs care.
    deaf_s : float
        Seconds of scanning without any advertisement before the scan is restarted.
    """

    def __init__(
        self,
        scanner_backend: type[BaseBleakScanner] | None = None,
        client_backend: type[BaseBleakClient] | None = None,
        *,
        options: dict[str, Any] | None = None,
        max_links: int = MAX_LINKS,
        host: RadioHost | None = None,
        deaf_s: float = DEAF_S,
    ) -> None:
        self._client_options = _with_backend(options, client_backend)
        self.host = host
        self._ear = _Ear(_with_backend(options, scanner_backend), host, deaf_s)
        self._is_prepared = False
        #: Told when the host goes away: bleak does not notice what became of its links.
        self.on_loss: list[Callable[[str], None]] = []
        #: An adapter has one pending connection; a second attempt makes both fail.
        self.connecting = asyncio.Lock()
        #: Attempts in a row that the host refused because of one it never ended, by address.
        self.stuck: Counter[str] = Counter()
        #: Addresses whose link does not survive BlueZ's AcquireNotify.
        self.has_lost_socket: set[str] = set()
        self.max_links = max_links
        self.links = asyncio.Semaphore(max_links)

    @property
    def scanner_restarts(self) -> int:
        """How often the scan was restarted because nothing at all was heard."""
        return self._ear.restarts

    async def prepare(self) -> None:
        """Make the host ready, once it is there.

        Raises
        ------
        RadioError
            When it is not.
        """
        if self.host is not None and not self._is_prepared:
            try:
                await self.host.prepare()
            except (BleakError, OSError, EOFError) as error:
                raise RadioError(f"Bluetooth service not ready: {error}") from error
            self._is_prepared = True

    def lose_host(self, reason: str) -> None:
        """The host or its adapter went away: it must be prepared again, and no link stands."""
        self._is_prepared = False
        for on_loss in list(self.on_loss):
            on_loss(reason)

    async def find(self, address: str, timeout_s: float) -> BLEDevice | None:
        """Device with this address as soon as it advertises; ``None`` after `timeout_s` seconds.

        Raises
        ------
        RadioError
            When the adapter cannot scan.
        """
        found: asyncio.Future[BLEDevice] = asyncio.get_running_loop().create_future()

        def on_sighting(sighting: Sighting) -> None:
            if sighting.device.address.upper() == address.upper() and not found.done():
                found.set_result(sighting.device)

        await self._ear.open(on_sighting)
        try:
            async with asyncio.timeout(timeout_s):
                return await found
        except TimeoutError:
            return None
        finally:
            await self._ear.close(on_sighting)

    async def discover(self, duration_s: float) -> list[Sighting]:
        """Everything that advertises within `duration_s` seconds, strongest signal first.

        Raises
        ------
        RadioError
            When the adapter cannot scan.
        """
        seen: dict[str, Sighting] = {}

        def on_sighting(sighting: Sighting) -> None:
            seen[sighting.device.address] = sighting

        await self._ear.open(on_sighting)
        try:
            await asyncio.sleep(duration_s)
        finally:
            await self._ear.close(on_sighting)
        return sorted(seen.values(), key=lambda sighting: -sighting.rssi)

    def client(self, device: BLEDevice, on_drop: Callable[[], None], timeout_s: float) -> BleakClient:
        """Unconnected client of a device that was found."""
        return BleakClient(device, lambda _: on_drop(), timeout=timeout_s, **self._client_options)


def _with_backend(options: dict[str, Any] | None, backend: type | None) -> dict[str, Any]:
    return {**(options or {}), **({} if backend is None else {"backend": backend})}


def _now_s() -> float:
    """Seconds by the clock that the loop's own waits go by."""
    return asyncio.get_running_loop().time()


class _Ear:
    """One scan for all who look for something, watched for deafness."""

    def __init__(self, options: dict[str, Any], host: RadioHost | None, deaf_s: float) -> None:
        self._options = options
        self._host = host
        self._deaf_s = deaf_s
        self._listeners: list[Callable[[Sighting], None]] = []
        self._scanner: BleakScanner | None = None
        self._watch: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        # seconds of scanning in which nothing was heard, summed over scans
        self._quiet_s = 0.0
        self._since_s = 0.0
        self._deaf_scans = 0
        self.restarts = 0

    async def open(self, listener: Callable[[Sighting], None]) -> None:
        async with self._lock:
            if self._scanner is None:
                await self._start()
            self._listeners.append(listener)

    async def close(self, listener: Callable[[Sighting], None]) -> None:
        async with self._lock:
            self._listeners.remove(listener)
            if not self._listeners:
                await self._stop()

    async def _start(self) -> None:
        scanner = BleakScanner(self._on_advertisement, **self._options)
        try:
            await scanner.start()
        except (BleakError, OSError, EOFError) as error:
            raise RadioError(f"cannot scan: {error}") from error
        self._scanner = scanner
        self._since_s = _now_s()
        self._watch = asyncio.create_task(self._watch_deafness())

    async def _stop(self) -> None:
        scanner, self._scanner = self._scanner, None
        self._quiet_s += _now_s() - self._since_s
        if self._watch is not None:
            self._watch.cancel()
        if scanner is not None:
            # an adapter that has gone cannot be told to stop
            with suppress(BleakError, OSError, EOFError):
                await scanner.stop()

    def _on_advertisement(self, device: BLEDevice, seen: AdvertisementData) -> None:
        self._quiet_s, self._since_s, self._deaf_scans = 0.0, _now_s(), 0
        name = seen.local_name or device.name
        sighting = Sighting(device, seen.rssi, name, tuple(seen.service_uuids))
        for listener in list(self._listeners):
            listener(sighting)

    async def _watch_deafness(self) -> None:
        while True:
            left = self._deaf_s - self._quiet_s - (_now_s() - self._since_s)
            if left > 0:
                await asyncio.sleep(left)
                continue
            # a task of its own: stopping the scan cancels this one
            self._restarting = asyncio.create_task(self._restart())
            return

    async def _restart(self) -> None:
        async with self._lock:
            if self._scanner is None:
                return
            self.restarts += 1
            self._deaf_scans += 1
            logger.warning("scanner deaf seconds=%g restarts=%d", self._deaf_s, self.restarts)
            await self._stop()
            self._quiet_s = 0.0
            try:
                if self._deaf_scans >= DEAF_SCANS and self._host is not None:
                    self._deaf_scans = 0
                    logger.warning("adapter restarted")
                    await self._host.restart_adapter()
                await self._start()
            except (RadioError, BleakError, OSError, EOFError) as error:
                # who looks for something runs into its time limit, and its next look starts the scan
                logger.warning("scan not restarted error=%s", error)
