"""A virtual Bluetooth adapter: backend classes for bleak over bumble.

bleak's own front end runs unchanged on top, bumble's HCI, L2CAP, ATT and GATT
below. Only simulations and tests import this; a gateway never does.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from typing import Any

from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.exc import BleakError
from bumble import hci
from bumble.core import UUID, AdvertisingData
from bumble.device import Advertisement, Device
from bumble.host import Host
from bumble.keys import MemoryKeyStore
from bumble.transport.common import AsyncPipeSink

from ingest.edge.radio import DEAF_S, MAX_LINKS, Radio
from ingest.edge.virtual_radio_air import Air, SimController
from ingest.edge.virtual_radio_client import VirtualClient, uuid_text
from ingest.edge.virtual_radio_quirks import Quirks

_ADAPTER_OPTION = "virtual_adapter"


class VirtualAdapter:
    """A central on the air, shared by any number of scanners and clients."""

    def __init__(self, air: Air, controller: SimController, device: Device, quirks: Quirks) -> None:
        self.device = device
        self.quirks = quirks
        #: Sessions that BlueZ keeps for lost clients, by address.
        self.leaks: Counter[str] = Counter()
        self.stuck: set[str] = set()
        self.has_agent = False
        #: Addresses that the agent agrees to pair with; all when ``None``.
        self.expected: Collection[str] | None = None
        #: How often the adapter was restarted, and devices removed.
        self.restarts = 0
        self.removed: list[str] = []
        #: The adapter scans and hears nothing.
        self.is_deaf = False
        self._is_present = True
        self._air = air
        self._controller = controller
        self._scanners = 0
        self._scanning = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, air: Air, address: str = "C0:FF:EE:00:00:01", *, quirks: Quirks | None = None
    ) -> AsyncGenerator["VirtualAdapter"]:
        """Adapter that is on for the time of the context."""
        controller = SimController("gateway", link=air)
        host = Host(controller, AsyncPipeSink(controller))
        device = Device(name="gateway", address=hci.Address(address), host=host)
        device.keystore = MemoryKeyStore()
        await device.power_on()
        try:
            yield cls(air, controller, device, quirks or Quirks())
        finally:
            await device.power_off()
            air.remove_controller(controller)

    def radio(self, max_links: int = MAX_LINKS, *, deaf_s: float = DEAF_S) -> Radio:
        """Radio of this adapter, for a gateway."""
        return Radio(
            VirtualScanner,
            VirtualClient,
            options={_ADAPTER_OPTION: self},
            max_links=max_links,
            host=self,
            deaf_s=deaf_s,
        )

    async def set_present(self, is_present: bool) -> None:
        """Pull the adapter out, with every link it holds, or put it back."""
        self._is_present = is_present
        self._air.set_in_range(self._controller, is_present)

    def check_present(self) -> None:
        """Raise as bleak does when there is no adapter."""
        if not self._is_present:
            raise BleakError("No Bluetooth adapters found.")

    async def prepare(self) -> None:
        """Register an agent (:class:`ingest.edge.radio.RadioHost`)."""
        self.check_present()
        self.has_agent = True

    def agrees_to(self, address: str) -> bool:
        """Whether an agent is there and agrees to pair with this address."""
        return self.has_agent and (self.expected is None or address in self.expected)

    async def forget_device(self, address: str) -> None:
        """Remove what is remembered of a device."""
        self.removed.append(address)
        self.stuck.discard(address)
        self.leaks.pop(address, None)

    async def restart_adapter(self) -> None:
        """Switch off and on: hears again."""
        self.restarts += 1
        self.is_deaf = False

    async def scan(self, is_on: bool, is_active: bool) -> None:
        """Count scanners; the controller scans while there is one."""
        async with self._scanning:
            self._scanners += 1 if is_on else -1
            if is_on and self._scanners == 1:
                await self.device.start_scanning(active=is_active, legacy=True)
            elif not is_on and self._scanners == 0:
                await self.device.stop_scanning(legacy=True)


class VirtualScanner(BaseBleakScanner):
    """Scanner backend; arguments as bleak gives them."""

    def __init__(
        self,
        detection_callback: Any,
        service_uuids: list[str] | None,
        scanning_mode: str,
        *,
        virtual_adapter: VirtualAdapter,
        **_: Any,
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self._adapter = virtual_adapter
        self._is_active = scanning_mode != "passive"

    async def start(self) -> None:
        """Start scanning."""
        self._adapter.check_present()
        self.seen_devices = {}
        self._adapter.device.on(Device.EVENT_ADVERTISEMENT, self._on_advertisement)
        await self._adapter.scan(True, self._is_active)

    async def stop(self) -> None:
        """Stop scanning."""
        self._adapter.device.remove_listener(Device.EVENT_ADVERTISEMENT, self._on_advertisement)
        await self._adapter.scan(False, self._is_active)

    def _on_advertisement(self, advertisement: Advertisement) -> None:
        if self._adapter.is_deaf:
            return
        seen = read_advertisement(advertisement)
        if not self.is_allowed_uuid(seen.service_uuids):
            return
        on_air = advertisement.address
        resolver = self._adapter.device.address_resolver
        identity = resolver.resolve(on_air) if on_air.is_resolvable and resolver is not None else None
        address = (identity or on_air).to_string(False)
        before = self.seen_devices.get(address)
        name = seen.local_name or (before[0].name if before else None)
        # the shape of BlueZ's details, and where to connect
        kind = "public" if (identity or on_air).is_public else "random"
        details = {"props": {"AddressType": kind}, "air": on_air}
        device = self.create_or_update_device(address, address, name, details, seen)
        self.call_detection_callbacks(device, seen)


def read_advertisement(advertisement: Advertisement) -> AdvertisementData:
    """bleak's view of an advertisement."""
    kinds = AdvertisingData.Type
    name: str | None = None
    makers: dict[int, bytes] = {}
    uuids: list[str] = []
    lists = {
        kinds.INCOMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS: 2,
        kinds.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS: 2,
        kinds.INCOMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS: 16,
        kinds.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS: 16,
    }
    for kind, value in advertisement.data.ad_structures:
        if kind in (kinds.COMPLETE_LOCAL_NAME, kinds.SHORTENED_LOCAL_NAME):
            name = value.decode("utf-8", "replace")
        elif kind == kinds.MANUFACTURER_SPECIFIC_DATA and len(value) >= 2:
            makers[int.from_bytes(value[:2], "little")] = bytes(value[2:])
        elif size := lists.get(kind):
            uuids += [uuid_text(UUID.from_bytes(value[i : i + size])) for i in range(0, len(value), size)]
    return AdvertisementData(name, makers, {}, uuids, None, advertisement.rssi, (advertisement,))
