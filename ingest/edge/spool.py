"""The spool: what a gateway has seen and the clinic has not yet confirmed.

SQLite in WAL mode with ``synchronous=FULL``: what `append` returned for is on the
disk. Observations wait until `seal` turns them into numbered messages; a sealed
message never changes, and it is freed only by `confirm`. Nothing is dropped for want
of room: a full spool says so beforehand, and then refuses what is new.
"""

import logging
import sqlite3
import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devices.clock import HOUR, MINUTE, SECOND, Clock
from devices.observations import KINDS, Observation
from ingest.edge.runs import closed, cut, is_run, joined, length
from ingest.edge.spool_cipher import Cipher
from ingest.edge.spool_limits import SpoolLimits, SpoolState, judge
from ingest.edge.spool_reader import SpoolCounts, check_key, count, note_key, oldest_utc, used_bytes
from ingest.edge.spool_writer import MessageWriter, Waiting
from ingest.errors import MessageError, SpoolError, SpoolFullError
from ingest.wire.messages import BACKLOG_SAMPLES, LIVE_SAMPLES, decode_observation, encode_observation

logger = logging.getLogger(__name__)

DEFAULT_LIMITS: Final = SpoolLimits()
#: How long the open end of a run may wait for more of it, and how long while nothing can be sent.
MAX_WAIT: Final = 5 * MINUTE
BACKLOG_WAIT: Final = HOUR

_SCHEMA: Final = """
create table if not exists observation (
    id integer primary key, kind text not null, device text not null, appended_utc integer not null,
    samples integer not null, payload blob not null);
create index if not exists observation_order on observation (kind, device, id);
create table if not exists message (
    sequence integer primary key, kind text not null, samples integer not null, payload blob not null,
    oldest_utc integer not null default 0);
create table if not exists key_check (stored blob not null);
create table if not exists number (name text primary key, value integer not null);
create table if not exists firmware (
    device text primary key, version text not null, said_utc integer not null) without rowid;
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


class Spool:
    """Durable queue of one gateway; its methods may be called from any thread.

    Parameters
    ----------
    path : Path
        Database file, made when absent.
    clock : Clock
        Microseconds UTC.
    key : bytes, optional
        The gateway's key (:func:`ingest.edge.spool_cipher.load_key`): payloads are encrypted with it.
    limits : SpoolLimits
        When to warn, and when to take no more.

    Raises
    ------
    SpoolError
        When the file is no spool, or the key is not the one it was written with.
    """

    def __init__(
        self, path: Path, *, clock: Clock, key: bytes | None = None, limits: SpoolLimits = DEFAULT_LIMITS
    ) -> None:
        self._clock = clock
        self._cipher = Cipher(key)
        self._limits = limits
        self._folder = path.parent
        self._said = SpoolState()
        self._lock = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(path, has_key=key is not None)
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise SpoolError(f"{path}: {error}") from None
        except SpoolError:
            self._database.close()
            raise

    def _prepare(self, path: Path, *, has_key: bool) -> None:
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = full")
        self._database.executescript(_SCHEMA)
        self._add_age()
        if not check_key(self._database, self._cipher, path) and has_key:
            note_key(self._database, self._cipher)
        # A spool made anew (lost card, new box) must not use the numbers of the old one again: a late
        # acknowledgement would free what was never stored. It begins at the second it was made.
        self._database.execute(
            "insert or ignore into number values ('sequence', ?)", (max(0, self._clock() // SECOND),)
        )

    def _add_age(self) -> None:
        """A spool of the first version did not know how long a message has waited."""
        columns = [row[1] for row in self._database.execute("pragma table_info(message)")]
        if "oldest_utc" not in columns:
            self._database.execute("alter table message add column oldest_utc integer not null default 0")

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._lock:
            try:
                self._database.execute("begin immediate")
                yield self._database
                self._database.execute("commit")
            except BaseException as error:
                # a full disk may have rolled it back already
                if self._database.in_transaction:
                    self._database.execute("rollback")
                if isinstance(error, sqlite3.OperationalError):
                    is_full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
                    raise (SpoolFullError if is_full else SpoolError)(f"spool: {error}") from error
                raise

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

        Raises
        ------
        SpoolFullError
            When there is no room; neither observations nor cursors are kept, so that a
            wearable with a memory is asked again.
        """
        self._refuse_when_full()
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
            stored = self._cipher.seal(payload, observation.kind)
            rows.append((observation.kind, observation.device, now, samples, stored))
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

    def note_firmware(self, device: str, version: str) -> None:
        """A wearable states its firmware: the next message of it says so where it is another than before."""
        with self._transaction() as database:
            database.execute(
                "insert into firmware values (?, ?, 0) on conflict (device) do update"
                " set version = excluded.version, said_utc = 0 where version <> excluded.version",
                (device, version),
            )

    def seal(self, *, force: bool = False, is_live: bool = True) -> int:
        """Turn waiting observations into numbered messages.

        Without `force` the open end of a run stays until it fills a block or has
        waited :data:`MAX_WAIT`. What could not be sent anyway (`is_live` false) waits up to
        :data:`BACKLOG_WAIT` for more: a backlog is made of chunks of an hour.

        Returns
        -------
        int
            Messages made.
        """
        made = 0
        with self._lock:
            kinds = self._kinds_to_seal(is_all=force or is_live)
        for kind in kinds:
            with self._transaction() as database:
                ids: list[int] = []
                writer = MessageWriter(database, kind, self._clock(), self._cipher)
                devices = database.execute(
                    "select distinct device from observation where kind = ? order by device", (kind,)
                ).fetchall()
                for (device,) in devices:
                    rows = self._rows(database, kind, device)
                    for row in rows:
                        if row.observation is None:
                            writer.add_unreadable(row.payload, row.samples, row.appended_utc)
                            ids.append(row.number)
                    readable = [row for row in rows if row.observation is not None]
                    blocks, used = self._blocks(kind, readable, force=force, is_live=is_live)
                    ids += [row.number for row in used]
                    writer.note_age(used)
                    for block in blocks:
                        writer.add(block)
                writer.close()
                database.executemany("delete from observation where id = ?", [(number,) for number in ids])
                self._count(database, "sealed", {kind: writer.samples} if writer.samples else {})
                made += writer.made
        return made

    def _kinds_to_seal(self, *, is_all: bool) -> list[str]:
        """Kinds of which something waits; of a backlog only those with an hour of it, or from the future."""
        now = self._clock()
        return [
            kind
            for kind, samples, first, last in self._database.execute(
                "select kind, max(samples), min(first), max(last) from (select kind, sum(samples) as samples,"
                " min(appended_utc) as first, max(appended_utc) as last from observation"
                " group by kind, device) group by kind"
            )
            if is_all or samples >= BACKLOG_SAMPLES or now - first >= BACKLOG_WAIT or last > now
        ]

    def _rows(self, database: sqlite3.Connection, kind: str, device: str) -> list[Waiting]:
        """What waits of one device; a row that no longer reads as its kind has no observation."""
        rows: list[Waiting] = []
        for number, appended, samples, stored in database.execute(
            "select id, appended_utc, samples, payload from observation"
            " where kind = ? and device = ? order by id",
            (kind, device),
        ):
            payload = self._cipher.open(stored, kind)
            observation: Observation | None = None
            if payload is not None and kind in KINDS:
                try:
                    observation = decode_observation(kind, payload)
                except MessageError as error:
                    logger.error("waiting_row_invalid kind=%s reason=%s", kind, error)
            # what cannot be read goes on to the quarantine as it is: it must not hold up the rest
            rows.append(
                Waiting(number, appended, samples, stored if payload is None else payload, observation)
            )
        return rows

    def _blocks(
        self, kind: str, rows: list[Waiting], *, force: bool, is_live: bool
    ) -> tuple[list[Observation], list[Waiting]]:
        """Blocks of one device that are ready, and the rows they are made of."""
        observations = [row.observation for row in rows if row.observation is not None]
        if kind not in KINDS or not is_run(KINDS[kind]):
            return observations, rows
        now = self._clock()
        # a clock set back makes rows from the future: those have waited long enough too
        wait = MAX_WAIT if is_live else BACKLOG_WAIT
        is_due = force or any(not 0 <= now - row.appended_utc < wait for row in rows)
        ready = len(rows) if is_due else closed(observations, LIVE_SAMPLES if is_live else BACKLOG_SAMPLES)
        taken = observations[:ready]
        many = sum(length(observation) for observation in taken) >= BACKLOG_SAMPLES
        most = BACKLOG_SAMPLES if many or not is_live or kind != "rr_interval" else LIVE_SAMPLES
        blocks = [block for run in joined(taken) for block in cut(run, most)]
        return blocks, rows[:ready]

    def pending(self, *, after: int = 0, limit: int = 1000) -> list[Sealed]:
        """Unconfirmed messages with a sequence above `after`, in order."""
        with self._lock:
            rows = self._database.execute(
                "select sequence, kind, payload from message where sequence > ? order by sequence limit ?",
                (after, limit),
            ).fetchall()
        return [
            # what cannot be decrypted is sent as it lies there: the collector keeps it and says so
            Sealed(sequence, kind, self._cipher.open(stored, str(sequence)) or stored)
            for sequence, kind, stored in rows
        ]

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
            return count(self._database, self._limits, self._folder, self._clock)

    def now(self) -> int:
        """The gateway's clock, microseconds UTC."""
        return self._clock()

    def state(self) -> SpoolState:
        """How full it is; an alarm comes before anything is refused."""
        with self._lock:
            used, oldest = used_bytes(self._database), oldest_utc(self._database)
        return judge(self._limits, self._folder, used=used, oldest_utc=oldest, clock=self._clock)

    def _refuse_when_full(self) -> None:
        found = self.state()
        if found.state != self._said.state:
            level = logging.INFO if found.state == "ok" else logging.ERROR
            logger.log(level, "spool_%s reason=%s", found.state, found.word)
        self._said = found
        if found.state == "full":
            raise SpoolFullError(f"spool: {found.word}; nothing new is kept")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()
