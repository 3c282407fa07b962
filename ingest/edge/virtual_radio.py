"""A virtual Bluetooth adapter: backend classes for bleak over bumble.

bleak's own front end runs unchanged on top, bumble's HCI, L2CAP, ATT and GATT
below. Only simulations and tests import this; a gateway never does.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from bleak.assigned_numbers import gatt_char_props_to_strs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError, BleakGATTProtocolError
from bleak.uuids import normalize_uuid_str
from bumble import core, hci
from bumble.att import ATT_Error
from bumble.core import UUID, AdvertisingData
from bumble.device import Advertisement, Connection, Device, Peer
from bumble.host import Host
from bumble.transport.common import AsyncPipeSink

from ingest.edge.radio import MAX_LINKS, Radio
from ingest.edge.virtual_radio_air import Air, SimController

_MTU = 517
_ADAPTER_OPTION = "virtual_adapter"


class VirtualAdapter:
    """A central on the air, shared by any number of scanners and clients."""

    def __init__(self, air: Air, controller: SimController, device: Device) -> None:
        self.device = device
        self._air = air
        self._controller = controller
        self._scanners = 0
        self._scanning = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(cls, air: Air, address: str = "C0:FF:EE:00:00:01") -> AsyncGenerator["VirtualAdapter"]:
        """Adapter that is on for the time of the context."""
        controller = SimController("gateway", link=air)
        host = Host(controller, AsyncPipeSink(controller))
        device = Device(name="gateway", address=hci.Address(address), host=host)
        await device.power_on()
        try:
            yield cls(air, controller, device)
        finally:
            await device.power_off()
            air.remove_controller(controller)

    def radio(self, max_links: int = MAX_LINKS) -> Radio:
        """Radio of this adapter, for a gateway."""
        return Radio(VirtualScanner, VirtualClient, options={_ADAPTER_OPTION: self}, max_links=max_links)

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
        self.seen_devices = {}
        self._adapter.device.on(Device.EVENT_ADVERTISEMENT, self._on_advertisement)
        await self._adapter.scan(True, self._is_active)

    async def stop(self) -> None:
        """Stop scanning."""
        self._adapter.device.remove_listener(Device.EVENT_ADVERTISEMENT, self._on_advertisement)
        await self._adapter.scan(False, self._is_active)

    def _on_advertisement(self, advertisement: Advertisement) -> None:
        seen = read_advertisement(advertisement)
        if not self.is_allowed_uuid(seen.service_uuids):
            return
        address = advertisement.address.to_string(False)
        before = self.seen_devices.get(address)
        name = seen.local_name or (before[0].name if before else None)
        details = (self._adapter, advertisement.address)
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
            uuids += [_uuid_text(UUID.from_bytes(value[i : i + size])) for i in range(0, len(value), size)]
    return AdvertisementData(name, makers, {}, uuids, None, advertisement.rssi, (advertisement,))


def _uuid_text(uuid: UUID) -> str:
    return normalize_uuid_str(uuid.to_hex_str("-").lower())


class VirtualClient(BaseBleakClient):
    """Client backend for devices found by :class:`VirtualScanner`."""

    def __init__(
        self,
        address_or_ble_device: BLEDevice | str,
        *,
        disconnected_callback: Callable[[], None] | None,
        timeout: float,
        virtual_adapter: VirtualAdapter,
        **_: Any,
    ) -> None:
        super().__init__(address_or_ble_device, disconnected_callback=disconnected_callback, timeout=timeout)
        self._adapter = virtual_adapter
        if isinstance(address_or_ble_device, BLEDevice):
            self._air_address = address_or_ble_device.details[1]
            self._name = address_or_ble_device.name
        else:
            self._air_address = hci.Address(self.address)
            self._name = None
        self._connection: Connection | None = None
        self._peer: Peer | None = None
        self._subscriptions: dict[int, Callable[[bytes], None]] = {}

    @property
    def name(self) -> str:
        """Advertised name, or the address with dashes."""
        return self._name or self.address.replace(":", "-")

    @property
    def mtu_size(self) -> int:
        """Negotiated MTU, bytes."""
        return self._connection.att_mtu if self._connection else 23

    @property
    def is_connected(self) -> bool:
        """Whether the link stands."""
        return self._connection is not None

    async def connect(self, pair: bool, **kwargs: Any) -> None:
        """Connect, agree on an MTU, discover; a half-made link is taken down again."""
        if self._connection is not None:
            raise BleakError("already connected")
        try:
            async with asyncio.timeout(self._timeout):
                await self._make_link()
                with self._gatt() as peer:
                    await peer.request_mtu(_MTU)
                    if pair:
                        await self.pair()
                    self.services = await self._discover(peer)
        except core.TimeoutError as error:
            raise TimeoutError(f"{self.address} did not answer") from error
        except core.ConnectionError as error:
            raise BleakError(str(error)) from error
        except BaseException:
            await self.disconnect()
            raise

    async def _make_link(self) -> None:
        # a little less than the whole timeout: bumble then cancels the attempt itself
        connection = await self._adapter.device.connect(
            self._air_address, transport=core.PhysicalTransport.LE, timeout=self._timeout * 0.95
        )
        self._connection, self._peer = connection, Peer(connection)
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)

    def _on_disconnection(self, _: int) -> None:
        self._connection = self._peer = None
        self.services = None
        self._subscriptions.clear()
        if self._disconnected_callback:
            self._disconnected_callback()

    @contextmanager
    def _gatt(self) -> Generator[Peer]:
        """The peer, and bumble's failures as the errors that callers of bleak expect."""
        if self._peer is None:
            raise BleakError("Not connected")
        try:
            yield self._peer
        except ATT_Error as error:
            raise BleakGATTProtocolError(int(error.error_code)) from error
        except core.TimeoutError as error:
            raise TimeoutError from error
        except asyncio.CancelledError:
            # bumble cancels the pending request when the link drops; nobody cancelled the caller
            task = asyncio.current_task()
            if self._connection is None and task is not None and not task.cancelling():
                raise BleakError("disconnected") from None
            raise
        except (core.InvalidStateError, core.ProtocolError) as error:
            raise BleakError(str(error)) from error

    async def _discover(self, peer: Peer) -> BleakGATTServiceCollection:
        found = BleakGATTServiceCollection()
        for service in await peer.discover_services():
            ours = BleakGATTService(service, service.handle, _uuid_text(service.uuid))
            found.add_service(ours)
            for characteristic in await service.discover_characteristics():
                seen = BleakGATTCharacteristic(
                    characteristic,
                    characteristic.handle,
                    _uuid_text(characteristic.uuid),
                    list(gatt_char_props_to_strs(int(characteristic.properties))),
                    lambda: self.mtu_size - 3,
                    ours,
                )
                found.add_characteristic(seen)
                for descriptor in await characteristic.discover_descriptors():
                    text = _uuid_text(descriptor.type)
                    found.add_descriptor(BleakGATTDescriptor(descriptor, descriptor.handle, text, seen))
        return found

    async def disconnect(self) -> None:
        """Take the link down; nothing when there is none."""
        if self._connection is not None:
            with suppress(core.BaseBumbleError):
                await self._connection.disconnect()

    async def pair(self, *args: Any, **kwargs: Any) -> None:
        """Pair with the wearable."""
        if self._connection is None:
            raise BleakError("Not connected")
        try:
            await self._connection.pair()
        except core.BaseBumbleError as error:
            raise BleakError(f"pairing failed: {error}") from error

    async def unpair(self) -> None:
        """Forget the wearable's keys and disconnect."""
        if keys := self._adapter.device.keystore:
            with suppress(KeyError):
                await keys.delete(str(self._air_address))
        await self.disconnect()

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **kwargs: Any
    ) -> bytearray:
        """Value of a characteristic."""
        with self._gatt() as peer:
            return bytearray(await peer.read_value(characteristic.obj))

    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **kwargs: Any
    ) -> bytearray:
        """Value of a descriptor."""
        with self._gatt() as peer:
            return bytearray(await peer.read_value(descriptor.obj))

    async def write_gatt_char(
        self, characteristic: BleakGATTCharacteristic, data: Any, response: bool
    ) -> None:
        """Write a characteristic."""
        with self._gatt() as peer:
            await peer.write_value(characteristic.obj, bytes(data), with_response=response)

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: Any) -> None:
        """Write a descriptor."""
        with self._gatt() as peer:
            await peer.write_value(descriptor.obj, bytes(data), with_response=True)

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: Callable[[bytearray], None], **kwargs: Any
    ) -> None:
        """Subscribe."""
        if characteristic.handle in self._subscriptions:
            raise BleakError("already notifying")

        def receive(value: bytes) -> None:
            callback(bytearray(value))

        with self._gatt() as peer:
            self._subscriptions[characteristic.handle] = receive
            try:
                await peer.subscribe(characteristic.obj, receive)
            except BaseException:
                self._subscriptions.pop(characteristic.handle, None)
                raise

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """Unsubscribe."""
        with self._gatt() as peer:
            receive = self._subscriptions.pop(characteristic.handle, None)
            if receive is not None:
                await peer.unsubscribe(characteristic.obj, receive)
