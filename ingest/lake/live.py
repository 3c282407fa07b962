"""Observations to whoever must know at once, beside the collector and independent of it.

A subscriber of its own: its session outlives it at the broker, it shares nothing with
the collectors, and it acknowledges a message only after what was made of it has been
committed. What it cannot read or place it leaves to the collector's quarantine.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from devices.clock import Clock
from devices.observations import Observation
from ingest.errors import IngestError
from ingest.lake.enrolment import Enrolment, EnrolmentRow
from ingest.lake.intake import Intake
from ingest.lake.quarantine import AHEAD_OF_ARRIVAL, Refused
from ingest.lake.subscriber import Patience, Subscriber
from ingest.wire.address import BrokerAddress
from ingest.wire.bulk import Arrival, BulkClient
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


class LiveSubscriber(Subscriber):
    """Hands observations over as they come, until stopped.

    Parameters
    ----------
    broker : BrokerAddress
        Broker to listen to.
    enrolment : callable
        Whose device it is, asked at every arrival.
    kinds : callable
        Observation kinds to listen to, asked all the time: others are listened to without a restart.
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
        kinds: Callable[[], frozenset[str]],
        on_observations: Callable[[Sequence[LiveObservation]], None],
        *,
        clock: Clock,
        name: str = "live-1",
    ) -> None:
        patience = Patience(MIN_DELAY_S, MAX_DELAY_S, WINDOW)
        self._enrolment, self._ask_kinds = enrolment, kinds
        self._kinds = kinds()
        super().__init__(broker, name, live_subscriptions(self._kinds), clock=clock, patience=patience)
        self._on_observations = on_observations

    def run(self) -> None:
        """Listen until :meth:`stop`; what was not acknowledged is delivered to the next one of this name."""
        client = self._connect()
        try:
            while not self._stopping:
                self._follow_kinds(client)
                self._take_next(client)
        finally:
            self._disconnect(client)

    def _follow_kinds(self, client: BulkClient) -> None:
        kinds = self._ask_kinds()
        if kinds != self._kinds:
            LOG.info("live_listens kinds=%s", ",".join(sorted(kinds)))
            self._kinds = kinds
            self._listen(client, live_subscriptions(kinds))

    def _take_next(self, client: BulkClient) -> None:
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
        self._acknowledge(client, waiting, connection)

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
