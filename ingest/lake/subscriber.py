"""A session at the broker that outlives its process: what came is kept until it was dealt with.

The client's thread only fills a buffer, so keepalives go on while another thread writes; what was
taken from the buffer is acknowledged when that is done, on the connection it came by.
"""

import logging
import sys
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from paho.mqtt.client import Client
from paho.mqtt.subscribeoptions import SubscribeOptions

from devices.clock import Clock
from ingest.wire.address import BrokerAddress
from ingest.wire.bulk import Arrival, BulkClient
from ingest.wire.client import make_bulk_client, spread_reconnects, start_client

logger = logging.getLogger(__name__)


class Patience(NamedTuple):
    """First and longest wait before another connection, seconds, and messages on their way at once."""

    min_delay_s: float
    max_delay_s: float
    window: int


class Subscriber:
    """What collectors and the live path have in common.

    Parameters
    ----------
    broker : BrokerAddress
        Broker to listen to.
    name : str
        Client id: whoever comes under it again gets what it missed. Two under one name evict each other.
    filters : sequence of str
        Topics to listen to.
    clock : Clock
        Stamps arrivals, microseconds UTC.
    patience : Patience
        How it connects.
    no_local : bool
        Whether what it publishes itself need not come back; an error of the protocol where the
        subscription is shared.
    """

    def __init__(
        self,
        broker: BrokerAddress,
        name: str,
        filters: Sequence[str],
        *,
        clock: Clock,
        patience: Patience,
        no_local: bool = False,
    ) -> None:
        self._broker, self._name, self._filters = broker, name, list(filters)
        self._clock, self._patience = clock, patience
        self._options = SubscribeOptions(qos=1, noLocal=no_local)
        self._changed = threading.Condition()
        self._buffer: list[Arrival] = []
        #: Rises with every connection: packet ids of an earlier one mean nothing in this.
        self._connection = 0
        self._stopping = self._is_missed = False
        self.is_subscribed = threading.Event()

    def stop(self) -> None:
        """Ask `run` to end; may be called from a signal handler."""
        # no lock here: the handler runs on the thread that may hold it
        self._stopping = True

    def _connect(self) -> BulkClient:
        """Connect in a thread of its own, and again whenever the connection is lost."""
        client = make_bulk_client(self._name, self._broker, self._on_arrivals, clock=self._clock)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        start_client(
            client,
            self._broker,
            min_delay_s=self._patience.min_delay_s,
            max_delay_s=self._patience.max_delay_s,
            receive_maximum=self._patience.window,
        )
        return client

    def _disconnect(self, client: BulkClient) -> None:
        client.disconnect()
        client.loop_stop()

    def _listen(self, client: BulkClient, filters: Sequence[str]) -> None:
        """Listen to these topics from now on; the broker keeps what comes by those that stay."""
        before, self._filters = self._filters, list(filters)
        # a connection that is just being made subscribes to whatever stands there by then
        if added := [one for one in filters if one not in before]:
            client.subscribe([(one, self._options) for one in added])
        if gone := [one for one in before if one not in filters]:
            client.unsubscribe(gone)

    def _acknowledge(
        self,
        client: BulkClient,
        waiting: Sequence[Arrival],
        connection: int,
        answers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Tell the broker, in the order of receipt, and publish the answers.

        Not on another connection: there it delivers again what was not acknowledged, under other ids.
        """
        with self._changed:
            if connection == self._connection:
                client.ack_all([(one.mid, one.qos) for one in waiting])
                client.publish_all(answers)

    def _forget_buffer(self) -> None:
        """The broker delivers again what was not acknowledged, under other packet ids."""
        with self._changed:
            self._connection += 1
            self._buffer = []

    def _on_arrivals(self, arrivals: list[Arrival]) -> None:
        with self._changed:
            self._buffer += arrivals
            self._changed.notify_all()

    def _on_connect(self, client: Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            logger.warning("connection_refused broker=%s reason=%s", self._broker, reason)
            return
        self._is_missed = False
        self._forget_buffer()
        client.subscribe([(one, self._options) for one in self._filters])
        logger.info("connected broker=%s", self._broker)

    def _on_connect_fail(self, *_: Any) -> None:
        # once for each connection that is missing: it is tried again until it comes
        if not self._is_missed:
            self._is_missed = True
            logger.warning("cannot_connect broker=%s reason=%s", self._broker, sys.exc_info()[1])

    def _on_subscribe(self, _: Client, __: Any, ___: Any, reasons: Any, ____: Any) -> None:
        if refused := [str(one) for one in reasons if one.is_failure]:
            logger.error("subscription_refused broker=%s reasons=%s", self._broker, ",".join(refused))
            return
        # from here on the broker keeps for this name what is published; before, it has nobody to keep it for
        self.is_subscribed.set()
        logger.info("subscribed")

    def _on_disconnect(self, client: Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        self.is_subscribed.clear()
        self._forget_buffer()
        patience = self._patience
        spread_reconnects(client, min_delay_s=patience.min_delay_s, max_delay_s=patience.max_delay_s)
        logger.info("connection_lost broker=%s reason=%s", self._broker, reason)
