"""The client backend of the virtual radio: bleak's calls as bumble's."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

from bleak.assigned_numbers import gatt_char_props_to_strs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakDBusError, BleakError, BleakGATTProtocolError
from bleak.uuids import normalize_uuid_str
from bumble import core, hci
from bumble.att import ATT_Error
from bumble.core import UUID
from bumble.device import Connection, Peer
from bumble.keys import PairingKeys

from ingest.edge.virtual_radio_adapter import VirtualAdapter

_MTU = 517
#: ATT: what BlueZ says when the wearable has gone.
_UNLIKELY_ERROR = 0x0E
_GENERIC_ACCESS = "00001800-0000-1000-8000-00805f9b34fb"


def uuid_text(uuid: UUID) -> str:
    """UUID as bleak writes it."""
    return normalize_uuid_str(uuid.to_hex_str("-").lower())


class VirtualClient(BaseBleakClient):
    """Client backend for devices found on the air."""

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
        # handles whose reads are notified too
        self._echoing: set[int] = set()
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
        attempt = asyncio.ensure_future(
            self._adapter.device.connect(
                self._air_address, transport=core.PhysicalTransport.LE, timeout=self._timeout * 0.95
            )
        )
        try:
            connection = await asyncio.shield(attempt)
        except asyncio.CancelledError:
            await self._call_off(attempt)
            raise
        self._connection, self._peer = connection, Peer(connection)
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)

    async def _call_off(self, attempt: "asyncio.Future[Connection]") -> None:
        """End an attempt whose caller has gone; bumble would leave the controller connecting for ever."""
        with suppress(core.BaseBumbleError, asyncio.TimeoutError):
            await self._adapter.device.cancel_connection()
        # it may have been made at the same moment: then it is let go
        with suppress(core.BaseBumbleError, asyncio.TimeoutError, asyncio.CancelledError):
            await (await attempt).disconnect()

    def _on_disconnection(self, _: int) -> None:
        if self._subscriptions and not self._is_leaving:
            self._adapter.leaks[self.address] += 1
            self._has_leaked = True
        self._connection = self._peer = None
        self.services = None
        self._subscriptions.clear()
        self._echoing.clear()
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
            if self._adapter.quirks.hides_generic_access and uuid_text(service.uuid) == _GENERIC_ACCESS:
                continue
            ours = BleakGATTService(service, service.handle, uuid_text(service.uuid))
            found.add_service(ours)
            for characteristic in await service.discover_characteristics():
                seen = BleakGATTCharacteristic(
                    characteristic,
                    characteristic.handle,
                    uuid_text(characteristic.uuid),
                    list(gatt_char_props_to_strs(int(characteristic.properties))),
                    lambda: self.mtu_size - 3,
                    ours,
                )
                found.add_characteristic(seen)
                for descriptor in await characteristic.discover_descriptors():
                    text = uuid_text(descriptor.type)
                    found.add_descriptor(BleakGATTDescriptor(descriptor, descriptor.handle, text, seen))
        return found

    async def disconnect(self) -> None:
        """Take the link down; nothing when there is none."""
        if self._has_leaked:
            self._adapter.leaks[self.address] -= 1
            self._has_leaked = False
        if self._connection is not None:
            self._is_leaving = True
            # who gives up waiting does not keep the link
            self._leave = asyncio.ensure_future(self._end(self._connection))
            await asyncio.shield(self._leave)

    async def _end(self, connection: Connection) -> None:
        await asyncio.sleep(self._adapter.quirks.holds_link_s)
        with suppress(core.BaseBumbleError):
            await connection.disconnect()

    async def pair(self, *args: Any, **kwargs: Any) -> None:
        """Pair with the wearable; nothing when a bond stands."""
        if self._connection is None:
            raise BleakError("Not connected")
        if self._connection.is_encrypted:
            return
        quirks = self._adapter.quirks
        if quirks.needs_agent and not self._adapter.agrees_to(self.address):
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
        if receive is not None and characteristic.handle in self._echoing:
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
        quirks = self._adapter.quirks
        by_socket = not kwargs.get("bluez", {}).get("use_start_notify", True)

        def receive(value: bytes) -> None:
            leaks = self._adapter.leaks[self.address] if quirks.leaks_duplicate else 0
            for _ in range(1 + leaks):
                callback(bytearray(value))

        if quirks.echoes_reads and not by_socket:
            self._echoing.add(characteristic.handle)
        with self._gatt() as peer:
            if quirks.loses_sockets and by_socket:
                await self.disconnect()
                raise BleakError("disconnected")
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
            self._echoing.discard(characteristic.handle)
            if receive is not None:
                await peer.unsubscribe(characteristic.obj, receive)
