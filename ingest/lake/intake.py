"""What a flush makes of messages: rows for the lake, refusals for the quarantine, sequences to confirm."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import pyarrow as pa

from devices.ids import DeviceId, GatewayId, SiteId
from ingest.errors import MessageError, TopicError
from ingest.lake.batches import BatchRow, batch_rows, batch_table
from ingest.lake.columns import Arrived, to_table
from ingest.lake.enrolment import Enrolment, EnrolmentRow
from ingest.lake.files import BATCHES, REFUSED
from ingest.lake.quarantine import (
    AHEAD_OF_ARRIVAL,
    OTHER_GATEWAY,
    UNKNOWN_DEVICE,
    Refused,
    is_far_ahead,
    refused_table,
)
from ingest.wire import points, theengs
from ingest.wire.messages import (
    CONTENT_TYPE,
    FOREIGN_SEQUENCE,
    VERSION,
    Batch,
    decode_batch,
    digest,
    encode_batch,
    encode_observation,
)
from ingest.wire.topics import THEENGS, Topic, parse

logger = logging.getLogger(__name__)

#: Messages remembered as stored; older ones are recognised by the readers of the lake.
REMEMBERED: Final = 200_000
#: Characters of a refusal's reason.
MOST_WORDS: Final = 500
#: Gateway, sequence (none when unreadable) and hash of the payload.
Key = tuple[str, int | None, int]


class Message(Protocol):
    """A message as the broker delivered it, and when (microseconds UTC)."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def content_type(self) -> str | None: ...
    @property
    def arrived_utc(self) -> int: ...


class Received(NamedTuple):
    """A message as it was kept."""

    topic: str
    payload: bytes
    content_type: str | None
    arrived_utc: int


@dataclass
class Flush:
    """Result of sorting a buffer of messages."""

    arrived: dict[str, list[Arrived]] = field(default_factory=lambda: defaultdict(list))
    refused: list[Refused] = field(default_factory=list[Refused])
    confirmed: dict[tuple[SiteId, GatewayId], list[int]] = field(default_factory=lambda: defaultdict(list))
    #: Digests of the stored messages whose number cannot be read.
    unreadable: dict[tuple[SiteId, GatewayId], list[bytes]] = field(default_factory=lambda: defaultdict(list))
    batches: list[BatchRow] = field(default_factory=list[BatchRow])
    received: Counter[str] = field(default_factory=Counter[str])
    repeated: int = 0
    keys: list[Key] = field(default_factory=list[Key])

    def tables(self, received_utc: int) -> dict[str, pa.Table]:
        """Tables to store."""
        tables = {kind: to_table(kind, rows, received_utc) for kind, rows in self.arrived.items()}
        if self.refused:
            tables[REFUSED] = refused_table(self.refused, received_utc)
        if self.batches:
            tables[BATCHES] = batch_table(self.batches, received_utc)
        return tables

    def stored(self) -> Counter[str]:
        """Samples to store, by kind."""
        return Counter(
            {kind: sum(one.observation.sample_count for one in rows) for kind, rows in self.arrived.items()}
        )

    def quarantined(self) -> Counter[str]:
        """Samples refused, by kind (empty when not known)."""
        counts: Counter[str] = Counter()
        for one in self.refused:
            # of a foreign client's message the wearable stands behind the kind
            counts[one.kind.partition("/")[0]] += one.sample_count
        return counts


class Intake:
    """Sorts messages; remembers what was stored, so that a message sent again is not stored again.

    Parameters
    ----------
    enrolment : Enrolment
        Whose device, by which gateway.
    """

    def __init__(self, enrolment: Enrolment) -> None:
        #: May be replaced between two calls of `sort`.
        self.enrolment = enrolment
        self._stored: set[Key] = set()
        self._stored_before: set[Key] = set()

    def sort(self, messages: Iterable[Message]) -> Flush:
        """Rows, refusals and confirmations of the messages; nothing is remembered before `remember`."""
        flush = Flush()
        fresh: set[Key] = set()
        for message in messages:
            try:
                topic = parse(message.topic)
            except TopicError as error:
                self._refuse(flush, "", "", str(error), message.payload)
                continue
            if topic.device is not None:
                self._take_foreign(flush, fresh, topic, topic.device, message)
            elif topic.is_observations:
                self._take(flush, fresh, topic, message)
        flush.keys = list(fresh)
        return flush

    def remember(self, flush: Flush) -> None:
        """The flush is on the disk: its messages need not be stored again."""
        self._stored.update(flush.keys)
        if len(self._stored) > REMEMBERED:
            self._stored_before, self._stored = self._stored, set()

    def _take(self, flush: Flush, fresh: set[Key], topic: Topic, message: Message) -> None:
        try:
            if message.content_type not in (None, CONTENT_TYPE):
                raise MessageError("content type is not that of a batch")
            decoded = decode_batch(message.payload, topic.leaf)
        except MessageError as error:
            self._confirm(flush, topic, error.sequence, message.payload)
            if self._is_new(flush, fresh, topic, error.sequence, message.payload):
                self._refuse(flush, topic.gateway, topic.leaf, str(error), message.payload)
            return
        batch = decoded.batch
        self._confirm(flush, topic, batch.sequence, message.payload)
        if not self._is_new(flush, fresh, topic, batch.sequence, message.payload):
            return
        for rejected in decoded.rejected:
            self._refuse(flush, topic.gateway, topic.leaf, rejected.reason, rejected.payload)
        owners = self._sort_observations(flush, topic, batch, message.arrived_utc)
        flush.batches += batch_rows(topic.gateway, batch, owners)

    def _take_foreign(
        self, flush: Flush, fresh: set[Key], topic: Topic, device: DeviceId, message: Message
    ) -> None:
        """A message of a client that is not ours: nobody waits for a confirmation but the broker."""
        # what Theengs says has no time of its own: equal messages are two readings
        if topic.leaf != THEENGS and not self._is_new(flush, fresh, topic, None, message.payload):
            return
        try:
            if message.content_type not in (None, points.CONTENT_TYPE):
                raise MessageError(f"content type is not {points.CONTENT_TYPE}")
            if topic.leaf == THEENGS:
                found = theengs.decode(message.payload, device, message.arrived_utc)
            else:
                found = points.decode(message.payload, device)
        except MessageError as error:
            self._refuse(flush, topic.gateway, f"{topic.leaf}/{device}", str(error), message.payload)
            return
        except Exception as error:
            # a fault of ours: delivered again and again it would end every collector that takes it
            logger.exception("codec_failed leaf=%s", topic.leaf)
            words = f"flarecast has a fault here: {error!r}"
            self._refuse(flush, topic.gateway, f"{topic.leaf}/{device}", words, message.payload)
            return
        for refusal in found.refused:
            kind = f"{topic.leaf}/{device}"
            self._refuse(flush, topic.gateway, kind, refusal.reason, refusal.payload)
        for each in found.observations:
            batch = Batch(VERSION, FOREIGN_SEQUENCE, message.arrived_utc, each.kind, [each])
            self._sort_observations(flush, topic, batch, message.arrived_utc)

    def _is_new(
        self, flush: Flush, fresh: set[Key], topic: Topic, sequence: int | None, payload: bytes
    ) -> bool:
        # the payload belongs to the key: a gateway whose spool was made anew may use a number again
        key = (topic.gateway, sequence, hash(payload))
        if key in fresh or key in self._stored or key in self._stored_before:
            flush.repeated += 1
            return False
        fresh.add(key)
        return True

    def _sort_observations(
        self, flush: Flush, topic: Topic, batch: Batch, arrived_utc: int
    ) -> list[EnrolmentRow | None]:
        """Put each observation where it belongs; returns whose each is."""
        gateway, kind, sequence = topic.gateway, batch.kind, batch.sequence
        lookup = self.enrolment.lookup
        owners: list[EnrolmentRow | None] = []
        samples = 0
        for observation in batch.observations:
            start_utc = observation.start_utc
            row = lookup(observation.device, start_utc)
            owners.append(row)
            count = observation.sample_count
            samples += count
            is_ahead = is_far_ahead(start_utc, arrived_utc)
            if row is not None and row.gateway == gateway and not is_ahead:
                flush.arrived[kind].append(Arrived(observation, gateway, sequence))
                continue
            reason = AHEAD_OF_ARRIVAL if is_ahead else UNKNOWN_DEVICE if row is None else OTHER_GATEWAY
            alone = encode_batch(sequence, batch.sealed_utc, kind, [encode_observation(observation)])
            flush.refused.append(Refused(gateway, kind, reason, count, alone))
        if samples:
            flush.received[kind] += samples
        return owners

    @staticmethod
    def _refuse(flush: Flush, gateway: str, kind: str, reason: str, payload: bytes) -> None:
        flush.received[kind.partition("/")[0]] += 1
        # what a stranger wrote may stand in the reason: no control characters, no pages of it
        words = reason if reason.isprintable() else ascii(reason)[1:-1]
        flush.refused.append(Refused(gateway, kind, words[:MOST_WORDS], 1, payload))

    @staticmethod
    def _confirm(flush: Flush, topic: Topic, sequence: int | None, payload: bytes) -> None:
        whose = (topic.site, topic.gateway)
        if sequence is None:
            flush.unreadable[whose].append(digest(payload))
        else:
            flush.confirmed[whose].append(sequence)
