"""How a gateway asks for its certificate: with an invitation the first time, with its own certificate later.

A request and its answer travel over the gateways' own listener, with mutual TLS, to the
clinic's registrar. An invited box is let in under ``join-<gateway>``, a name that may do
nothing else; the code that came another way than the invitation authenticates its request.
"""

import hashlib
import hmac
import secrets
from typing import Final, TypeVar

import msgspec

from devices.ids import GatewayId, SiteId
from ingest.errors import MessageError, TopicError
from ingest.wire.topics import COMMAND, ROOT, parse

#: User name of the service that signs, and beginning of the name of an invited gateway.
REGISTRAR: Final = "registrar"
JOINING: Final = "join-"
_LEAF: Final = "certificate"
#: Every request of any gateway; too deep for a collector's subscription.
REQUESTS: Final = f"{ROOT}/+/+/{_LEAF}/request"
#: No letters that are read or heard as another: 60 bits in three groups.
_LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_GROUPS, _GROUP = 3, 4
T = TypeVar("T", bound=msgspec.Struct)


class Invitation(msgspec.Struct, frozen=True):
    """The file that is carried to a new box: where to ask, and a certificate that may only ask.

    PEM texts; `expires_utc` in microseconds.
    """

    gateway: str
    site: str
    host: str
    port: int
    ca: str
    certificate: str
    key: str
    expires_utc: int


class Request(msgspec.Struct, frozen=True):
    """A certificate signing request (PEM); `mac` proves the code, hexadecimal, empty at a renewal."""

    csr: str
    mac: str = ""


class Answer(msgspec.Struct, frozen=True):
    """Answer to the request of this digest: a certificate (PEM), or why not."""

    request: str
    certificate: str = ""
    reason: str = ""


def new_code() -> str:
    """A code to be told to the person at the box, for example ``K7QF-2M9D-XW4T``."""
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)


def code_key(code: str) -> bytes:
    """What is kept of a code; however it was typed."""
    letters = "".join(letter for letter in code.upper() if letter.isalnum())
    return hashlib.sha256(letters.encode()).digest()


def prove(key: bytes, csr: str) -> str:
    """Proof that whoever sends this request knows the code."""
    return hmac.new(key, csr.encode(), hashlib.sha256).hexdigest()


def digest_of(csr: str) -> str:
    """Name of a request, in its answer."""
    return hashlib.sha256(csr.encode()).hexdigest()


def request_topic(site: SiteId, user: str) -> str:
    """Where a gateway, or an invited one, asks."""
    return f"{ROOT}/{site}/{user}/{_LEAF}/request"


def answer_topic(site: SiteId, user: str) -> str:
    """Where it hears the answer."""
    return f"{ROOT}/{site}/{user}/{COMMAND}/{_LEAF}"


def parse_request_topic(text: str) -> tuple[SiteId, GatewayId]:
    """Site and user of the topic of a request.

    Raises
    ------
    TopicError
        When it is none.
    """
    head, _, tail = text.rpartition(f"/{_LEAF}/")
    if tail != "request":
        raise TopicError("topic is not that of a request")
    topic = parse(f"{head}/{_LEAF}")
    return topic.site, topic.gateway


def decode_request(payload: bytes) -> Request:
    """Request of its bytes.

    Raises
    ------
    MessageError
        When it is none.
    """
    return _decode(payload, Request)


def decode_answer(payload: bytes) -> Answer:
    """Answer of its bytes.

    Raises
    ------
    MessageError
        When it is none.
    """
    return _decode(payload, Answer)


def decode_invitation(payload: bytes) -> Invitation:
    """Invitation of a file's bytes.

    Raises
    ------
    MessageError
        When it is none.
    """
    return _decode(payload, Invitation)


def _decode(payload: bytes, cls: type[T]) -> T:
    try:
        return msgspec.json.decode(payload, type=cls)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MessageError(f"not {cls.__name__.lower()}: {error}") from None


def registrar_rules() -> list[str]:
    """mosquitto's rules for the registrar: it reads requests and writes answers."""
    return [
        f"user {REGISTRAR}",
        f"topic read {REQUESTS}",
        f"topic write {ROOT}/+/+/{COMMAND}/{_LEAF}",
    ]


def revoked_rules(name: str) -> list[str]:
    """mosquitto's rules for a revoked name: a connection that is open already may do nothing more."""
    return [f"user {name}", "topic deny #"]
