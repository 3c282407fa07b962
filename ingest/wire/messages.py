"""Messages: what crosses the network, and a clear reason for everything refused.

A batch is a MessagePack array ``[version, sequence, sealed_utc, kind, [observation,
...]]``, with what is known of the wearables (clock, firmware) as a sixth field where that is anything, whose
observations are arrays in the field order of their struct. Numbers
travel in blobs (see :mod:`devices.blobs`), so 300 RR intervals cost two bytes each
and about 85 around them.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import msgspec

from devices.errors import ObservationError
from devices.observations import KINDS, Observation, Utc
from ingest.errors import MessageError

VERSION: Final = 1
#: Content type of a batch. Our gateways leave it out (41 bytes a message, 5 % of a
#: live one): a message without a content type is a batch.
CONTENT_TYPE: Final = "application/vnd.flarecast.batch+msgpack"
#: Messages a gateway sends before the first of them is committed. The collector
#: knows the number too: a gateway with so many waiting is waiting for it.
IN_FLIGHT: Final = 20
#: RR intervals (and other slots) of one block: five minutes live, an hour of backlog.
LIVE_SAMPLES: Final = 300
BACKLOG_SAMPLES: Final = 3_600
#: Aim for the size of a message, bytes; one block is never larger.
MESSAGE_BYTES: Final = 65_536
DIGEST_BYTES: Final = 16
#: Number of what clients send that do not number their messages.
FOREIGN_SEQUENCE: Final = 1

Sequence = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
T = TypeVar("T")


class WearableState(msgspec.Struct, frozen=True, array_like=True):
    """What a gateway knows of a wearable: its clock's setting ahead of UTC, how far it was off, its firmware.

    The firmware is said in the first message after it was read, and again after a day: in each it
    would cost a live message 2 % of its bytes. An earlier reader ignores it.
    """

    device: str
    offset_s: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    drift_ms: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)] | None = None
    firmware: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class Envelope(msgspec.Struct, Generic[T], frozen=True, array_like=True):
    """A batch whose observations are a `T` each; the last field is left out where it is empty."""

    version: int
    sequence: Sequence
    sealed_utc: Utc
    kind: str
    observations: list[T]
    wearables: list[WearableState] = []


Batch = Envelope[Observation]


class Rejected(msgspec.Struct, frozen=True):
    """One observation of a batch that its kind forbids; `payload` is a batch of it alone."""

    reason: str
    payload: bytes


class Decoded(msgspec.Struct, frozen=True):
    """A batch as far as it is good, and what is not."""

    batch: Batch
    rejected: list[Rejected]


class Ack(msgspec.Struct, frozen=True, array_like=True):
    """Sequences committed to Parquet, and digests of messages kept in quarantine without a number.

    An earlier reader ignores the third field, an earlier writer leaves it out.
    """

    version: int
    sequences: list[Sequence]
    refused: list[bytes] = []


class _Header(msgspec.Struct, frozen=True, array_like=True):
    """What every version of a batch begins with."""

    version: int
    sequence: Sequence


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a gateway is there; `boot` tells a late last will from the present connection.

    A gateway that is there says its clock (`utc`, microseconds) and how its spool is: ``ok``, ``alarm``
    or ``full``, and in `word` why. A last will was written before and knows neither.
    """

    is_online: bool
    boot: str
    utc: int | None = None
    spool: Literal["ok", "alarm", "full"] | None = None
    word: str = ""


_encoder = msgspec.msgpack.Encoder()
_header = msgspec.msgpack.Decoder(_Header)
_raw = msgspec.msgpack.Decoder(Envelope[msgspec.Raw])
_ack = msgspec.msgpack.Decoder(Ack)
_typed: dict[str, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(Envelope[cls]) for kind, cls in KINDS.items()
}
_single: dict[str, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(cls) for kind, cls in KINDS.items()
}
#: A field of an observation as msgspec says it, at the end: what a stranger wrote may stand before.
_PLACE: Final = re.compile(r" - at `\$\[(\d+)\]([^`]*)`\Z")
#: What msgspec raises on arbitrary bytes: its own error, bad UTF-8, nesting without end.
_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)


def encode_observation(observation: Observation) -> bytes:
    """MessagePack of one observation."""
    return _encoder.encode(observation)


def decode_observation(kind: str, payload: bytes | msgspec.Raw) -> Observation:
    """Observation of `kind`, valid in every respect.

    Raises
    ------
    MessageError
        With the reason.
    """
    try:
        observation: Observation = _single[kind].decode(payload)
        observation.check()
    except _UNREADABLE as error:
        raise MessageError(f"{kind}: {_named(kind, str(error))}") from None
    except ObservationError as error:
        raise MessageError(str(error)) from None
    return observation


def _named(kind: str, words: str) -> str:
    """What msgspec says of an array, with the name of the field for its place."""
    fields = KINDS[kind].__struct_fields__
    return _PLACE.sub(lambda found: f" - at `{fields[int(found[1])]}{found[2]}`", words)


def encode_batch(
    sequence: int,
    sealed_utc: int,
    kind: str,
    observations: list[bytes],
    wearables: Iterable[WearableState] = (),
) -> bytes:
    """Batch of encoded observations, with what is known of their wearables."""
    raws = [msgspec.Raw(encoded) for encoded in observations]
    known = list(wearables)
    return _encoder.encode((VERSION, sequence, sealed_utc, kind, raws, *([known] if known else [])))


def decode_batch(payload: bytes, kind: str) -> Decoded:
    """Batch that came on the topic of `kind`; one bad observation costs only itself.

    Raises
    ------
    MessageError
        When it cannot be read as a batch at all, with the reason.
    """
    if kind not in KINDS:
        raise MessageError("unknown observation kind", sequence=_sequence(payload))
    try:
        batch: Batch = _typed[kind].decode(payload)
        _check_envelope(batch, kind)
        for observation in batch.observations:
            observation.check()
    except (*_UNREADABLE, ObservationError):
        return _decode_one_by_one(payload, kind)
    return Decoded(batch, [])


def _decode_one_by_one(payload: bytes, kind: str) -> Decoded:
    try:
        batch = _raw.decode(payload)
    except _UNREADABLE as error:
        raise MessageError(f"not a batch: {error}", sequence=_sequence(payload)) from None
    _check_envelope(batch, kind)
    good: list[Observation] = []
    rejected: list[Rejected] = []
    for raw in batch.observations:
        try:
            good.append(decode_observation(kind, raw))
        except MessageError as error:
            alone = encode_batch(batch.sequence, batch.sealed_utc, kind, [bytes(raw)])
            rejected.append(Rejected(str(error), alone))
    whole = Envelope(batch.version, batch.sequence, batch.sealed_utc, kind, good, batch.wearables)
    return Decoded(whole, rejected)


def _check_envelope(batch: Envelope[Any], kind: str) -> None:
    if batch.version != VERSION:
        raise MessageError(f"batch version is not {VERSION}", sequence=batch.sequence)
    if batch.kind != kind:
        raise MessageError("batch is of another kind than its topic", sequence=batch.sequence)


def _sequence(payload: bytes) -> int | None:
    """Number of a message that cannot be read otherwise; a later version keeps its first two fields."""
    try:
        return _header.decode(payload).sequence
    except _UNREADABLE:
        return None


def digest(payload: bytes) -> bytes:
    """Name of a message whose number cannot be read: 16 bytes of its SHA-256."""
    return hashlib.sha256(payload).digest()[:DIGEST_BYTES]


def encode_ack(sequences: list[int], refused: list[bytes] | None = None) -> bytes:
    """Acknowledgement of committed messages, and of `refused` ones by their :func:`digest`."""
    return _encoder.encode(Ack(VERSION, sequences, refused or []))


def decode_ack(payload: bytes) -> Ack:
    """Acknowledgement of its bytes.

    Raises
    ------
    MessageError
        When it is none.
    """
    try:
        ack = _ack.decode(payload)
    except _UNREADABLE as error:
        raise MessageError(f"not an acknowledgement: {error}") from None
    if ack.version != VERSION:
        raise MessageError(f"acknowledgement version is not {VERSION}")
    return ack


def encode_state(state: State) -> bytes:
    """State as JSON: people read it with any MQTT client."""
    return msgspec.json.encode(state)


def decode_state(payload: bytes) -> State:
    """State of a gateway.

    Raises
    ------
    MessageError
        When it is none.
    """
    try:
        return msgspec.json.decode(payload, type=State)
    except _UNREADABLE as error:
        raise MessageError(f"not a state: {error}") from None
