"""The collector: messages from the broker to Parquet, acknowledged only when durable.

Messages gather in a buffer; a flush stores them (stage, fsync, rename, fsync of the
folder), then acknowledges to the broker in the order of receipt, then tells each
gateway which of its messages it may free. paho's thread only fills the buffer, so
keepalives go on while Parquet is written. A third thread that writes while the next
flush is sorted was measured and is not worth it: what it saves of waiting for the disk
goes into turns at Python's one lock.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from typing import Any, Final

import pyarrow as pa
from paho.mqtt.client import Client

from devices.clock import MINUTE, SECOND, Clock
from ingest.lake.counts import Counts
from ingest.lake.enrolment import Enrolment
from ingest.lake.files import RAW_MESSAGES, Lake
from ingest.lake.intake import Intake
from ingest.lake.presence import Presence
from ingest.lake.raw import KEEP_DAYS, forget, is_worth_keeping, keep_since, raw_table
from ingest.lake.subscriber import Patience, Subscriber
from ingest.wire.address import BrokerAddress
from ingest.wire.bulk import Arrival, BulkClient
from ingest.wire.messages import IN_FLIGHT, encode_ack
from ingest.wire.topics import STATE, ack_topic, subscriptions

logger = logging.getLogger(__name__)

#: A flush is worth its files from here on, whatever window the broker grants.
MOST_MESSAGES: Final = 4096
#: Bytes of payload that call for a flush: 16 MiB of RR are 8 million intervals.
MOST_BYTES: Final = 16 * 2**20
#: Silence after which a gateway with a full window is taken to wait for us, seconds.
QUIET_S: Final = 0.02
RETRY_S: Final = 1.0
#: An idle collector says this often that it is alive, a busy one what it has done.
HEARTBEAT: Final = MINUTE
STATUS_EVERY: Final = SECOND
MIN_DELAY_S: Final = 0.5
_STATE_ENDING: Final = f"/{STATE}"
MAX_DELAY_S: Final = 30.0


class Collector(Subscriber):
    """Stores what gateways send until stopped.

    Parameters
    ----------
    broker : BrokerAddress
        Broker to collect from.
    lake : Lake
        Where to store.
    enrolment : Enrolment or callable
        Which devices are known, and by which gateway; a callable is asked before every flush.
    clock : Clock
        Microseconds UTC.
    collector : str
        Client id, and name of the status file. Two collectors under one name evict each other.
    window : int
        Messages the broker delivers before it wants an acknowledgement: 100 for the embedded one.
    flush_s : float
        Longest wait of a message for company, seconds.
    group : str, optional
        Name of the group of collectors that share the work, each under a name of its own.
    keep_raw_days : int
        Days that messages are kept as they came, to be replayed; 0 keeps none.
    """

    def __init__(
        self,
        broker: BrokerAddress,
        lake: Lake,
        enrolment: Enrolment | Callable[[], Enrolment],
        *,
        clock: Clock,
        collector: str = "collector-1",
        window: int = 100,
        flush_s: float = 2.0,
        group: str | None = None,
        keep_raw_days: int = KEEP_DAYS,
    ) -> None:
        # a disk that takes no more is felt by the broker: it delivers the window and no message beyond
        patience = Patience(MIN_DELAY_S, MAX_DELAY_S, window)
        super().__init__(
            broker, collector, subscriptions(group), clock=clock, patience=patience, no_local=group is None
        )
        self._lake = lake
        # at half of the window the broker still has the other half to deliver while we write
        self._enough = max(1, min(window // 2, MOST_MESSAGES))
        self._flush_s = flush_s
        self._is_alone = group is None
        self._enrolment = (lambda: enrolment) if isinstance(enrolment, Enrolment) else enrolment
        self._intake = Intake(self._enrolment())
        self._presence = Presence(lake.root, collector, clock=clock)
        self._bytes = 0
        self._oldest_s = 0.0
        self._newest_s = 0.0
        #: What was done, for the status and for a monitor.
        self.counts = Counts()
        self._keep_raw_days = keep_raw_days
        self._forgotten_until: date | None = None
        self._is_news = self._was_subscribed = False
        self._started_utc = self._status_utc = clock()

    def run(self) -> None:
        """Collect until :meth:`stop`; what is in the buffer then is stored and acknowledged."""
        self.counts.take_up(self._lake.root / "status" / f"{self._name}.json")
        swept = self._lake.sweep(self._name)
        if swept:
            logger.info("orphans_swept files=%d", swept)
        self._write_status()
        client = self._connect()
        try:
            is_stored = True
            while not self._stopping and is_stored:
                is_stored = self._flush_next(client)
                self._say_what_is_new()
            # after a flush that failed nothing later may be acknowledged: at a PUBACK out of order the
            # embedded broker forgets the older message
            if is_stored:
                self._flush_next(client)
        finally:
            if not self._is_alone and self.counts.is_subscribed:
                self._leave(client)
            self._disconnect(client)
            self._write_status()
            self._presence.save(at_once=True)

    def _say_what_is_new(self) -> None:
        """Keep the files that others read of us up to date."""
        # the clock may be set back
        since = abs(self._clock() - self._status_utc)
        is_subscribed = self.counts.is_subscribed
        is_news = self._is_news and since >= STATUS_EVERY
        if is_subscribed != self._was_subscribed or is_news or since >= HEARTBEAT:
            self._is_news, self._was_subscribed = False, is_subscribed
            self._write_status()
        self._presence.save()

    def _leave(self, client: Client) -> None:
        """Give our share of the work to the others: kept for us, it would wait for our return."""
        done = threading.Event()
        client.on_unsubscribe = lambda *_: done.set()
        client.unsubscribe(self._filters)
        done.wait(RETRY_S)

    def _on_connect(self, client: Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        self.counts.connections += not reason.is_failure
        super()._on_connect(client, _, __, reason, ___)

    def _on_subscribe(self, _: Client, __: Any, ___: Any, reasons: Any, ____: Any) -> None:
        super()._on_subscribe(_, __, ___, reasons, ____)
        self.counts.is_subscribed = self.is_subscribed.is_set()

    def _on_disconnect(self, client: Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        self.counts.is_subscribed = False
        super()._on_disconnect(client, _, __, reason, ___)

    def _forget_buffer(self) -> None:
        with self._changed:
            super()._forget_buffer()
            self._bytes = 0

    def _on_arrivals(self, arrivals: list[Arrival]) -> None:
        for one in arrivals:
            if one.topic.endswith(_STATE_ENDING):
                self._presence.hear(one.topic, one.payload, is_retained=one.is_retained)
        with self._changed:
            self._newest_s = time.monotonic()
            was_empty = not self._buffer
            if was_empty:
                self._oldest_s = self._newest_s
            self._buffer += arrivals
            self._bytes += sum([len(one.payload) for one in arrivals])
            if was_empty or self._is_due():
                self._changed.notify_all()

    def _is_due(self) -> bool:
        if not self._buffer:
            return False
        now = time.monotonic()
        if len(self._buffer) >= self._enough or self._bytes >= MOST_BYTES or self._stopping:
            return True
        if now - self._oldest_s >= self._flush_s:
            return True
        if now - self._newest_s < QUIET_S:
            return False
        by_gateway = Counter([one.topic.rpartition("/")[0] for one in self._buffer])
        return max(by_gateway.values()) >= IN_FLIGHT

    def _next_buffer(self) -> tuple[list[Arrival], int]:
        """Messages to store now; empty after a while without, or when stopping."""
        end = time.monotonic() + 0.2
        with self._changed:
            while not self._is_due() and not self._stopping and time.monotonic() < end:
                self._changed.wait(QUIET_S if self._buffer else 0.2)
            if not self._is_due():
                return [], self._connection
            waiting, self._buffer, self._bytes = self._buffer, [], 0
            return waiting, self._connection

    def _flush_next(self, client: BulkClient) -> bool:
        """Store and acknowledge what is due; false when it could not be stored before we were stopped."""
        waiting, connection = self._next_buffer()
        if not waiting:
            return True
        self._intake.enrolment = self._enrolment()
        flush = self._intake.sort(waiting)
        now = self._clock()
        tables = flush.tables(now)
        kept = [one for one in waiting if is_worth_keeping(one)] if self._keep_raw_days else []
        if kept:
            tables[RAW_MESSAGES] = raw_table(kept)
        began = time.monotonic()
        if not self._store(tables, now):
            return False
        commit_s = time.monotonic() - began
        self._intake.remember(flush)
        gateways = flush.confirmed.keys() | flush.unreadable.keys()
        self._presence.brought({gateway for _, gateway in gateways})
        # with quality 0: a gateway that does not hear sends again after a while, and is told again
        acks = [
            (str(ack_topic(*whose)), encode_ack(flush.confirmed.get(whose, []), flush.unreadable.get(whose)))
            for whose in gateways
        ]
        self._acknowledge(client, waiting, connection, acks)
        self.counts.add(flush, len(waiting), commit_s=commit_s, now=self._clock())
        self._is_news = True
        return True

    def _store(self, tables: dict[str, pa.Table], now: int) -> bool:
        """Commit tables; a full or absent disk is tried again until there is room or we are stopped."""
        while True:
            try:
                self._lake.commit(tables, writer=self._name, now=now)
            except OSError as error:
                logger.error("store_failed reason=%s", error)
                # half-written files of this try must not be what fills the disk for the next
                with suppress(OSError):
                    self._lake.sweep(self._name)
                if self._stopping:
                    return False
                time.sleep(RETRY_S)
            else:
                return True

    def _forget_old(self) -> None:
        """Once a day, forget messages that were kept long enough, copies of what is gone, and strangers."""
        until = keep_since(self._clock(), self._keep_raw_days)
        if until == self._forgotten_until:
            return
        self._forgotten_until = until
        self._presence.forget_strangers({row.gateway for row in self._enrolment().rows})
        try:
            forget(self._lake, before=until)
            self._lake.forget_copies()
        except FileNotFoundError:
            pass  # another collector of the group is at it too
        except OSError as error:
            # object storage that is away ends no collector either; tomorrow is another day
            logger.error("old_messages_not_deleted reason=%s", error)

    def _write_status(self) -> None:
        self._status_utc = self._clock()
        self._forget_old()
        status = self.counts.status()
        status["utc"] = {"started": self._started_utc, "updated": self._clock()}
        try:
            self._lake.write_status(self._name, status)
        except OSError as error:
            # a full disk stops the storing, never the collector
            logger.error("status_not_written reason=%s", error)
