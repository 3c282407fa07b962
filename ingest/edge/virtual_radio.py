"""A virtual Bluetooth radio: backend classes for bleak over bumble.

bleak's own front end runs unchanged on top, bumble's HCI, L2CAP, ATT and GATT
below. Only simulations and tests import this; a gateway never does.
"""

from typing import Any

from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bumble.core import UUID, AdvertisingData
from bumble.device import Advertisement, Device

from ingest.edge.radio import DEAF_S, MAX_LINKS, Radio
from ingest.edge.virtual_radio_adapter import VirtualAdapter
from ingest.edge.virtual_radio_client import VirtualClient, uuid_text

_ADAPTER_OPTION = "virtual_adapter"


def virtual_radio(adapter: VirtualAdapter, max_links: int = MAX_LINKS, *, deaf_s: float = DEAF_S) -> Radio:
    """Radio of a virtual adapter, for a gateway."""
    return Radio(
        VirtualScanner,
        VirtualClient,
        options={_ADAPTER_OPTION: adapter},
        max_links=max_links,
        host=adapter,
        deaf_s=deaf_s,
    )


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
