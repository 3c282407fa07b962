"""Batches: what they cost, what they refuse and what they keep."""

import msgspec
import pytest

from devices.observations import KINDS
from ingest.errors import MessageError, TopicError
from ingest.wire.messages import decode_batch, decode_observation, encode_batch, encode_observation
from ingest.wire.topics import ack_topic, data_topic, parse, state_topic, subscriptions
from tests.fixtures_ingest import T0, beats, one_of_each

GATEWAY = ("north", "gw-0001")


@pytest.mark.parametrize(("count", "budget"), [(300, 2.5), (3600, 2.1)])
def test_bytes_per_rr_interval_of_the_packet(count, budget):
    run = beats(70_000, [850] * count, device="strap-0001")
    payload = encode_batch(T0 // 1_000_000, T0, "rr_interval", [encode_observation(run)])
    topic = str(data_topic(*GATEWAY, "rr_interval"))
    # fixed header and length, topic with its length, packet id, length of the (absent) properties
    packet = 1 + 3 + 2 + len(topic) + 2 + 1 + len(payload)
    assert packet / count <= budget


@pytest.mark.parametrize("observation", one_of_each(), ids=lambda one: one.kind)
def test_a_batch_keeps_every_field(observation):
    payload = encode_batch(9, T0, observation.kind, [encode_observation(observation)] * 2)
    decoded = decode_batch(payload, observation.kind)
    assert decoded.batch.observations == [observation, observation]
    assert (decoded.batch.sequence, decoded.batch.sealed_utc, decoded.rejected) == (9, T0, [])


def test_one_bad_observation_costs_only_itself():
    good = [beats(0, [800]), beats(1, [900])]
    bad = [encode_observation(beats(5, [0])), b"\x93\x01\x02\x03"]
    encoded = [encode_observation(good[0]), *bad, encode_observation(good[1])]
    decoded = decode_batch(encode_batch(3, T0, "rr_interval", encoded), "rr_interval")
    assert decoded.batch.observations == good
    assert [one.reason for one in decoded.rejected] == [
        "RR interval of 0 ms",
        "rr_interval: Expected `array` of at least length 6, got 3",
    ]


@pytest.mark.parametrize(
    ("payload", "kind", "reason", "sequence"),
    [
        (b"", "battery", "not a batch: Input data was truncated", None),
        (encode_batch(4, T0, "wear", []), "battery", "batch is of another kind than its topic", 4),
        (encode_batch(4, T0, "wear", []), "mood", "unknown observation kind", 4),
        (b"\x95\x02\x05" + encode_batch(4, T0, "wear", [])[3:], "wear", "batch version is not 1", 5),
        (b"\x96\x02\x05\xc0\xc0\xc0\xc0", "wear", "not a batch: Expected `int`, got `None` - at `$[2]`", 5),
    ],
)
def test_a_refused_message_has_a_reason_and_its_number(payload, kind, reason, sequence):
    with pytest.raises(MessageError) as refusal:
        decode_batch(payload, kind)
    assert (str(refusal.value), refusal.value.sequence) == (reason, sequence)


def test_topics_are_spelled_once():
    assert str(data_topic(*GATEWAY, "battery")) == "flarecast/v1/north/gw-0001/battery"
    assert parse(str(data_topic(*GATEWAY, "battery"))).is_observations
    assert not ack_topic(*GATEWAY).is_observations
    assert not state_topic(*GATEWAY).is_observations
    assert subscriptions("clinic") == ["$share/clinic/" + one for one in subscriptions()]
    with pytest.raises(TopicError):
        parse("flarecast/v1/north/battery")


def test_a_refused_field_is_named():
    kind = one_of_each()[0].kind
    fields = msgspec.msgpack.decode(encode_observation(one_of_each()[0]))
    names = list(KINDS[kind].__struct_fields__)
    at = names.index("start_utc")
    for value in ("today", -1):
        row = [*fields[:at], value, *fields[at + 1 :]]
        with pytest.raises(MessageError, match=r"at `start_utc`$"):
            decode_observation(kind, msgspec.msgpack.encode(row))
