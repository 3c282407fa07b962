"""The home box's own certificate: its key is made here and never leaves; the clinic only signs.

Key and certificate lie in one file, replaced whole: a power cut leaves the old pair or
the new one.
"""

import ssl
import threading
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client, MQTTMessage

from devices.clock import DAY, to_utc
from devices.ids import SiteId
from ingest.errors import MessageError, SecurityError
from ingest.wire.address import BrokerAddress
from ingest.wire.certificates import (
    Answer,
    Request,
    answer_topic,
    code_key,
    decode_answer,
    digest_of,
    prove,
    request_topic,
)
from ingest.wire.client import KEEPALIVE_S, make_client

#: So long before its end the next certificate is asked for, every day until it comes.
RENEW_BEFORE: Final = 30 * DAY
ANSWER_TIMEOUT_S: Final = 15.0


def make_key() -> bytes:
    """A P-256 key (PEM)."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make_request(name: str, key: bytes, *, code: str | None = None) -> Request:
    """Signing request for the key; with a code, proof that it is known here."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder(subject_name=subject).sign(_load(key), hashes.SHA256())
    text = csr.public_bytes(serialization.Encoding.PEM).decode()
    return Request(text, "" if code is None else prove(code_key(code), text))


def expires_utc(path: Path) -> int:
    """When the certificate of a file ends, microseconds UTC.

    Raises
    ------
    SecurityError
        When it is none.
    """
    try:
        return to_utc(x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc)
    except (OSError, ValueError) as error:
        raise SecurityError(f"{path}: {error}") from None


def check(certificate: str, key: bytes, ca: bytes, name: str) -> bytes:
    """Key and certificate as one file, when they belong together, to the name and to the authority.

    Raises
    ------
    SecurityError
        When not.
    """
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(ca))
    except (ValueError, TypeError, InvalidSignature) as error:
        raise SecurityError(f"the answer is no certificate of this clinic: {error!r}") from None
    names = [each.value for each in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if found.public_key() != _load(key).public_key() or names != [name]:
        raise SecurityError("the answer is a certificate of somebody else")
    return key + certificate.encode()


def ask(
    broker: BrokerAddress, *, site: SiteId, user: str, request: Request, timeout_s: float = ANSWER_TIMEOUT_S
) -> str:
    """Certificate (PEM) for a request, over a connection of its own.

    Raises
    ------
    SecurityError
        When the broker does not let us in, nobody answers or the answer is no.
    """
    asking = _Asking(broker, site, user, request)
    answer = asking.run(timeout_s)
    if not answer.certificate:
        raise SecurityError(f"the clinic refuses: {answer.reason}")
    return answer.certificate


class _Asking:
    """One question and its answer."""

    def __init__(self, broker: BrokerAddress, site: SiteId, user: str, request: Request) -> None:
        self._broker = broker
        self._ask = request_topic(site, user)
        self._hear = answer_topic(site, user)
        self._request = request
        self._digest = digest_of(request.csr)
        self._done = threading.Event()
        self._answer: Answer | None = None
        self._why = "nobody at the clinic answers: is `flarecast ca serve` running?"
        self._client = make_client(user, broker)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect

    def run(self, timeout_s: float) -> Answer:
        try:
            self._client.connect(self._broker.host, self._broker.port, keepalive=KEEPALIVE_S)
        except ssl.SSLCertVerificationError as error:
            words = error.verify_message
            raise SecurityError(
                f"{self._broker} is not trusted: {words}; is this box's clock right?"
            ) from None
        except OSError as error:
            raise SecurityError(f"cannot reach {self._broker}: {error}") from None
        self._client.loop_start()
        try:
            self._done.wait(timeout_s)
        finally:
            # from here on it is we who end it
            self._done.set()
            self._client.disconnect()
            self._client.loop_stop()
        if self._answer is None:
            raise SecurityError(self._why)
        return self._answer

    def _on_connect(self, client: Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._fail(f"{self._broker} refuses the connection: {reason}")
        else:
            client.subscribe(self._hear, qos=1)

    def _on_subscribe(self, client: Client, *_: Any) -> None:
        client.publish(self._ask, msgspec.json.encode(self._request), qos=1)

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        try:
            answer = decode_answer(bytes(message.payload))
        except MessageError:
            return
        # a late answer to an earlier question is none to this one
        if answer.request == self._digest:
            self._answer = answer
            self._done.set()

    def _on_disconnect(self, _: Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        self._fail(f"{self._broker} ends the connection ({reason}): certificate expired or revoked?")

    def _fail(self, why: str) -> None:
        if not self._done.is_set():
            self._why = why
            self._done.set()


def _load(key: bytes) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(key, password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise SecurityError("the key is not one of an elliptic curve")
    return loaded
