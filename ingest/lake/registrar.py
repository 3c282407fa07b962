"""The registrar: answers gateways that ask for their certificate, beside the authority's key."""

import logging
import threading
from typing import Any, Final

import msgspec
from paho.mqtt.client import Client, MQTTMessage

from devices.clock import Clock
from ingest.errors import IngestError, MessageError, TopicError
from ingest.lake.security import Authority
from ingest.lake.security_invitations import Invitations
from ingest.wire.address import BrokerAddress
from ingest.wire.certificates import (
    JOINING,
    REGISTRAR,
    REQUESTS,
    Answer,
    Request,
    answer_topic,
    decode_request,
    digest_of,
    parse_request_topic,
)
from ingest.wire.client import KEEPALIVE_S, make_client, spread_reconnects

logger = logging.getLogger(__name__)

MIN_DELAY_S: Final = 0.5
MAX_DELAY_S: Final = 30.0


class Registrar:
    """Signs what invited and known gateways ask for, until stopped.

    What is asked while it is not there is asked again: nothing is queued for it.

    Parameters
    ----------
    authority : Authority
        Who signs.
    broker : BrokerAddress
        The listener beside the broker, with the registrar's own certificate.
    clock : Clock
        Microseconds UTC.
    """

    def __init__(self, authority: Authority, broker: BrokerAddress, *, clock: Clock) -> None:
        self._invitations = Invitations(authority, clock=clock)
        self._broker = broker
        self._stopping = threading.Event()
        self.is_listening = threading.Event()

    def run(self) -> None:
        """Answer until :meth:`stop`."""
        client = make_client(REGISTRAR, self._broker)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = lambda *_: self.is_listening.set()
        client.on_message = self._on_message
        spread_reconnects(client, min_delay_s=MIN_DELAY_S, max_delay_s=MAX_DELAY_S)
        client.connect_async(self._broker.host, self._broker.port, keepalive=KEEPALIVE_S)
        client.loop_start()
        try:
            while not self._stopping.wait(0.2):
                pass
        finally:
            client.disconnect()
            client.loop_stop()

    def stop(self) -> None:
        """Ask `run` to end; may be called from a signal handler."""
        self._stopping.set()

    def _on_connect(self, client: Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            logger.warning("connection_refused broker=%s reason=%s", self._broker, reason)
            return
        client.subscribe(REQUESTS, qos=1)
        logger.info("connected broker=%s", self._broker)

    def _on_disconnect(self, _: Client, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        self.is_listening.clear()
        logger.info("connection_lost broker=%s reason=%s", self._broker, reason)

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        try:
            site, user = parse_request_topic(message.topic)
            request = decode_request(bytes(message.payload))
        except (TopicError, MessageError) as error:
            logger.warning("request_refused reason=%s", error)
            return
        answer = self._answer(user, request)
        client.publish(str(answer_topic(site, user)), msgspec.json.encode(answer), qos=1)

    def _answer(self, user: str, request: Request) -> Answer:
        name = digest_of(request.csr)
        try:
            # the broker has checked who asks: the user in the topic is the name in its certificate
            if user.startswith(JOINING):
                certificate = self._invitations.redeem(user.removeprefix(JOINING), request)
            else:
                certificate = self._invitations.renew(user, request)
        except (IngestError, OSError) as error:
            logger.warning("certificate_refused user=%s reason=%s", user, error)
            reason = str(error) if isinstance(error, IngestError) else "the clinic cannot sign at the moment"
            return Answer(name, reason=reason)
        logger.info("certificate_issued user=%s", user)
        return Answer(name, certificate=certificate)
