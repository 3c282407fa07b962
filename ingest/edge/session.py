"""One connection to one wearable: connect, subscribe, read, write, and always let go.

Nothing leaves here but the errors of :mod:`ingest.edge.errors`: the backends of
bleak raise a dozen kinds for the same three situations.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.exc import BleakCharacteristicNotFoundError, BleakError, BleakGATTProtocolError

from devices.clock import Clock
from devices.codec import device_information
from devices.drivers.session import Notification
from devices.errors import DecodeError
from devices.ids import DeviceId
from ingest.edge.errors import (
    AttributeRefusedError,
    IdentityError,
    LinkError,
    LinkTimeoutError,
    NotSeenError,
    PairingError,
    RadioError,
)
from ingest.edge.radio import Radio

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: BlueZ's word for an attempt that it never ends; twice is no coincidence.
IN_PROGRESS = "InProgress"
STUCK_ATTEMPTS = 2
#: Notifications stored in one transaction at most.
GATHER_MOST = 100


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to wait, seconds of real time.

    Attributes
    ----------
    scan_s, connect_s, operation_s : float
        Until the wearable advertises; is connected and discovered; answers one
        read, write or subscription.
    backoff_first_s, backoff_most_s : float
        Pause after the first failure, doubled with each further one.
    silence_s : float
        A live wearable that notifies nothing for so long is reconnected, however
        well its link looks; a driver may state its own.
    """

    scan_s: float = 30.0
    connect_s: float = 20.0
    operation_s: float = 10.0
    backoff_first_s: float = 0.25
    backoff_most_s: float = 60.0
    silence_s: float = 60.0


class NotificationStream:
    """Notifications in the order they came; what has arrived is given out even after a drop."""

    def __init__(self, clock: Clock, on_arrival: Callable[[], None]) -> None:
        self._clock = clock
        self._on_arrival = on_arrival
        self._waiting: deque[Notification] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._end: Exception | None = None

    def receive(self, _: BleakGATTCharacteristic, payload: bytearray) -> None:
        """Stamp and keep one notification (bleak's callback)."""
        if self._end is not None:
            return
        self._waiting.append(Notification(bytes(payload), self._clock()))
        self._on_arrival()
        self._rouse()

    def close(self, reason: Exception) -> None:
        """No more will come; `reason` is raised once everything has been taken."""
        if self._end is None:
            self._end = reason
        self._rouse()

    async def take(self, timeout_s: float | None = None, *, gather_s: float = 0.0) -> list[Notification]:
        """All that wait, at least one; see :class:`devices.drivers.session.Stream`."""
        if not self._waiting and self._end is None:
            self._wake = asyncio.get_running_loop().create_future()
            if timeout_s is None:
                await self._wake
            else:
                async with asyncio.timeout(timeout_s):
                    await self._wake
        while gather_s and self._end is None:
            count = len(self._waiting)
            await asyncio.sleep(gather_s)
            # a stalled link delivers in bursts: stay while more comes, so that it is judged together
            if len(self._waiting) == count or len(self._waiting) >= GATHER_MOST:
                break
        if self._waiting:
            batch = list(self._waiting)
            self._waiting.clear()
            return batch
        assert self._end is not None
        raise self._end

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class BleSession:
    """A :class:`devices.drivers.session.Session` over a connected bleak client."""

    def __init__(
        self,
        client: BleakClient,
        device: DeviceId,
        connection: str,
        *,
        clock: Clock,
        cursor: Callable[[str], int | None],
        on_arrival: Callable[[], None],
        on_listening: Callable[[bool], None],
        operation_s: float,
        has_lost_socket: set[str] | None = None,
    ) -> None:
        self._client = client
        #: Addresses that lost their link when BlueZ was asked for a socket of notifications.
        self._has_lost_socket: set[str] = set() if has_lost_socket is None else has_lost_socket
        self._device = device
        self._clock = clock
        self._cursor = cursor
        self._on_arrival = on_arrival
        self._on_listening = on_listening
        self._operation_s = operation_s
        self._streams: set[NotificationStream] = set()
        self._end: Exception | None = None
        #: Name of this connection, unique for the gateway.
        self.connection = connection
        #: When the first subscription stood, microseconds UTC.
        self.subscribed_utc = clock()

    @property
    def device(self) -> DeviceId:
        """Pseudonymous id of the wearable."""
        return self._device

    def now(self) -> int:
        """The gateway's clock, microseconds UTC."""
        return self._clock()

    def cursor(self, log: str) -> int | None:
        """How far `log` has been read and stored."""
        return self._cursor(log)

    def has(self, characteristic: str) -> bool:
        """Whether the wearable offers the characteristic."""
        with suppress(BleakError):
            return self._client.services.get_characteristic(characteristic) is not None
        return False

    def end(self, reason: Exception) -> None:
        """The link is gone (or no longer wanted): streams end after what has arrived."""
        self._end = self._end or reason
        self._on_listening(False)
        for stream in self._streams:
            stream.close(reason)

    async def read(self, characteristic: str) -> bytes:
        """Value of a characteristic."""
        return bytes(await self._attempt(self._client.read_gatt_char(characteristic)))

    async def write(self, characteristic: str, value: bytes) -> None:
        """Write with response where the wearable offers it, without otherwise."""
        found = self._client.services.get_characteristic(characteristic) if self.has(characteristic) else None
        response = found is None or "write" in found.properties
        await self._attempt(self._client.write_gatt_char(characteristic, value, response=response))

    @asynccontextmanager
    async def notifications(self, characteristic: str) -> AsyncGenerator[NotificationStream]:
        """Subscription for the time of the context."""
        stream = NotificationStream(self._clock, self._on_arrival)
        # known before it stands: a drop while subscribing must end it too
        self._streams.add(stream)
        try:
            await self._subscribe(characteristic, stream)
            if len(self._streams) == 1:
                self.subscribed_utc = self._clock()
            if self._end is not None:
                stream.close(self._end)
            else:
                self._on_listening(True)
            yield stream
        finally:
            self._streams.discard(stream)
            self._on_listening(False)
            # disconnecting ends what this cannot
            with suppress(AttributeRefusedError, LinkError):
                await self._attempt(self._client.stop_notify(characteristic))

    async def _subscribe(self, characteristic: str, stream: NotificationStream) -> None:
        """Ask BlueZ for notifications in the way that does not say what is read a second time.

        Its StartNotify, bleak's default, delivers the value of every read as a
        notification too; AcquireNotify does not, and some wearables that notify
        before they confirm the subscription lose their link with it
        (hbldh/bleak#1885): those get StartNotify from their next connection on.
        Other backends ignore the option.
        """
        found = self._client.services.get_characteristic(characteristic) if self.has(characteristic) else None
        address = self._client.address
        by_socket = found is not None and "read" in found.properties and address not in self._has_lost_socket
        try:
            await self._attempt(
                self._client.start_notify(
                    characteristic, stream.receive, bluez={"use_start_notify": not by_socket}
                )
            )
        except LinkError:
            if by_socket:
                self._has_lost_socket.add(address)
            raise

    async def _attempt(self, operation: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._operation_s):
                return await operation
        except TimeoutError as error:
            raise LinkTimeoutError(f"no answer within {self._operation_s:g} s") from error
        except (BleakGATTProtocolError, BleakCharacteristicNotFoundError) as error:
            if self._end is not None or not self._client.is_connected:
                raise LinkError("link lost") from error
            raise AttributeRefusedError(str(error)) from error
        except (BleakError, EOFError, OSError) as error:
            raise LinkError(f"link lost: {error}") from error


@asynccontextmanager
async def open_session(
    radio: Radio,
    address: str,
    device: DeviceId,
    connection: str,
    *,
    clock: Clock,
    cursor: Callable[[str], int | None],
    on_arrival: Callable[[], None],
    on_listening: Callable[[bool], None],
    timing: Timing,
    is_bonded: bool = False,
    serial: str | None = None,
) -> AsyncGenerator[BleSession]:
    """Find and connect a wearable; disconnect at the end, whatever happened.

    With `is_bonded` the link is encrypted with the keys of the bond, which is made
    when there is none; with `serial` the wearable must state it (Device
    Information), because an address alone can change hands.

    Raises
    ------
    RadioError
        When the adapter cannot scan.
    NotSeenError
        When it does not advertise.
    LinkError
        When it advertises and cannot be connected.
    PairingError
        When it refuses to bond.
    IdentityError
        When it states another serial number.
    """
    await radio.prepare()
    # a wearable that is away must not hold one of the few links while it is looked for
    found = await radio.find(address, timing.scan_s)
    if found is None:
        raise NotSeenError(f"{device} not seen within {timing.scan_s:g} s")
    async with radio.links:
        dropped = asyncio.Event()
        client = radio.client(found, dropped.set, timing.connect_s)
        try:
            try:
                await _connect(radio, client, device, timing)
            except LinkError as error:
                await _free_stuck(radio, address, error, is_bonded=is_bonded)
                raise
            if is_bonded:
                await _bond(client, device, timing)
            session = BleSession(
                client,
                device,
                connection,
                clock=clock,
                cursor=cursor,
                on_arrival=on_arrival,
                on_listening=on_listening,
                operation_s=timing.operation_s,
                has_lost_socket=radio.has_lost_socket,
            )
            watch = asyncio.create_task(_end_on_drop(dropped, session))
            try:
                if serial is not None:
                    await check_serial(session, serial)
                yield session
            finally:
                watch.cancel()
        finally:
            # Also after a drop: an un-disconnected client keeps its D-Bus connection, and BlueZ then
            # delivers every notification of the next connection twice (hbldh/bleak#2002).
            await _disconnect(client, device, timing)


async def read_text(session: BleSession, characteristic: str) -> str | None:
    """What the wearable states of itself (Device Information); ``None`` when it states nothing."""
    if not session.has(characteristic):
        return None
    try:
        return device_information.decode_text(await session.read(characteristic)) or None
    except (AttributeRefusedError, DecodeError):
        return None


async def read_serial(session: BleSession) -> str | None:
    """Serial number that the wearable states; ``None`` when it states none."""
    return await read_text(session, device_information.SERIAL)


async def check_serial(session: BleSession, expected: str) -> None:
    """Raise :class:`IdentityError` unless the wearable states the serial number it was paired with."""
    if await read_serial(session) != expected:
        raise IdentityError(f"{session.device} does not state the serial number it was paired with")


async def _bond(client: BleakClient, device: DeviceId, timing: Timing) -> None:
    try:
        async with asyncio.timeout(timing.connect_s):
            await client.pair()
    except TimeoutError as error:
        raise PairingError(f"{device} did not pair within {timing.connect_s:g} s") from error
    except (BleakError, EOFError, OSError) as error:
        if not client.is_connected:
            raise LinkError("link lost while pairing") from error
        raise PairingError(f"{device} did not pair: {error}") from error


async def _end_on_drop(dropped: asyncio.Event, session: BleSession) -> None:
    await dropped.wait()
    session.end(LinkError("link lost"))


async def _connect(radio: Radio, client: BleakClient, device: DeviceId, timing: Timing) -> None:
    async with radio.connecting:
        try:
            async with asyncio.timeout(timing.connect_s):
                await client.connect()
        except TimeoutError as error:
            raise LinkError(f"{device} did not connect within {timing.connect_s:g} s") from error
        except (BleakError, EOFError, OSError) as error:
            raise LinkError(f"{device} did not connect: {error}") from error


async def _free_stuck(radio: Radio, address: str, error: LinkError, *, is_bonded: bool) -> None:
    """Remove a device that BlueZ goes on connecting for ever: it refuses every later attempt."""
    if IN_PROGRESS not in str(error):
        radio.stuck.pop(address, None)
        return
    radio.stuck[address] += 1
    # removing a device removes its bond, which only a visit to the patient brings back
    if radio.stuck[address] >= STUCK_ATTEMPTS and radio.host is not None and not is_bonded:
        logger.warning("stuck device removed from the host")
        with suppress(RadioError, BleakError, EOFError, OSError):
            await radio.host.forget_device(address)
        radio.stuck.pop(address, None)


async def _disconnect(client: BleakClient, device: DeviceId, timing: Timing) -> None:
    try:
        async with asyncio.timeout(timing.operation_s):
            await client.disconnect()
    except (BleakError, EOFError, OSError, TimeoutError) as error:
        logger.warning("disconnect failed device=%s error=%s", device, type(error).__name__)
