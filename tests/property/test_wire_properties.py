"""Whatever bytes arrive: a batch, or a refusal with a reason; and topics mean what they spell."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.observations import KINDS
from ingest.errors import MessageError, TopicError
from ingest.wire.messages import (
    decode_ack,
    decode_batch,
    decode_state,
    encode_ack,
    encode_batch,
    encode_observation,
)
from ingest.wire.topics import ACK, STATE, Topic, parse
from tests.fixtures_ingest import T0, one_of_each

ids = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
kinds = st.sampled_from(sorted(KINDS))
GOOD = {one.kind: encode_batch(7, T0, one.kind, [encode_observation(one)]) for one in one_of_each()}
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(ids, ids, kinds | st.sampled_from([ACK, STATE]))
def test_a_topic_is_what_it_spells(site, gateway, leaf):
    topic = Topic(site, gateway, leaf)
    assert parse(str(topic)) == topic


@given(st.text() | st.text("abc/+#-", max_size=30).map("flarecast/v1/".__add__))
def test_any_text_is_a_topic_or_refused(text):
    try:
        topic = parse(text)
    except TopicError:
        return
    assert str(topic) == text


def refused_or_good(payload: bytes, kind: str) -> None:
    try:
        decoded = decode_batch(payload, kind)
    except MessageError:
        return
    for observation in decoded.batch.observations:
        observation.check()
        assert observation.kind == kind
    for rejected in decoded.rejected:
        assert rejected.reason
        # what is kept can be looked at again and says the same
        again = decode_batch(rejected.payload, kind)
        assert [one.reason for one in again.rejected] == [rejected.reason]


@given(st.binary(max_size=300), kinds | st.text(max_size=5))
def test_any_bytes_are_a_batch_or_refused(payload, kind):
    refused_or_good(payload, kind)


@given(anything, kinds)
def test_any_structure_is_a_batch_or_refused(value, kind):
    refused_or_good(msgspec.msgpack.encode([1, 7, T0, kind, [value]]), kind)
    refused_or_good(msgspec.msgpack.encode([1, 7, T0, kind, value]), kind)
    refused_or_good(msgspec.msgpack.encode(value), kind)


@given(st.data(), kinds)
def test_a_damaged_batch_is_a_batch_or_refused(data, kind):
    payload = bytearray(GOOD[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    refused_or_good(bytes(payload[: data.draw(st.integers(0, len(payload)))]), kind)
    refused_or_good(bytes(payload), kind)


@pytest.mark.parametrize(
    "nested", [b"\x91" * 200_000, b"\x81\x01" * 200_000, b"\x95\x01\x07\x00\x00" + b"\x91" * 200_000]
)
def test_nesting_without_end_is_refused(nested):
    for kind in KINDS:
        with pytest.raises(MessageError):
            decode_batch(nested, kind)


@given(st.binary(max_size=100))
def test_any_bytes_are_an_ack_and_a_state_or_refused(payload):
    for decode in (decode_ack, decode_state):
        with suppress(MessageError):
            decode(payload)


@given(st.lists(st.integers(1, 2**63 - 1)))
def test_an_ack_says_what_it_was_given(sequences):
    assert decode_ack(encode_ack(sequences)).sequences == sequences
