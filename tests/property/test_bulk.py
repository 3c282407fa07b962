"""However a broker's bytes are cut, every message is handed over once, whole and in order."""

import socket
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ingest.wire.bulk import Arrival, BulkClient, _Wire, read_publishes

T0 = 1_790_000_000_000_000
PINGRESP = b"\xd0\x00"


def variable(size):
    encoded = b""
    while size > 127:
        encoded += bytes([size & 127 | 128])
        size >>= 7
    return encoded + bytes([size])


def publish(one: Arrival):
    properties = Properties(PacketTypes.PUBLISH)
    if one.content_type is not None:
        properties.ContentType = one.content_type
    topic = one.topic.encode()
    mid = one.mid.to_bytes(2, "big") if one.qos else b""
    content = len(topic).to_bytes(2, "big") + topic + mid + properties.pack() + one.payload
    return bytes([0x30 | one.qos << 1 | one.is_retained]) + variable(len(content)) + content


arrivals = st.builds(
    Arrival,
    topic=st.sampled_from(["flarecast/v1/north/gw-1/rr_interval", "a/ü"]),
    payload=st.binary(max_size=300),
    content_type=st.none() | st.sampled_from(["application/json", "x"]),
    arrived_utc=st.just(T0),
    is_retained=st.booleans(),
    mid=st.integers(1, 65_535),
    qos=st.sampled_from([0, 1, 1, 1]),
).map(lambda one: one if one.qos else msgspec.structs.replace(one, mid=0))


def connected():
    """A client whose socket is one end of a pair, as after its connection; what it hands over."""
    found: list[list[Arrival]] = []
    client = BulkClient("c", found.append, clock=lambda: T0)
    near, far = socket.socketpair()
    near.setblocking(False)
    client._sock = _Wire(near)
    return client, far, found


def test_long_and_short_packets_are_cut_where_they_end():
    """Lengths around every byte of the length: 1, 2, 3 and 4 of them."""
    sizes = [0, 1, 80, 81, 82, 83, 127, 128, 16_330, 16_337, 16_338, 16_384, 2_097_100, 2_097_160]
    topic = "flarecast/v1/north/gw-1/rr_interval"
    sent = [Arrival(topic, bytes(size), None, T0, False, mid, 1) for mid, size in enumerate(sizes, 1)]
    sent += [msgspec.structs.replace(one, mid=0, qos=0) for one in sent]
    found: list[Arrival] = []
    data = b"".join(map(publish, sent))
    assert read_publishes(data, 0, T0, found) == len(data)
    assert found == sent
    found.clear()
    assert read_publishes(data[:-1], 0, T0, found) == len(data) - len(publish(sent[-1]))
    assert found == sent[:-1]


@given(st.lists(arrivals | st.none(), max_size=8), st.lists(st.integers(0, 4000), max_size=6))
def test_any_cut(sent, cuts):
    data = b"".join(PINGRESP if one is None else publish(one) for one in sent)
    client, far, found = connected()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for begin, end in pairwise(places):
        far.sendall(data[begin:end])
        assert client.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert [one for each in found for one in each] == [one for one in sent if one is not None]
    far.close()
    assert client.loop_read() == MQTTErrorCode.MQTT_ERR_CONN_LOST
    client._sock_close()


@given(st.binary(max_size=60) | arrivals.map(publish), st.binary(max_size=4), st.integers(0, 70))
def test_arbitrary_bytes_are_read_or_left_to_paho(data, other, place):
    mutated = data[:place] + other + data[place + len(other) :]
    found: list[Arrival] = []
    end = read_publishes(mutated, 0, T0, found)
    assert 0 <= end <= len(mutated)
    assert bool(found) == (end > 0)
    for one in found:
        assert one.qos in (0, 1)
        assert one.payload in mutated[:end]


def test_acknowledgements_go_in_their_order_in_one_write():
    client, far, _ = connected()
    client.ack_all([(5, 1), (3, 1), (65_535, 1)])
    client.loop_write()
    assert far.recv(100) == b"\x40\x02\x00\x05\x40\x02\x00\x03\x40\x02\xff\xff"
    client._sock_close()
    far.close()


@given(st.lists(st.tuples(st.sampled_from(["a/ü", "flarecast/v1/north/gw-1/ack"]), st.binary(max_size=300))))
def test_what_is_published_at_once_is_read_message_by_message(messages):
    client, far, _ = connected()
    client.publish_all(messages)
    client.loop_write()
    far.setblocking(False)
    data, found = far.recv(2**20) if messages else b"", list[Arrival]()
    assert read_publishes(data, 0, T0, found) == len(data)
    assert [(one.topic, one.payload, one.qos) for one in found] == [(*one, 0) for one in messages]
    client._sock_close()
    far.close()


def test_a_length_without_end_is_refused():
    client, far, found = connected()
    far.sendall(b"\x32\xff\xff\xff\xff\xff\x01")
    assert client.loop_read() == MQTTErrorCode.MQTT_ERR_PROTOCOL
    assert found == []
    far.close()
