"""A virtual Bluetooth adapter: backend classes for bleak over bumble.

bleak's own front end runs unchanged on top, bumble's HCI, L2CAP, ATT and GATT
below. Only simulations and tests import this; a gateway never does.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from bleak.assigned_numbers import gatt_char_props_to_strs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakDBusError, BleakError, BleakGATTProtocolError
from bleak.uuids import normalize_uuid_str
from bumble import core, hci
from bumble.att import ATT_Error
from bumble.core import UUID, AdvertisingData
from bumble.device import Advertisement, Connection, Device, Peer
from bumble.host import Host
from bumble.keys import MemoryKeyStore, PairingKeys
from bumble.transport.common import AsyncPipeSink

from ingest.edge.radio import DEAF_S, MAX_LINKS, Radio
from ingest.edge.virtual_radio_air import Air, SimController

_MTU = 517
_ADAPTER_OPTION = "virtual_adapter"
#: ATT: what BlueZ says when the wearable has gone.
_UNLIKELY_ERROR = 0x0E
_GENERIC_ACCESS = "00001800-0000-1000-8000-00805f9b34fb"


@dataclass(frozen=True)
class Quirks:
    """What BlueZ (5.66, with bleak 3.1) does and the plain virtual radio does not; all off by default.

    Attributes
    ----------
    echoes_reads : bool
        A read value is delivered as a notification too where one is subscribed.
    leaks_duplicate : bool
        A client that lost its link and was not disconnected makes every later
        notification of the wearable come once more (hbldh/bleak#2002).
    has_small_mtu : bool
        ``mtu_size`` stays 23.
    hides_generic_access : bool
        Service 0x1800 is not shown.
    has_bluez_errors : bool
        Refusals and losses come as BlueZ's kinds of exception.
    needs_agent : bool
        Pairing fails until somebody has registered an agent.
    sticks_in_progress : bool
        After a connection attempt that failed every later one fails, until the
        device is removed.
    """

    echoes_reads: bool = False
    leaks_duplicate: bool = False
    has_small_mtu: bool = False
    hides_generic_access: bool = False
    has_bluez_errors: bool = False
    needs_agent: bool = False
    sticks_in_progress: bool = False


BLUEZ = Quirks(*[True] * 7)


class VirtualAdapter:
    """A central on the air, shared by any number of scanners and clients."""

    def __init__(self, air: Air, controller: SimController, device: Device, quirks: Quirks) -> None:
        self.device = device
        self.quirks = quirks
        #: Sessions that BlueZ keeps for lost clients, by address.
        self.leaks: Counter[str] = Counter()
        self.stuck: set[str] = set()
        self.has_agent = False
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
            self._air_address = address_or_ble_device.details["air"]
            self._name = address_or_ble_device.name
        else:
            self._air_address = hci.Address(self.address)
            self._name = None
        self._connection: Connection | None = None
        self._peer: Peer | None = None
        self._subscriptions: dict[int, Callable[[bytes], None]] = {}
        self._is_leaving = False
        self._has_leaked = False

    @property
    def name(self) -> str:
        """Advertised name, or the address with dashes."""
        return self._name or self.address.replace(":", "-")

    @property
    def mtu_size(self) -> int:
        """Negotiated MTU, bytes."""
        if self._connection is None or self._adapter.quirks.has_small_mtu:
            return 23
        return self._connection.att_mtu

    @property
    def is_connected(self) -> bool:
        """Whether the link stands."""
        return self._connection is not None

    async def connect(self, pair: bool, **kwargs: Any) -> None:
        """Connect, agree on an MTU, discover; a half-made link is taken down again."""
        if self._connection is not None:
            raise BleakError("already connected")
        self._adapter.check_present()
        if self.address in self._adapter.stuck:
            raise BleakDBusError("org.bluez.Error.InProgress", ["Operation already in progress"])
        try:
            async with asyncio.timeout(self._timeout):
                await self._make_link()
                with self._gatt() as peer:
                    await peer.request_mtu(_MTU)
                    if await self._keys() is not None:
                        await peer.connection.encrypt()
                    elif pair:
                        await self.pair()
                    self.services = await self._discover(peer)
        except core.TimeoutError as error:
            self._leave_stuck()
            raise TimeoutError(f"{self.address} did not answer") from error
        except core.ConnectionError as error:
            self._leave_stuck()
            raise BleakError(str(error)) from error
        except BaseException:
            self._leave_stuck()
            await self.disconnect()
            raise

    def _leave_stuck(self) -> None:
        if self._adapter.quirks.sticks_in_progress and self._connection is None:
            self._adapter.stuck.add(self.address)

    async def _keys(self) -> PairingKeys | None:
        assert self._connection is not None
        keystore = self._adapter.device.keystore
        return None if keystore is None else await keystore.get(str(self._connection.peer_address))

    async def _make_link(self) -> None:
        # a little less than the whole timeout: bumble then cancels the attempt itself
        connection = await self._adapter.device.connect(
            self._air_address, transport=core.PhysicalTransport.LE, timeout=self._timeout * 0.95
        )
        self._connection, self._peer = connection, Peer(connection)
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)

    def _on_disconnection(self, _: int) -> None:
        if self._subscriptions and not self._is_leaving:
            self._adapter.leaks[self.address] += 1
            self._has_leaked = True
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
                if self._adapter.quirks.has_bluez_errors:
                    raise BleakGATTProtocolError(_UNLIKELY_ERROR) from None
                raise BleakError("disconnected") from None
            raise
        except (core.InvalidStateError, core.ProtocolError) as error:
            raise BleakError(str(error)) from error

    async def _discover(self, peer: Peer) -> BleakGATTServiceCollection:
        found = BleakGATTServiceCollection()
        for service in await peer.discover_services():
            if self._adapter.quirks.hides_generic_access and _uuid_text(service.uuid) == _GENERIC_ACCESS:
                continue
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
        if self._has_leaked:
            self._adapter.leaks[self.address] -= 1
            self._has_leaked = False
        if self._connection is not None:
            self._is_leaving = True
            with suppress(core.BaseBumbleError):
                await self._connection.disconnect()

    async def pair(self, *args: Any, **kwargs: Any) -> None:
        """Pair with the wearable; nothing when a bond stands."""
        if self._connection is None:
            raise BleakError("Not connected")
        if self._connection.is_encrypted:
            return
        quirks = self._adapter.quirks
        if quirks.needs_agent and not self._adapter.has_agent:
            raise BleakDBusError("org.bluez.Error.AuthenticationFailed", ["Authentication Failed"])
        try:
            await self._connection.pair()
            await self._adapter.device.refresh_resolving_list()
        except core.BaseBumbleError as error:
            if quirks.has_bluez_errors:
                raise BleakDBusError("org.bluez.Error.AuthenticationFailed", [str(error)]) from error
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
            value = bytearray(await peer.read_value(characteristic.obj))
        receive = self._subscriptions.get(characteristic.handle)
        if receive is not None and self._adapter.quirks.echoes_reads:
            receive(bytes(value))
        return value

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
            leaks = self._adapter.leaks[self.address] if self._adapter.quirks.leaks_duplicate else 0
            for _ in range(1 + leaks):
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
