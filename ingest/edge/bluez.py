"""BlueZ beneath bleak: what bleak leaves to its caller on Linux.

bleak registers no pairing agent, so that pairing fails; it does not remove a
device that BlueZ goes on connecting for ever; and it does not notice that
bluetoothd is gone: its clients then look connected until somebody asks. On
other systems everything here does nothing, because nothing is missing there.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from ingest.edge.errors import RadioError

if TYPE_CHECKING or sys.platform == "linux":
    from dbus_fast import BusType, DBusFastError, Message, MessageType, Variant
    from dbus_fast.aio import MessageBus

logger = logging.getLogger(__name__)

IS_BLUEZ: Final = sys.platform == "linux"
ADAPTER: Final = "hci0"
#: bluetoothd answers at once or, when it hangs, never.
CALL_TIMEOUT_S: Final = 10.0
#: Powering up loads firmware; a fresh adapter refuses the first attempts.
POWER_TIMEOUT_S: Final = 20.0
_RETRY_S: Final = 0.2

_SERVICE: Final = "org.bluez"
_MANAGER: Final = "/org/bluez"
_AGENT: Final = "/org/flarecast/agent"
_ADAPTER_INTERFACE: Final = "org.bluez.Adapter1"
_DEVICE_INTERFACE: Final = "org.bluez.Device1"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_OBJECTS: Final = "org.freedesktop.DBus.ObjectManager"
_DAEMON: Final = "org.freedesktop.DBus"

_ABSENT_SERVICE: Final = {
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.NoReply",
}
_ABSENT_OBJECT: Final = "org.freedesktop.DBus.Error.UnknownObject"
_NO_SUCH_DEVICE: Final = "org.bluez.Error.DoesNotExist"
_NOT_YET: Final = {"org.bluez.Error.Busy", "org.bluez.Error.Failed", "org.bluez.Error.NotReady"}
#: An attempt that BlueZ goes on with although nobody waits for it any more.
IN_PROGRESS: Final = "org.bluez.Error.InProgress"

#: What the agent agrees to: confirming that a pairing may go on, without anything to show or type.
_CONSENTS: Final = {"RequestConfirmation", "RequestAuthorization"}
_ACKNOWLEDGED: Final = {"Release", "Cancel"}


class AdapterState(Enum):
    """What BlueZ says of an adapter; the values are words for a person."""

    NO_SERVICE = "bluetoothd is not running"
    ABSENT = "no such adapter"
    OFF = "adapter is switched off"
    ON = "adapter is on"


class ReplyError(RadioError):
    """BlueZ refused; `name` is the D-Bus name of the refusal."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"BlueZ: {text or name}")
        self.name = name


def is_in_progress(error: BaseException) -> bool:
    """Whether an error of bleak, or of this module, says that BlueZ is stuck in an earlier attempt."""
    return IN_PROGRESS in (getattr(error, "dbus_error", None), getattr(error, "name", None))


class _Connection:
    """A connection to the system bus, for calls to bluetoothd."""

    def __init__(self, bus: "MessageBus") -> None:
        self.bus = bus

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncGenerator["_Connection"]:
        connection = await cls.connect()
        try:
            yield connection
        finally:
            connection.bus.disconnect()

    @classmethod
    async def connect(cls) -> "_Connection":
        bus = MessageBus(bus_type=BusType.SYSTEM)
        try:
            await bus.connect()
        except (DBusFastError, OSError, EOFError) as error:
            bus.disconnect()
            raise RadioError(f"no D-Bus system bus: {error}") from error
        return cls(bus)

    async def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *body: Any,
        destination: str = _SERVICE,
    ) -> list[Any]:
        """Body of the answer."""
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
        )
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                reply = await self.bus.call(message)
        except TimeoutError as error:
            raise RadioError(f"bluetoothd did not answer {member}") from error
        except (DBusFastError, OSError, EOFError) as error:
            raise RadioError(f"D-Bus connection lost: {error}") from error
        if reply.message_type is MessageType.ERROR:
            raise ReplyError(reply.error_name or "", " ".join(str(part) for part in reply.body))
        return reply.body

    async def get(self, path: str, interface: str, name: str) -> Any:
        """Value of a property."""
        (value,) = await self.call(path, _PROPERTIES, "Get", "ss", interface, name)
        return value.value

    async def set(self, path: str, interface: str, name: str, value: "Variant") -> None:
        """Set a property."""
        await self.call(path, _PROPERTIES, "Set", "ssv", interface, name, value)

    async def state(self, adapter: str) -> AdapterState:
        """State of an adapter."""
        try:
            is_on = await self.get(_path(adapter), _ADAPTER_INTERFACE, "Powered")
        except ReplyError as error:
            return AdapterState.NO_SERVICE if error.name in _ABSENT_SERVICE else AdapterState.ABSENT
        return AdapterState.ON if is_on else AdapterState.OFF

    async def power(self, adapter: str, is_on: bool) -> None:
        """Switch an adapter; tries again while it is not ready."""
        end = asyncio.get_running_loop().time() + POWER_TIMEOUT_S
        while True:
            try:
                await self.set(_path(adapter), _ADAPTER_INTERFACE, "Powered", Variant("b", is_on))
            except ReplyError as error:
                if error.name not in _NOT_YET or asyncio.get_running_loop().time() > end:
                    raise await self._explained(adapter, error) from error
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _explained(self, adapter: str, error: ReplyError) -> RadioError:
        state = await self.state(adapter)
        if state in (AdapterState.NO_SERVICE, AdapterState.ABSENT):
            return RadioError(f"{adapter}: {state.value}")
        return error

    async def find_device(self, adapter: str, address: str) -> str | None:
        """Object path of a device; its identity address counts, which a private address hides."""
        (objects,) = await self.call("/", _OBJECTS, "GetManagedObjects")
        for path, interfaces in objects.items():
            device = interfaces.get(_DEVICE_INTERFACE, {})
            is_ours = path.startswith(f"{_path(adapter)}/")
            if is_ours and device and device["Address"].value.upper() == address.upper():
                return path
        return None


def _path(adapter: str) -> str:
    return f"{_MANAGER}/{adapter}"


class _Agent:
    """Agrees to pair, without a display or a key, with expected devices only.

    An agent that agreed with everybody would let any device in reach bond.
    """

    def __init__(self, expected: Collection[str] | None) -> None:
        self._expected = None if expected is None else {address.upper() for address in expected}
        self.refusals = 0

    async def register(self, connection: _Connection, adapter: str) -> None:
        """Become the agent of the system: bleak pairs on a D-Bus connection of its own."""
        connection.bus.add_message_handler(self._answer)
        await connection.call(
            _MANAGER, "org.bluez.AgentManager1", "RegisterAgent", "os", _AGENT, "NoInputNoOutput"
        )
        await connection.call(_MANAGER, "org.bluez.AgentManager1", "RequestDefaultAgent", "o", _AGENT)
        # without it a pairing leaves no bond
        await connection.set(_path(adapter), _ADAPTER_INTERFACE, "Pairable", Variant("b", True))

    def _answer(self, message: "Message") -> "Message | None":
        if message.message_type is not MessageType.METHOD_CALL or message.path != _AGENT:
            return None
        if message.member in _ACKNOWLEDGED or (message.member in _CONSENTS and self._expects(message)):
            return Message.new_method_return(message)
        self.refusals += 1
        logger.warning("pairing request refused request=%s", message.member)
        return Message.new_error(message, "org.bluez.Error.Rejected", "not expected")

    def _expects(self, message: "Message") -> bool:
        # .../dev_F0_00_00_00_00_01
        address = message.body[0].rpartition("/dev_")[2].replace("_", ":")
        return self._expected is None or address.upper() in self._expected


@asynccontextmanager
async def agent(adapter: str = ADAPTER, *, expected: Collection[str] | None = None) -> AsyncGenerator[None]:
    """Be the pairing agent for the time of the context.

    Parameters
    ----------
    adapter : str
        Name of the adapter, which is made pairable.
    expected : collection of str, optional
        Addresses it agrees to pair with; all when not given.

    Raises
    ------
    RadioError
        When there is no bluetoothd or no such adapter.
    """
    if not IS_BLUEZ:
        yield
        return
    async with _Connection.open() as connection:
        # the end of the connection unregisters it
        await _Agent(expected).register(connection, adapter)
        yield


async def remove_device(address: str, adapter: str = ADAPTER) -> bool:
    """Make BlueZ forget a device, its bond too; False when it does not know it.

    Ends an attempt that is in progress for ever. The device has to be found by a
    scan before it can be connected again.
    """
    if not IS_BLUEZ:
        return False
    async with _Connection.open() as connection:
        path = await connection.find_device(adapter, address)
        if path is None:
            return False
        try:
            await connection.call(_path(adapter), _ADAPTER_INTERFACE, "RemoveDevice", "o", path)
        except ReplyError as error:
            if error.name != _NO_SUCH_DEVICE:
                raise
            return False
        return True


async def adapter_state(adapter: str = ADAPTER) -> AdapterState:
    """Whether bluetoothd runs, the adapter is there, and switched on; `ON` on other systems."""
    if not IS_BLUEZ:
        return AdapterState.ON
    async with _Connection.open() as connection:
        return await connection.state(adapter)


class BluezHost:
    """The Bluetooth service of a gateway (:class:`ingest.edge.radio.RadioHost`).

    Parameters
    ----------
    adapter : str
        Name of the adapter.
    expected : collection of str, optional
        Addresses that may bond; all when not given.
    on_loss : callable, optional
        Called with words when bluetoothd or the adapter goes away. bleak notices
        neither the end of bluetoothd nor what became of its links.
    """

    def __init__(
        self,
        adapter: str = ADAPTER,
        *,
        expected: Collection[str] | None = None,
        on_loss: Callable[[str], None] | None = None,
    ) -> None:
        self._adapter = adapter
        self._expected = expected
        self._on_loss = on_loss
        self._connection: _Connection | None = None
        self._preparing = asyncio.Lock()

    async def prepare(self) -> None:
        """Adapter on, agent registered, losses watched; does nothing while all of it stands."""
        if not IS_BLUEZ:
            return
        # many sessions start at once, and one agent is enough
        async with self._preparing:
            if (
                self._connection is not None
                and await self._connection.state(self._adapter) is AdapterState.ON
            ):
                return
            await self.aclose()
            connection = await _Connection.connect()
            try:
                await connection.power(self._adapter, True)
                await _Agent(self._expected).register(connection, self._adapter)
                await self._watch(connection)
            except BaseException:
                connection.bus.disconnect()
                raise
            self._connection = connection

    async def forget_device(self, address: str) -> None:
        """Remove what BlueZ remembers of a device."""
        await remove_device(address, self._adapter)

    async def restart_adapter(self) -> None:
        """Switch the adapter off and on."""
        if not IS_BLUEZ:
            return
        async with _Connection.open() as connection:
            await connection.power(self._adapter, False)
            await connection.power(self._adapter, True)

    async def aclose(self) -> None:
        """Unregister the agent."""
        connection = self._release()
        if connection is not None:
            # how the connection ended is of no interest any more
            with suppress(DBusFastError, OSError, EOFError):
                await connection.bus.wait_for_disconnect()

    def _release(self) -> _Connection | None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.bus.disconnect()
        return connection

    async def _watch(self, connection: _Connection) -> None:
        connection.bus.add_message_handler(self._on_signal)
        rules = (
            f"type='signal',sender='{_DAEMON}',member='NameOwnerChanged',arg0='{_SERVICE}'",
            f"type='signal',sender='{_SERVICE}',interface='{_OBJECTS}',member='InterfacesRemoved'",
            f"type='signal',sender='{_SERVICE}',interface='{_PROPERTIES}',path='{_path(self._adapter)}'",
        )
        for rule in rules:
            await connection.call(
                "/org/freedesktop/DBus", _DAEMON, "AddMatch", "s", rule, destination=_DAEMON
            )

    def _on_signal(self, message: "Message") -> None:
        if message.message_type is MessageType.SIGNAL and (loss := self._loss(message)):
            logger.error("adapter lost adapter=%s reason=%s", self._adapter, loss.value)
            # a daemon that comes back knows no agent
            self._release()
            if self._on_loss is not None:
                self._on_loss(loss.value)

    def _loss(self, message: "Message") -> AdapterState | None:
        match message.member, message.body:
            case "NameOwnerChanged", [name, before, _] if name == _SERVICE and before:
                return AdapterState.NO_SERVICE
            case "InterfacesRemoved", [path, names] if path == _path(self._adapter):
                return AdapterState.ABSENT if _ADAPTER_INTERFACE in names else None
            case "PropertiesChanged", [name, changed, _] if name == _ADAPTER_INTERFACE:
                is_off = message.path == _path(self._adapter) and "Powered" in changed
                return AdapterState.OFF if is_off and not changed["Powered"].value else None
            case _:
                return None
