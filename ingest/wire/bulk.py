"""The client a collector is made of: reads as much as has come, and hands messages over by the hundred.

paho asks the kernel for one packet at a time, in three reads and a `select` each; its
messages are objects with a lock. Of a collector's packets all but a few are PUBLISH of
quality 0 or 1: those are read here. Everything else (connecting, pings, other qualities)
stays paho's, which reads it from the same bytes.
"""

import ssl
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from devices.clock import Clock

#: Bytes asked of the kernel at once.
_CHUNK: Final = 2**18
#: So often; then acknowledgements and pings get their turn.
_CHUNKS: Final = 16
#: Of a packet's first byte: what it is and the higher bit of its quality, and both of a PUBLISH of
#: quality 0 or 1.
_KIND_AND_HIGH_QUALITY: Final = 0xF4
_PUBLISH: Final = 0x30
_QUALITY_1: Final = 1
_PUBACK: Final = 0x40
_PUBACK_PACKET: Final = struct.Struct(">BBH").pack


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """A message as it came, when (microseconds UTC), and what its acknowledgement needs: `mid` and `qos`.

    Plain values: no collector of cycles need look at thousands of them that wait.
    """

    topic: str
    payload: bytes
    content_type: str | None
    arrived_utc: int
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

    @property
    def read_ahead(self) -> bytes:
        """What was read and nobody has dealt with."""
        return bytes(self._read)

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


def read_publishes(read: bytes, at: int, arrived_utc: int, found: list[Arrival]) -> int:
    """Append whole PUBLISH packets, quality 0 or 1, MQTT 5, to `found`; returns where something else begins.

    That is another packet, a malformed one, or one that has not come whole. The loop is
    unrolled for the packet every gateway sends: no properties.

    Parameters
    ----------
    at : int
        Where the first packet starts.
    arrived_utc : int
        Microseconds UTC.
    """
    length = len(read)
    # the first byte, one of the length and one that ends it or begins the content
    while at + 2 < length and (first := read[at]) & _KIND_AND_HIGH_QUALITY == _PUBLISH:
        size = read[at + 1]
        begin = at + 2
        if size > 127:
            size = size & 127 | read[begin] << 7
            begin += 1
            if size > 16_383:
                if (span := packet_size(read, at)) is None:
                    break
                begin, size = span[0], span[1] - span[0]
        end = begin + size
        if end > length or size < 2:
            break
        place = begin + 2 + (read[begin] << 8 | read[begin + 1])
        mid, quality, content = 0, first >> 1 & 1, place
        if quality:
            content += 2
        if content >= end:
            break
        if quality:
            mid = read[place] << 8 | read[place + 1]
        content_type = None
        if read[content]:
            properties = _content_type(read[content:end])
            if properties is None:
                break
            content_type, content = properties[0], content + properties[1]
        else:
            content += 1
        found.append(
            Arrival(
                read[begin + 2 : place].decode(errors="replace"),
                read[content:end],
                content_type,
                arrived_utc,
                first & 1 == 1,
                mid,
                quality,
            )
        )
        at = end
    return at


def _content_type(read: bytes) -> tuple[str | None, int] | None:
    """Content type of a PUBLISH's properties, and their size; ``None`` when they are malformed."""
    properties: Any = Properties(PacketTypes.PUBLISH)
    try:
        _, size = properties.unpack(read)
    except (MQTTException, LookupError, struct.error, ValueError):
        return None
    return (getattr(properties, "ContentType", None), size) if size <= len(read) else None


class BulkClient(Client):
    """paho's client with manual acknowledgement; messages come in lists.

    Parameters
    ----------
    client_id : str
        Name of the session.
    on_arrivals : callable
        Gets the messages in the order they came, on the network's thread.
    clock : Clock
        Microseconds UTC.
    """

    def __init__(self, client_id: str, on_arrivals: Callable[[list[Arrival]], None], *, clock: Clock) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        self._on_arrivals = on_arrivals
        self._clock = clock
        self.on_message = self._hand_over

    def _hand_over(self, _: Client, __: Any, message: MQTTMessage) -> None:
        """Of another quality: paho has read it."""
        content_type = getattr(message.properties, "ContentType", None)
        payload = bytes(message.payload)
        now = self._clock()
        one = Arrival(message.topic, payload, content_type, now, message.retain, message.mid, message.qos)
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

    def publish_all(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish topics and payloads with quality 0, in one write.

        What is on its way when the connection breaks is lost: only for what is said again when it is
        asked for again.
        """
        packets = bytearray()
        for topic, payload in messages:
            name = topic.encode()
            packets.append(_PUBLISH)
            packets += VariableByteIntegers.encode(len(name) + len(payload) + 3)
            packets += len(name).to_bytes(2, "big") + name + b"\x00" + payload
        if packets:
            # as a PUBACK: after a PUBLISH of quality 0 paho would report it by its own object
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
        read: bytes = wire.read_ahead
        at = 0
        while True:
            arrivals: list[Arrival] = []
            done = read_publishes(read, at, self._clock(), arrivals)
            wire.drop(done - at)
            if arrivals:
                self._on_arrivals(arrivals)
            size = packet_size(read, done)
            if size is None or size[1] > len(read):
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            at = size[1]
            wire.give(at - done)
            result = super().loop_read()
            if result or self.socket() is not wire:
                return result
