"""Observations to whoever must know at once, beside the collector and independent of it.

A subscriber of its own: its session outlives it at the broker, it shares nothing with
the collectors, and it acknowledges a message only after what was made of it has been
committed. What it cannot read or place it leaves to the collector's quarantine.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from paho.mqtt.subscribeoptions import SubscribeOptions

from devices.clock import Clock
from devices.observations import Observation
from ingest.errors import IngestError
from ingest.lake.enrolment import Enrolment, EnrolmentRow
from ingest.lake.intake import Intake
from ingest.lake.quarantine import AHEAD_OF_ARRIVAL, Refused
from ingest.wire.address import BrokerAddress
from ingest.wire.bulk import Arrival, BulkClient
from ingest.wire.client import make_bulk_client, spread_reconnects, start_client
from ingest.wire.messages import decode_batch
from ingest.wire.topics import live_subscriptions

LOG = logging.getLogger(__name__)

MIN_DELAY_S: Final = 0.2
MAX_DELAY_S: Final = 10.0
#: Messages the broker delivers before it wants an acknowledgement.
WINDOW: Final = 1000
RETRY_S: Final = 1.0
#: A message waits so long for company: a commit for each would leave others no time in the store.
GATHER_S: Final = 0.025


class LiveObservation(NamedTuple):
    """An observation of a patient, and when it arrived (microseconds UTC)."""

    patient: str
    site: str
    zone: str
    observation: Observation
    arrived_utc: int


class Unavailable(IngestError):
    """What should keep the observations cannot do so now; they are offered again."""


class LiveSubscriber:
    """Hands observations over as they come, until stopped.

    Parameters
    ----------
    broker : BrokerAddress
        Broker to listen to.
    enrolment : callable
        Whose device it is, asked at every arrival.
    kinds : iterable of str
        Observation kinds to listen to.
    on_observations : callable
        Takes the observations of some messages, in order; returns when they are committed.
        Raises `Unavailable` to be offered them again.
    clock : Clock
        Stamps arrivals.
    name : str
        Client id: whoever comes under it again gets what it missed.
    """

    def __init__(
        self,
        broker: BrokerAddress,
        enrolment: Callable[[], Enrolment],
        kinds: Iterable[str],
        on_observations: Callable[[Sequence[LiveObservation]], None],
        *,
        clock: Clock,
        name: str = "live-1",
    ) -> None:
        self._broker = broker
        self._enrolment = enrolment
        self._subscriptions = live_subscriptions(kinds)
        self._kinds = frozenset(kinds)
        self._on_observations = on_observations
        self._changed = threading.Condition()
        self._buffer: list[Arrival] = []
        #: Rises with every connection: packet ids of an earlier one mean nothing in this.
        self._connection = 0
        self._stopping = False
        self.is_subscribed = threading.Event()
        self._client = self._make_client(name, clock)

    def run(self) -> None:
        """Listen until :meth:`stop`; what was not acknowledged is delivered to the next one of this name."""
        start_client(
            self._client,
            self._broker,
            min_delay_s=MIN_DELAY_S,
            max_delay_s=MAX_DELAY_S,
            receive_maximum=WINDOW,
        )
        try:
            while not self._stopping:
                self._take_next()
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def stop(self) -> None:
        """Ask `run` to end; may be called from a signal handler."""
        # no lock here: the handler runs on the thread that may hold it
        self._stopping = True

    def _take_next(self) -> None:
        with self._changed:
            if not self._buffer:
                self._changed.wait(0.2)
            if not self._buffer:
                return
        time.sleep(GATHER_S)
        with self._changed:
            waiting, self._buffer, connection = self._buffer, [], self._connection
        while not self._is_kept(waiting):
            if self._stopping:
                return
            time.sleep(RETRY_S)
        with self._changed:
            if connection == self._connection:
                self._client.ack_all([(one.mid, one.qos) for one in waiting])

    def _is_kept(self, waiting: Sequence[Arrival]) -> bool:
        """Whether what was made of the messages is committed; false to try again."""
        if not waiting:
            return True
        try:
            self._hand_over(waiting)
        except Unavailable as fault:
            LOG.error("live_not_kept messages=%d reason=%s", len(waiting), fault)
            return False
        return True

    def _hand_over(self, waiting: Sequence[Arrival]) -> None:
        """All at once; where that fails, one by one, so that a message does not hold up the others."""
        found = [list(placed([one], self._enrolment(), self._kinds)) for one in waiting]
        try:
            self._on_observations([each for rows in found for each in rows])
        except Unavailable:
            raise
        except Exception:
            if len(waiting) == 1:
                # it is in the lake all the same, where the night finds it
                LOG.exception("live_not_judged messages=1")
                return
            LOG.warning("live_one_by_one messages=%d", len(waiting))
            for one in waiting:
                self._hand_over([one])

    def _make_client(self, name: str, clock: Clock) -> BulkClient:
        client = make_bulk_client(name, self._broker, self._on_arrivals, clock=clock)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        return client

    def _on_connect(self, client: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            LOG.warning("connection_refused broker=%s reason=%s", self._broker, reason)
            return
        self._forget_buffer()
        client.subscribe([(one, SubscribeOptions(qos=1)) for one in self._subscriptions])
        LOG.info("connected broker=%s", self._broker)

    def _on_subscribe(self, *_: Any) -> None:
        # from here on the broker keeps for this name what is published; before, it has nobody to keep it for
        self.is_subscribed.set()
        LOG.info("subscribed")

    def _on_disconnect(self, client: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        self.is_subscribed.clear()
        self._forget_buffer()
        spread_reconnects(client, min_delay_s=MIN_DELAY_S, max_delay_s=MAX_DELAY_S)
        LOG.info("connection_lost broker=%s reason=%s", self._broker, reason)

    def _forget_buffer(self) -> None:
        """The broker delivers again what was not acknowledged, under other packet ids."""
        with self._changed:
            self._connection += 1
            self._buffer = []

    def _on_arrivals(self, arrivals: list[Arrival]) -> None:
        with self._changed:
            self._buffer += arrivals
            self._changed.notify_all()


def placed(
    messages: Iterable[Arrival], enrolment: Enrolment, kinds: frozenset[str]
) -> Iterator[LiveObservation]:
    """Observations of the wanted kinds in some messages, with whose they are.

    One that a wrong clock puts days ahead waits in the quarantine of the lake; here it is taken as of
    its arrival: an answer does not wait until somebody has looked at the clocks.
    """
    for message in messages:
        flush = Intake(enrolment).sort([message])
        for kind in flush.arrived.keys() & kinds:
            for one in flush.arrived[kind]:
                row = enrolment.lookup(one.observation.device, one.observation.start_utc)
                if row is not None:
                    yield _live(row, one.observation, message.arrived_utc)
        for refused in flush.refused:
            if refused.reason == AHEAD_OF_ARRIVAL and refused.kind in kinds:
                yield from _ahead(refused, enrolment, message.arrived_utc)


def _ahead(refused: Refused, enrolment: Enrolment, arrived_utc: int) -> Iterator[LiveObservation]:
    for observation in decode_batch(refused.payload, refused.kind).batch.observations:
        row = enrolment.lookup(observation.device, arrived_utc)
        if row is not None and row.gateway == refused.gateway:
            yield _live(row, observation, arrived_utc)


def _live(row: EnrolmentRow, observation: Observation, arrived_utc: int) -> LiveObservation:
    return LiveObservation(row.patient, row.site, row.zone, observation, arrived_utc)
