"""The air of the virtual radio: bumble's link with range, and wearables hosted on it.

bumble runs the whole Bluetooth stack of both sides; only the air is ours. Five
things of bumble 0.0.236 are put right here, each marked where it happens.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from enum import Enum, auto
from typing import Any

from bumble import data_types, hci, ll
from bumble.att import ATT_PDU, ATT_Error, Attribute
from bumble.controller import Controller
from bumble.core import UUID, AdvertisingData, PhysicalTransport
from bumble.device import Connection, Device
from bumble.gatt import Characteristic as GattCharacteristic
from bumble.gatt import CharacteristicValue
from bumble.gatt import Service as GattService
from bumble.host import Host
from bumble.keys import MemoryKeyStore
from bumble.link import LocalLink
from bumble.pairing import PairingConfig, PairingDelegate
from bumble.transport.common import AsyncPipeSink

from devices.sim.wearable import Characteristic, Property, Wearable

#: Silence after which both ends of a link know that it is lost, seconds.
SUPERVISION_TIMEOUT_S = 0.5
ADVERTISING_INTERVAL_MS = 20
_APPLICATION_ERROR = 0x80

_PROPERTIES = {
    Property.READ: GattCharacteristic.Properties.READ,
    Property.WRITE: GattCharacteristic.Properties.WRITE,
    Property.WRITE_WITHOUT_RESPONSE: GattCharacteristic.Properties.WRITE_WITHOUT_RESPONSE,
    Property.NOTIFY: GattCharacteristic.Properties.NOTIFY,
}


if not logging.getLogger("bumble").isEnabledFor(logging.DEBUG):
    # bumble words every packet, in color, before its log asks whether anybody reads it: a third of all work
    for _packet in (ATT_PDU, hci.HCI_Command, hci.HCI_Event, hci.HCI_AclDataPacket):
        _packet.__str__ = object.__repr__


class Air(LocalLink):
    """What an air gap has and bumble's link lacks: range and the loss of a link."""

    def __init__(self) -> None:
        super().__init__()
        self._away: set[Controller] = set()

    def set_in_range(self, controller: Controller, is_in_range: bool) -> None:
        """Put a controller out of range, silently, or back; its links time out while it is away."""
        if is_in_range:
            self._away.discard(controller)
            return
        self._away.add(controller)
        asyncio.get_running_loop().call_later(SUPERVISION_TIMEOUT_S, self._supervise, controller)

    def _supervise(self, controller: Controller) -> None:
        if controller not in self._away:
            return
        for link in list(controller.le_connections.values()):
            peer = self.find_le_controller(link.peer_address)
            controller.on_le_disconnected(link, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)
            if peer is not None:
                _lose_peer(peer, link.self_address)

    def send_advertising_pdu(self, sender_controller: Controller, packet: ll.AdvertisingPdu) -> None:
        """Deliver only to those who listen: to everybody would be quadratic in wearables."""
        if sender_controller in self._away:
            return
        loop = asyncio.get_running_loop()
        is_announcement = isinstance(packet, ll.AdvInd | ll.AdvExtInd)
        for controller in self.controllers:
            if controller is sender_controller or controller in self._away:
                continue
            if is_announcement and not (controller.le_scan_enable or controller.pending_le_connection):
                continue
            loop.call_soon(controller.on_ll_advertising_pdu, packet)

    def send_acl_data(
        self,
        sender_controller: Controller,
        destination_address: hci.Address,
        transport: PhysicalTransport,
        data: bytes,
    ) -> None:
        """Deliver under the address the link was made with (bumble always takes the random one)."""
        peer = self.find_le_controller(destination_address)
        link = sender_controller.le_connections.get(destination_address)
        if peer is None or link is None or peer in self._away or sender_controller in self._away:
            return
        asyncio.get_running_loop().call_soon(peer.on_link_acl_data, link.self_address, transport, data)

    def send_ll_control_pdu(
        self, sender_address: hci.Address, receiver_address: hci.Address, packet: ll.ControlPdu
    ) -> None:
        """Deliver a link-layer message unless either side is away."""
        ends = (self.find_le_controller(sender_address), self.find_le_controller(receiver_address))
        if not any(end in self._away for end in ends if end is not None):
            super().send_ll_control_pdu(sender_address, receiver_address, packet)


def _lose_peer(controller: Controller, address: hci.Address) -> None:
    for link in list(controller.le_connections.values()):
        if link.peer_address == address:
            controller.on_le_disconnected(link, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)


class SimController(Controller):
    """Controller that completes a cancelled connection attempt.

    bumble's never does: after one connect timeout no later connect would work.
    """

    def on_hci_le_create_connection_cancel_command(self, command: Any) -> hci.HCI_StatusReturnParameters:
        """Cancel as Bluetooth Core Vol 4, Part E, 7.8.13 says: status first, completion event after."""
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        cancelled = hci.HCI_LE_Connection_Complete_Event(
            status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
            connection_handle=0,
            role=hci.Role.CENTRAL,
            peer_address_type=pending.peer_address.address_type,
            peer_address=pending.peer_address,
            connection_interval=0,
            peripheral_latency=0,
            supervision_timeout=0,
            central_clock_accuracy=0,
        )
        asyncio.get_running_loop().call_soon(self.send_hci_packet, cancelled)
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)


class ReadFault(Enum):
    """What can be wrong with a characteristic that is read."""

    ATT_ERROR = auto()
    NEVER_ANSWERS = auto()


class _Consent(PairingDelegate):
    """Says yes or no to pairing, without a display or a key."""

    def __init__(self, is_willing: bool) -> None:
        super().__init__(io_capability=PairingDelegate.NO_OUTPUT_NO_INPUT)
        self._is_willing = is_willing

    async def accept(self) -> bool:
        return self._is_willing


class HostedWearable:
    """A wearable on the air, as GATT peripheral.

    Parameters
    ----------
    air : Air
        Where it is heard.
    wearable : Wearable
        What it is; gets its link from here.
    irk : bytes, optional
        Key of its resolvable private addresses; its own address is then its
        identity, and the air never hears it.
    encrypted, missing : collection of str
        Characteristics that can be read only when bonded; that it lacks.
    is_willing_to_pair : bool
        Whether it agrees to pair.
    """

    def __init__(
        self,
        air: Air,
        wearable: Wearable,
        *,
        irk: bytes | None = None,
        encrypted: Collection[str] = (),
        missing: Collection[str] = (),
        is_willing_to_pair: bool = True,
    ) -> None:
        self._air = air
        self._wearable = wearable
        self._controller = SimController(wearable.name, link=air)
        self._device = Device(
            name=wearable.name,
            address=hci.Address(wearable.address),
            host=Host(self._controller, AsyncPipeSink(self._controller)),
        )
        self._irk = irk
        self._encrypted = encrypted
        self._characteristics: dict[str, GattCharacteristic[bytes]] = {}
        #: Faults of reading, by characteristic.
        self.read_faults: dict[str, ReadFault] = {}
        self._connection: Connection | None = None
        self._subscription = asyncio.Event()
        self._announcing: asyncio.Task[None] | None = None
        self._is_open = False
        for service in wearable.services:
            hosted = [self._host(each) for each in service.characteristics if each.uuid not in missing]
            self._device.add_service(GattService(UUID(service.uuid), hosted))
        if irk is not None:
            # rotation is ours: bumble's re-sends the old address
            self._device.irk, self._device.le_privacy_enabled, self._device.le_rpa_timeout = irk, True, 0
        self._device.keystore = MemoryKeyStore()
        self._device.pairing_config_factory = lambda _: PairingConfig(
            sc=True, mitm=False, bonding=True, delegate=_Consent(is_willing_to_pair)
        )
        self._device.advertising_data = _advertisement(wearable)
        self._device.on(Device.EVENT_CONNECTION, self._on_connection)

    async def start(self) -> None:
        """Switch on and advertise."""
        self._is_open = True
        self._wearable.link = self
        await self._device.power_on()
        await self._advertise()

    async def aclose(self) -> None:
        """Drop the link, stop advertising, leave the air."""
        self._is_open = False
        self._wearable.link = None
        # a central that has left the air answers no more
        with suppress(TimeoutError):
            async with asyncio.timeout(SUPERVISION_TIMEOUT_S):
                await self.drop()
        if self._announcing is not None:
            await self._announcing
        if self._device.is_advertising:
            await self._device.stop_advertising()
        await self._device.power_off()
        self._air.remove_controller(self._controller)

    @property
    def is_connected(self) -> bool:
        """Whether a central holds the link."""
        return self._connection is not None

    async def notify(self, characteristic: str, value: bytes) -> bool:
        """Send a notification; False when nobody has subscribed."""
        connection = self._connection
        if connection is None or not self._is_subscribed(characteristic):
            return False
        # forced: the subscription has just been looked up, and one link needs no task of its own
        await self._device.gatt_server.notify_subscriber(
            connection, self._characteristics[characteristic], value, force=True
        )
        return True

    async def until_subscribed(self, characteristic: str) -> None:
        """Wait until a central has subscribed."""
        while not self._is_subscribed(characteristic):
            self._subscription.clear()
            await self._subscription.wait()

    async def drop(self) -> None:
        """End the link from the wearable's side."""
        if self._connection is not None:
            await self._connection.disconnect()

    def set_in_range(self, is_in_range: bool) -> None:
        """Walk out of range without a word, or come back."""
        self._air.set_in_range(self._controller, is_in_range)

    async def rotate_address(self) -> str:
        """Take the next resolvable private address; returns it."""
        if self._irk is None:
            raise ValueError("only a wearable with an identity key changes its address")
        if self._device.is_advertising:
            await self._device.stop_advertising()
        address = hci.Address.generate_private_address(self._irk)
        await self._device.send_sync_command(hci.HCI_LE_Set_Random_Address_Command(random_address=address))
        self._device.random_address = address
        await self._advertise()
        return address.to_string(False)

    async def _read(self, uuid: str, read: Callable[[], bytes]) -> bytes:
        match self.read_faults.get(uuid):
            case ReadFault.ATT_ERROR:
                raise ATT_Error(_APPLICATION_ERROR)
            case ReadFault.NEVER_ANSWERS:
                await asyncio.Event().wait()
            case None:
                pass
        return read()

    def _is_subscribed(self, characteristic: str) -> bool:
        if self._connection is None:
            return False
        subscriptions = self._device.gatt_server.subscribers.get(self._connection, {})
        state = subscriptions.get(self._characteristics[characteristic].handle, b"\0\0")
        return bool(state[0] & 1)

    def _host(self, characteristic: Characteristic) -> GattCharacteristic[bytes]:
        properties, permissions = GattCharacteristic.Properties(0), Attribute.Permissions(0)
        for ours, theirs in _PROPERTIES.items():
            if ours in characteristic.properties:
                properties |= theirs
        if characteristic.read is not None:
            permissions |= Attribute.Permissions.READABLE
        if characteristic.uuid in self._encrypted:
            permissions |= Attribute.Permissions.READ_REQUIRES_ENCRYPTION
        if characteristic.write is not None:
            permissions |= Attribute.Permissions.WRITEABLE
        value = self._value(characteristic)
        hosted = GattCharacteristic(UUID(characteristic.uuid), properties, permissions, value)
        self._characteristics[characteristic.uuid] = hosted
        if Property.NOTIFY in characteristic.properties:
            hosted.on(hosted.EVENT_SUBSCRIPTION, lambda *_: self._subscription.set())
        return hosted

    def _on_connection(self, connection: Connection) -> None:
        self._connection = connection
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)

    def _on_disconnection(self, _: int) -> None:
        self._connection = None
        if self._is_open:
            self._announcing = asyncio.get_running_loop().create_task(self._advertise())

    def _value(self, characteristic: Characteristic) -> CharacteristicValue[bytes]:
        read, write = characteristic.read, characteristic.write
        reader: Callable[[Any], Any] | None = (
            None if read is None else lambda _: self._read(characteristic.uuid, read)
        )
        return CharacteristicValue(
            read=reader, write=None if write is None else lambda _, value: write(value)
        )

    async def _advertise(self) -> None:
        # legacy advertising: every controller, and every kernel, hears it
        await self._device.start_advertising(
            advertising_interval_min=ADVERTISING_INTERVAL_MS, advertising_interval_max=ADVERTISING_INTERVAL_MS
        )


def _advertisement(wearable: Wearable) -> bytes:
    flags = AdvertisingData.Flags.LE_GENERAL_DISCOVERABLE_MODE | AdvertisingData.Flags.BR_EDR_NOT_SUPPORTED
    parts: list[Any] = [data_types.Flags(flags)]
    # 31 bytes hold the flags and either one long service or several short ones; a name that
    # does not fit beside them goes into the scan response on real wearables, here it is cut
    uuids = [UUID(uuid) for uuid in wearable.advertised]
    if short := [uuid for uuid in (_shortened(uuid) for uuid in uuids) if len(uuid.to_bytes()) == 2]:
        parts.append(data_types.IncompleteListOf16BitServiceUUIDs(short))
    if long := [uuid for uuid in (_shortened(uuid) for uuid in uuids) if len(uuid.to_bytes()) == 16]:
        parts.append(data_types.IncompleteListOf128BitServiceUUIDs(long))
    room = 31 - len(bytes(AdvertisingData(parts))) - 2
    name = wearable.name.encode()
    if len(name) <= room:
        parts.append(data_types.CompleteLocalName(wearable.name))
    else:
        parts.append(data_types.ShortenedLocalName(name[:room].decode(errors="ignore")))
    return bytes(AdvertisingData(parts))


_SIG_TAIL = "-0000-1000-8000-00805f9b34fb"


def _shortened(uuid: UUID) -> UUID:
    text = uuid.to_hex_str("-").lower()
    return UUID(text[4:8]) if text.endswith(_SIG_TAIL) and text.startswith("0000") else uuid
