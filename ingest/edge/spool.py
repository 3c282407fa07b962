"""The spool: what a gateway has seen and the clinic has not yet confirmed.

SQLite in WAL mode with ``synchronous=FULL``: what `append` returned for is on the
disk. Observations wait until `seal` turns them into numbered messages; a sealed
message never changes, and it is freed only by `confirm`.
"""

import logging
import sqlite3
import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from devices.clock import MINUTE, SECOND, Clock
from devices.observations import KINDS, Observation
from ingest.edge.runs import continues, cut, is_run, joined, length
from ingest.errors import MessageError
from ingest.wire.messages import (
    BACKLOG_SAMPLES,
    LIVE_SAMPLES,
    MESSAGE_BYTES,
    decode_observation,
    encode_batch,
    encode_observation,
)

logger = logging.getLogger(__name__)

#: How long the open end of a run may wait for more of it.
MAX_WAIT: Final = 5 * MINUTE

#: The earliest instant the wire accepts (devices.observations.Utc), microseconds UTC.
EARLIEST_UTC: Final = 1_000_000_000_000_000

_SCHEMA: Final = """
create table if not exists observation (
    id integer primary key, kind text not null, device text not null, appended_utc integer not null,
    samples integer not null, payload blob not null);
create index if not exists observation_order on observation (kind, device, id);
create table if not exists message (
    sequence integer primary key, kind text not null, samples integer not null, payload blob not null);
create table if not exists number (name text primary key, value integer not null);
create table if not exists cursor (name text primary key, value integer not null);
create table if not exists counter (
    kind text not null, what text not null, samples integer not null, primary key (kind, what));
"""


@dataclass(frozen=True)
class Sealed:
    """A numbered message; the same bytes every time it is sent."""

    sequence: int
    kind: str
    payload: bytes


@dataclass(frozen=True)
class KindCounts:
    """Samples of one kind since the spool was made.

    ``appended == waiting + sealed``; ``sealed - confirmed`` lie in unconfirmed
    messages; ``refused`` were not valid and never entered.
    """

    appended: int = 0
    waiting: int = 0
    sealed: int = 0
    confirmed: int = 0
    refused: int = 0


@dataclass(frozen=True)
class SpoolCounts(KindCounts):
    """The same in total, by kind, and the messages not yet confirmed."""

    messages: int = 0
    by_kind: Mapping[str, KindCounts] = field(default_factory=dict[str, KindCounts])


class Spool:
    """Durable queue of one gateway; its methods may be called from any thread.

    Parameters
    ----------
    path : Path
        Database file, made when absent.
    clock : Clock
        Microseconds UTC.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = full")
        self._database.executescript(_SCHEMA)
        # A spool made anew (lost card, new box) must not use the numbers of the old one again: a late
        # acknowledgement would free what was never stored. It begins at the second it was made.
        self._database.execute(
            "insert or ignore into number values ('sequence', ?)", (max(0, clock() // SECOND),)
        )

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("begin immediate")
            try:
                yield self._database
            except BaseException:
                self._database.execute("rollback")
                raise
            self._database.execute("commit")

    def append(self, observations: Iterable[Observation], *, cursors: Mapping[str, int] | None = None) -> int:
        """Keep observations; they are on the disk when this returns.

        An observation that its own kind forbids is refused and counted: in a
        message it would only be refused later.

        Parameters
        ----------
        observations
            In the order they were observed, per device.
        cursors
            How far each device's history is read; moves in the same transaction.

        Returns
        -------
        int
            Samples kept.
        """
        now = self._clock()
        rows: list[tuple[str, str, int, int, bytes]] = []
        kept: dict[str, int] = {}
        refused: dict[str, int] = {}
        for observation in observations:
            payload = encode_observation(observation)
            try:
                decode_observation(observation.kind, payload)
            except MessageError as error:
                logger.warning("observation_refused kind=%s reason=%s", observation.kind, error)
                refused[observation.kind] = refused.get(observation.kind, 0) + 1
                continue
            samples = observation.sample_count
            kept[observation.kind] = kept.get(observation.kind, 0) + samples
            rows.append((observation.kind, observation.device, now, samples, payload))
        with self._transaction() as database:
            database.executemany(
                "insert into observation (kind, device, appended_utc, samples, payload) values (?,?,?,?,?)",
                rows,
            )
            database.executemany("insert or replace into cursor values (?, ?)", (cursors or {}).items())
            self._count(database, "appended", kept)
            self._count(database, "refused", refused)
        return sum(kept.values())

    @staticmethod
    def _count(database: sqlite3.Connection, what: str, samples: Mapping[str, int]) -> None:
        database.executemany(
            "insert into counter values (?, ?, ?)"
            " on conflict do update set samples = samples + excluded.samples",
            [(kind, what, count) for kind, count in samples.items()],
        )

    def cursor(self, name: str) -> int | None:
        """Where the history of `name` was left, or ``None``."""
        with self._lock:
            row = self._database.execute("select value from cursor where name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def seal(self, *, force: bool = False) -> int:
        """Turn waiting observations into numbered messages.

        Without `force` the open end of a run stays until it fills a block or has
        waited :data:`MAX_WAIT`.

        Returns
        -------
        int
            Messages made.
        """
        made = 0
        for kind, cls in KINDS.items():
            with self._transaction() as database:
                ids: list[int] = []
                writer = _MessageWriter(database, kind, self._clock())
                devices = database.execute(
                    "select distinct device from observation where kind = ? order by device", (kind,)
                ).fetchall()
                for (device,) in devices:
                    blocks, used = self._blocks(database, cls, device, force=force)
                    ids += used
                    for block in blocks:
                        writer.add(block)
                writer.close()
                database.executemany("delete from observation where id = ?", [(number,) for number in ids])
                self._count(database, "sealed", {kind: writer.samples} if writer.samples else {})
                made += writer.made
        return made

    def _blocks(
        self, database: sqlite3.Connection, cls: type[Observation], device: str, *, force: bool
    ) -> tuple[list[Observation], list[int]]:
        """Blocks of one device that are ready, and the rows they are made of."""
        rows = database.execute(
            "select id, appended_utc, payload from observation where kind = ? and device = ? order by id",
            (cls.kind, device),
        ).fetchall()
        observations = [decode_observation(cls.kind, payload) for _, _, payload in rows]
        now = self._clock()
        # a clock set back makes rows from the future: those have waited long enough too
        is_due = force or any(not 0 <= now - appended < MAX_WAIT for _, appended, _ in rows)
        if not is_run(cls):
            return observations, [row[0] for row in rows]
        ready = len(rows) if is_due else _closed(observations)
        taken = observations[:ready]
        many = sum(length(observation) for observation in taken) >= BACKLOG_SAMPLES
        most = BACKLOG_SAMPLES if many or cls.kind != "rr_interval" else LIVE_SAMPLES
        blocks = [block for run in joined(taken) for block in cut(run, most)]
        return blocks, [row[0] for row in rows[:ready]]

    def pending(self, *, after: int = 0, limit: int = 1000) -> list[Sealed]:
        """Unconfirmed messages with a sequence above `after`, in order."""
        with self._lock:
            rows = self._database.execute(
                "select sequence, kind, payload from message where sequence > ? order by sequence limit ?",
                (after, limit),
            ).fetchall()
        return [Sealed(*row) for row in rows]

    def confirm(self, sequences: Iterable[int]) -> int:
        """Free messages that the collector has committed; unknown numbers are ignored.

        Returns
        -------
        int
            Messages freed.
        """
        freed = 0
        confirmed: dict[str, int] = {}
        with self._transaction() as database:
            for sequence in sequences:
                row = database.execute(
                    "delete from message where sequence = ? returning kind, samples", (sequence,)
                ).fetchone()
                if row is not None:
                    freed += 1
                    confirmed[row[0]] = confirmed.get(row[0], 0) + row[1]
            self._count(database, "confirmed", confirmed)
        return freed

    def counts(self) -> SpoolCounts:
        """Samples appended, waiting, sealed and confirmed since the spool was made."""
        with self._lock:
            counters = self._database.execute("select kind, what, samples from counter").fetchall()
            messages = self._database.execute("select count(*) from message").fetchone()[0]
        kinds: dict[str, dict[str, int]] = {}
        for kind, what, samples in counters:
            kinds.setdefault(kind, {})[what] = samples
        for counted in kinds.values():
            counted["waiting"] = counted.get("appended", 0) - counted.get("sealed", 0)
        names = ("appended", "waiting", "sealed", "confirmed", "refused")
        total = {name: sum(counted.get(name, 0) for counted in kinds.values()) for name in names}
        by_kind = {kind: KindCounts(**counted) for kind, counted in kinds.items()}
        return SpoolCounts(**total, messages=messages, by_kind=by_kind)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()


def _closed(observations: list[Observation]) -> int:
    """How many observations, from the front, fill whole blocks: the rest of the last run stays open."""
    open_from, samples = 0, 0
    previous: Observation | None = None
    for index, observation in enumerate(observations):
        if previous is not None and not continues(previous, observation):
            open_from, samples = index, 0
        samples += length(observation)
        if samples >= LIVE_SAMPLES:
            open_from, samples = index + 1, 0
        previous = observation
    return open_from


class _MessageWriter:
    """Fills messages of one kind up to the size aimed at."""

    def __init__(self, database: sqlite3.Connection, kind: str, now: int) -> None:
        self._database = database
        self._kind = kind
        self._now = now
        self._encoded: list[bytes] = []
        self._size = 0
        self._open_samples = 0
        self._last: Observation | None = None
        self.samples = 0
        self.made = 0

    def add(self, block: Observation) -> None:
        """Put a block into the open message, or begin the next."""
        encoded = encode_observation(block)
        # a slot that is said again is the same sample revised: the later word needs the higher number
        is_revision = (
            self._last is not None
            and is_run(type(block))
            and self._last.device == block.device
            and block.start_utc < self._last.end_utc
        )
        if self._encoded and (is_revision or self._size + len(encoded) > MESSAGE_BYTES):
            self.close()
        self._encoded.append(encoded)
        self._size += len(encoded)
        self._open_samples += block.sample_count
        self._last = block

    def close(self) -> None:
        """Number the open message and store it."""
        if not self._encoded:
            return
        sequence: int = self._database.execute(
            "update number set value = value + 1 where name = 'sequence' returning value"
        ).fetchone()[0]
        # a box without a battery wakes up in 1970; a batch must not be refused for that
        sealed = max(self._now, EARLIEST_UTC)
        payload = encode_batch(sequence, sealed, self._kind, self._encoded)
        self._database.execute(
            "insert into message values (?, ?, ?, ?)", (sequence, self._kind, self._open_samples, payload)
        )
        self.samples += self._open_samples
        self.made += 1
        self._encoded, self._size, self._open_samples = [], 0, 0
