"""The client a collector is made of: reads as much as has come, and hands messages over by the hundred.

paho asks the kernel for one packet at a time, in three reads and a `select` each; its
messages are objects with a lock. Of a collector's packets all but a few are PUBLISH of
quality 1: those are read here. Everything else (connecting, pings, other qualities)
stays paho's, which reads it from the same bytes.
"""

import ssl
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

#: Bytes asked of the kernel at once.
_CHUNK: Final = 2**18
#: So often; then acknowledgements and pings get their turn.
_CHUNKS: Final = 16
_PUBLISH: Final = 3
_QUALITY_1: Final = 1
_PUBACK: Final = 0x40
_PUBACK_PACKET: Final = struct.Struct(">BBH").pack


class Arrival(NamedTuple):
    """A message as it came; `mid` and `qos` are what its acknowledgement needs."""

    topic: str
    payload: bytes
    content_type: str | None
    is_retained: bool
    mid: int
    qos: int


class _Wire:
    """A socket that reads ahead: what paho gets of it ends with the packet that is its to read."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._read = bytearray()
        self._left = 0
        #: Nothing more comes: the other end has closed, or the connection is broken.
        self._end: OSError | bytes | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        """Of the packet that was given free; ``b""`` or the error at the end of the connection."""
        if self._left:
            taken = bytes(self._read[: min(size, self._left)])
            del self._read[: len(taken)]
            self._left -= len(taken)
            return taken
        if isinstance(self._end, OSError):
            raise self._end
        if self._end is not None:
            return self._end
        raise BlockingIOError

    def fill(self) -> bool:
        """Take what has come; false when that is nothing."""
        try:
            read = self._socket.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            self._end = error
            return False
        if not read:
            self._end = b""
        self._read += read
        return bool(read)

    @property
    def has_ended(self) -> bool:
        return self._end is not None

    def split(self) -> tuple[bytes, list[tuple[int, int, int]]]:
        """What was read, and of its whole packets the start, where the content begins, and the end."""
        read = bytes(self._read)
        found: list[tuple[int, int, int]] = []
        at = 0
        while (size := packet_size(read, at)) is not None:
            begin, end = size
            if end > len(read):
                break
            found.append((at, begin, end))
            at = end
        return read, found

    def drop(self, size: int) -> None:
        """Bytes that have been dealt with."""
        del self._read[:size]

    def give(self, size: int) -> None:
        """Let paho read so many bytes, a packet of its own."""
        self._left = size


def packet_size(read: bytes, at: int) -> tuple[int, int] | None:
    """Begin of a packet's content and its end; ``None`` when its length has not come yet."""
    size = shift = 0
    for place in range(at + 1, min(at + 5, len(read))):
        byte = read[place]
        size |= (byte & 127) << shift
        if byte < 128:
            return place + 1, place + 1 + size
        shift += 7
    # four bytes of length and none is the last: no MQTT; paho says so when it sees a fifth
    return (at + 6, at + 6) if len(read) >= at + 6 else None


def read_publish(read: bytes, start: int, begin: int, end: int) -> Arrival | None:
    """PUBLISH of quality 1, MQTT 5, in a packet's bytes; ``None`` when it is something else or malformed.

    Parameters
    ----------
    start, begin, end : int
        Where the packet starts in `read`, its content begins, and it ends.
    """
    first = read[start]
    if first >> 4 != _PUBLISH or first >> 1 & 3 != _QUALITY_1 or begin + 2 > end:
        return None
    at = begin + 2 + (read[begin] << 8 | read[begin + 1])
    if at + 3 > end:
        return None
    topic = read[begin + 2 : at].decode(errors="replace")
    mid = read[at] << 8 | read[at + 1]
    at += 3
    content_type = None
    if read[at - 1]:
        properties: Any = Properties(PacketTypes.PUBLISH)
        try:
            _, size = properties.unpack(read[at - 1 : end])
        except (MQTTException, LookupError, struct.error, ValueError):
            return None
        at += size - 1
        if at > end:
            return None
        content_type = getattr(properties, "ContentType", None)
    return Arrival(topic, read[at:end], content_type, bool(first & 1), mid, _QUALITY_1)


class BulkClient(Client):
    """paho's client with manual acknowledgement; messages come in lists.

    Parameters
    ----------
    client_id : str
        Name of the session.
    on_arrivals : callable
        Gets the messages in the order they came, on the network's thread.
    """

    def __init__(self, client_id: str, on_arrivals: Callable[[list[Arrival]], None]) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        self._on_arrivals = on_arrivals
        self.on_message = self._hand_over

    def _hand_over(self, _: Client, __: Any, message: MQTTMessage) -> None:
        """Of another quality: paho has read it."""
        content_type = getattr(message.properties, "ContentType", None)
        payload = bytes(message.payload)
        one = Arrival(message.topic, payload, content_type, message.retain, message.mid, message.qos)
        self._on_arrivals([one])

    def ack_all(self, arrivals: Iterable[tuple[int, int]]) -> None:
        """Acknowledge packet ids and qualities in this order, those of quality 1 in one write."""
        packets = bytearray()
        for mid, qos in arrivals:
            if qos == _QUALITY_1:
                packets += _PUBACK_PACKET(_PUBACK, 2, mid)
            else:
                self.ack(mid, qos)
        if packets:
            # what paho's own ack does, a packet each
            self._packet_queue(_PUBACK, packets, 0, _QUALITY_1)

    def _create_socket(self) -> Any:
        return _Wire(super()._create_socket())

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Deal with what has come."""
        wire: Any = self.socket()
        if wire is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        for _ in range(_CHUNKS):
            if not wire.fill():
                break
            result = self._deal_with(wire)
            if result or self.socket() is not wire:
                return result
        return super().loop_read() if wire.has_ended else MQTTErrorCode.MQTT_ERR_SUCCESS

    def _deal_with(self, wire: Any) -> MQTTErrorCode:
        """Hand the messages over that have come whole; let paho read each other packet in its turn."""
        read, packets = wire.split()
        arrivals: list[Arrival] = []
        done = end = 0
        for start, begin, end in packets:
            arrival = read_publish(read, start, begin, end)
            if arrival is not None:
                arrivals.append(arrival)
                continue
            wire.drop(start - done)
            if arrivals:
                self._on_arrivals(arrivals)
                arrivals = []
            wire.give(end - start)
            result = super().loop_read()
            if result or self.socket() is not wire:
                return result
            done = end
        wire.drop(end - done)
        if arrivals:
            self._on_arrivals(arrivals)
        return MQTTErrorCode.MQTT_ERR_SUCCESS
