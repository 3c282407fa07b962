"""The forwarder: sends the spool's messages until the collector says they are in Parquet.

A broker's PUBACK is no durability (mosquitto loses acknowledged messages when it
is killed), so a message stays in the spool, and is sent again after a reconnect or
a timeout, until its number comes back on the gateway's ``ack`` topic.
"""

import logging
import queue
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo

from devices.ids import GatewayId, SiteId
from ingest.edge.spool import Sealed, Spool
from ingest.errors import MessageError, SpoolError
from ingest.wire.address import BrokerAddress
from ingest.wire.client import make_client, spread_reconnects, start_client
from ingest.wire.messages import IN_FLIGHT, Ack, State, decode_ack, digest, encode_state
from ingest.wire.topics import ack_topic, data_topic, state_topic

logger = logging.getLogger(__name__)

#: How often waiting observations are looked through for whole blocks.
SEAL_EVERY_S: Final = 5.0
#: Longest sleep of the sending thread; acknowledgements and connections wake it.
WAKE_EVERY_S: Final = 0.5
STOP_TIMEOUT_S: Final = 10.0
#: How often a gateway that is there says so, with its clock and the state of its spool.
STATE_EVERY_S: Final = 600.0


@dataclass
class _Flight:
    """A message on its way: sent, not yet confirmed."""

    message: Sealed
    mid: int
    sent_s: float


class Forwarder:
    """Sends what the spool has sealed; at most :data:`IN_FLIGHT` messages wait for the collector.

    Parameters
    ----------
    spool : Spool
        Where messages come from and are freed.
    broker : BrokerAddress
        Broker to send to.
    site, gateway
        Where this gateway stands and what it is called.
    ack_timeout_s : float
        After so many seconds without a confirmation a message is sent again.
    min_delay_s, max_delay_s : float
        Back-off between connection attempts, before jitter.
    """

    def __init__(
        self,
        spool: Spool,
        broker: BrokerAddress,
        *,
        site: SiteId,
        gateway: GatewayId,
        ack_timeout_s: float = 60.0,
        min_delay_s: float = 1.0,
        max_delay_s: float = 600.0,
    ) -> None:
        self._spool = spool
        self._broker = broker
        self._site = site
        self._gateway = gateway
        self._ack_timeout_s = ack_timeout_s
        self._min_delay_s, self._max_delay_s = min_delay_s, max_delay_s
        self._boot = secrets.token_hex(4)
        self._confirmed: queue.SimpleQueue[Ack] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._reconnected = threading.Event()
        self._connected = threading.Event()
        self._freed = threading.Condition()
        self._flights: dict[int, _Flight] = {}
        #: Packet ids the broker has taken (PUBACK), until their flight lands or is sent again.
        self._taken: set[int] = set()
        self._last_sequence = 0
        self._sealed_s = 0.0
        self._said_s = 0.0
        self._said_spool = ""
        self._client = self._make_client()
        self._thread = threading.Thread(target=self._run, name="forwarder", daemon=True)

    def start(self) -> None:
        """Connect and begin to send, in threads of its own."""
        start_client(self._client, self._broker, min_delay_s=self._min_delay_s, max_delay_s=self._max_delay_s)
        self._thread.start()

    def stop(self) -> None:
        """Say good-bye and stop; what is not confirmed stays in the spool."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)
        if self._connected.is_set():
            self._say(is_online=False).wait_for_publish(timeout=1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def drain(self, timeout_s: float) -> bool:
        """Seal what waits and stay until all of it is confirmed; whether that was in time."""
        self._spool.seal(force=True)
        self._wake.set()
        end = time.monotonic() + timeout_s
        with self._freed:
            while self._spool.pending(limit=1):
                if (left := end - time.monotonic()) <= 0:
                    return False
                self._freed.wait(min(left, WAKE_EVERY_S))
        return True

    def _make_client(self) -> Client:
        client = make_client(self._gateway, self._broker)
        client.max_inflight_messages_set(IN_FLIGHT + 1)
        client.will_set(
            str(state_topic(self._site, self._gateway)),
            encode_state(State(False, self._boot)),
            qos=1,
            retain=True,
        )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _say(self, *, is_online: bool) -> MQTTMessageInfo:
        topic = str(state_topic(self._site, self._gateway))
        spool = self._spool.state()
        self._said_s, self._said_spool = time.monotonic(), spool.state
        state = State(is_online, self._boot, utc=self._spool.now(), spool=spool.state, word=spool.word)
        return self._client.publish(topic, encode_state(state), qos=1, retain=True)

    def _say_what_is_new(self) -> None:
        is_due = time.monotonic() - self._said_s >= STATE_EVERY_S
        if is_due or self._spool.state().state != self._said_spool:
            self._say(is_online=True)

    def _on_connect(self, client: Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            logger.warning("connection_refused broker=%s reason=%s", self._broker, reason)
            return
        client.subscribe(str(ack_topic(self._site, self._gateway)), qos=1)
        self._say(is_online=True)
        self._connected.set()
        self._reconnected.set()
        self._wake.set()

    def _on_disconnect(self, client: Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        self._connected.clear()
        spread_reconnects(client, min_delay_s=self._min_delay_s, max_delay_s=self._max_delay_s)
        logger.info("connection_lost broker=%s reason=%s", self._broker, reason)

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        try:
            self._confirmed.put(decode_ack(bytes(message.payload)))
        except MessageError as error:
            logger.warning("ack_refused reason=%s", error)
        self._wake.set()

    def _on_publish(self, _: Client, __: Any, mid: int, ___: Any, ____: Any) -> None:
        self._taken.add(mid)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(WAKE_EVERY_S)
            self._wake.clear()
            try:
                self._turn()
            except SpoolError as error:
                # a full disk: what was not freed is confirmed again, what was not sealed waits
                logger.error("spool_failed reason=%s", error)

    def _turn(self) -> None:
        self._free_confirmed()
        if time.monotonic() - self._sealed_s >= SEAL_EVERY_S:
            self._sealed_s = time.monotonic()
            self._spool.seal(is_live=self._connected.is_set() and len(self._flights) < IN_FLIGHT)
            if self._connected.is_set():
                self._say_what_is_new()
        if self._connected.is_set():
            self._send_again()
            self._send_next()

    def _free_confirmed(self) -> None:
        sequences: list[int] = []
        while not self._confirmed.empty():
            ack = self._confirmed.get()
            sequences += ack.sequences
            sequences += self._refused(ack.refused)
        if not sequences:
            return
        self._spool.confirm(sequences)
        for sequence in sequences:
            if (flight := self._flights.pop(sequence, None)) is not None:
                self._taken.discard(flight.mid)
        with self._freed:
            self._freed.notify_all()

    def _refused(self, digests: Iterable[bytes]) -> list[int]:
        """Numbers of messages the collector could keep but not read; only what is on its way is meant."""
        named = set(digests)
        sequences = [
            number
            for number, flight in self._flights.items()
            if named and digest(flight.message.payload) in named
        ]
        for sequence in sequences:
            logger.error(
                "message_unreadable sequence=%d kind=%s", sequence, self._flights[sequence].message.kind
            )
        return sequences

    def _send_again(self) -> None:
        """Send what the broker took and the collector never confirmed; paho repeats what it did not take."""
        is_new_connection = self._reconnected.is_set()
        self._reconnected.clear()
        now = time.monotonic()
        # packet ids are used again: what was taken before says nothing of a later message
        flying = {flight.mid for flight in self._flights.values()}
        self._taken.difference_update([mid for mid in tuple(self._taken) if mid not in flying])
        for flight in self._flights.values():
            is_late = now - flight.sent_s >= self._ack_timeout_s
            if (is_new_connection or is_late) and flight.mid in self._taken:
                self._taken.discard(flight.mid)
                flight.mid = self._publish(flight.message)
                flight.sent_s = now

    def _send_next(self) -> None:
        room = IN_FLIGHT - len(self._flights)
        if room <= 0:
            return
        for message in self._spool.pending(after=self._last_sequence, limit=room):
            self._flights[message.sequence] = _Flight(message, self._publish(message), time.monotonic())
            self._last_sequence = message.sequence

    def _publish(self, message: Sealed) -> int:
        topic = str(data_topic(self._site, self._gateway, message.kind))
        return self._client.publish(topic, message.payload, qos=1).mid
