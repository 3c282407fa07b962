"""The ledger: per wearable, what was kept and when, what was refused, and for which times nothing is known.

What is kept is counted in the spool itself, as cursors of the transaction that
stores it, so that count and samples cannot disagree. Refused frames (encrypted as the
spool's payloads are) and gaps lie in a database of their own: counted for ever, kept up
to a limit, oldest out first. On a full disk they wait in memory until there is room.
"""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from devices.clock import SECOND, Clock
from devices.drivers.session import Gap
from devices.ids import DeviceId
from devices.observations import Observation
from ingest.edge.keeper import CLOCK_PREFIX, HEARD_LOG, SpoolWriter, cursor_name
from ingest.edge.spool_cipher import Cipher
from ingest.edge.spool_reader import DeviceSamples, open_to_read
from ingest.errors import MessageError, SpoolError
from ingest.wire.messages import decode_observation, encode_observation

logger = logging.getLogger(__name__)

#: Refused frames and gaps of a gateway kept for a closer look; beyond, they are only counted.
FRAMES_KEPT: Final = 10_000
GAPS_KEPT: Final = 10_000
#: No notification is longer; what is refused of a stored log is shortened to this.
FRAME_BYTES: Final = 512
KEPT_LOG: Final = "kept"
#: Cursors of when something of a kind last came.
HEARD_PREFIX: Final = "heard-"
#: Frames and gaps that wait in memory while the disk is full.
UNWRITTEN_KEPT: Final = 10_000
#: A refusal costs at most so many writes in vain.
WRITTEN_TOGETHER: Final = 50

_SCHEMA: Final = """
create table if not exists frame (
    id integer primary key, utc integer not null, device text not null, kind text not null,
    reason text not null, payload blob not null);
create table if not exists gap (
    id integer primary key, device text not null, start_utc integer not null, end_utc integer not null,
    reason text not null);
create table if not exists counter (
    device text not null, what text not null, reason text not null, count integer not null,
    us integer not null, primary key (device, what, reason));
"""


@dataclass(frozen=True)
class DeviceAccount:
    """What is on record of one wearable.

    Attributes
    ----------
    kept, sent, confirmed : int
        Samples in the spool since it was made; in messages; committed at the clinic.
    heard_utc : int or None
        When data last came, microseconds UTC.
    heard : mapping
        The same, by kind.
    clock : mapping
        What is known of its clock, by log of its driver.
    rejected : mapping
        Refused frames, by reason.
    gaps : mapping
        Number and seconds of gaps, by reason.
    latest_gaps : sequence of Gap
        The last ones, oldest first.
    """

    kept: int = 0
    sent: int = 0
    confirmed: int = 0
    heard_utc: int | None = None
    heard: Mapping[str, int] = field(default_factory=dict[str, int])
    clock: Mapping[str, int] = field(default_factory=dict[str, int])
    rejected: Mapping[str, int] = field(default_factory=dict[str, int])
    gaps: Mapping[str, tuple[int, float]] = field(default_factory=dict[str, tuple[int, float]])
    latest_gaps: Sequence[Gap] = ()


class Ledger:
    """Stands before the spool and keeps account; takes what the gateway refuses and misses.

    Parameters
    ----------
    path : Path
        Database file, made when absent.
    spool : SpoolWriter
        Where observations go.
    clock : Clock
        Microseconds UTC.
    key : bytes, optional
        The gateway's key: refused frames are encrypted with it.

    Raises
    ------
    SpoolError
        When the file is no ledger.
    """

    def __init__(self, path: Path, spool: SpoolWriter, *, clock: Clock, key: bytes | None = None) -> None:
        self._spool = spool
        self._clock = clock
        self._cipher = Cipher(key)
        self._unwritten: deque[Callable[[], None]] = deque(maxlen=UNWRITTEN_KEPT)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        try:
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = full")
            self._database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise SpoolError(f"{path}: {error}; move it away, it is made anew") from None

    def append(self, observations: Iterable[Observation], *, cursors: Mapping[str, int] | None = None) -> int:
        """Make observations and cursors durable, and their number by wearable, in one transaction."""
        observations = list(observations)
        account = self._account(observations)
        kept = self._spool.append(observations, cursors={**(cursors or {}), **account})
        if kept < sum(each.sample_count for each in observations):
            # the spool has refused some: they are not kept
            for each in observations:
                if not _is_valid(each):
                    account[cursor_name(DeviceId(each.device), KEPT_LOG)] -= each.sample_count
            self._spool.append((), cursors=account)
        return kept

    def _account(self, observations: Sequence[Observation]) -> dict[str, int]:
        account: dict[str, int] = {}
        for each in observations:
            kept = cursor_name(DeviceId(each.device), KEPT_LOG)
            before = account[kept] if kept in account else self._spool.cursor(kept) or 0
            account[kept] = before + each.sample_count
            now = self._clock()
            account[cursor_name(DeviceId(each.device), HEARD_LOG)] = now
            account[cursor_name(DeviceId(each.device), HEARD_PREFIX + each.kind)] = now
        return account

    def cursor(self, name: str) -> int | None:
        """Value of a cursor of the spool."""
        return self._spool.cursor(name)

    def note_firmware(self, device: str, version: str) -> None:
        """Keep the firmware a wearable states, in the spool."""
        self._spool.note_firmware(device, version)

    def on_rejected(self, device: DeviceId, kind: str, reason: str, payload: bytes) -> None:
        """Keep a refused frame with its reason, and count it."""
        stored = self._cipher.seal(payload[:FRAME_BYTES], kind)
        row = (self._clock(), device, kind, reason, stored)

        def write() -> None:
            database = self._database
            database.execute("insert into frame (utc, device, kind, reason, payload) values (?,?,?,?,?)", row)
            database.execute("delete from frame where id <= (select max(id) from frame) - ?", (FRAMES_KEPT,))
            self._count(device, "rejected", reason, 0)

        self._note(write)

    def on_gap(self, device: DeviceId, gap: Gap) -> None:
        """Put a gap on record, and count it."""

        def write() -> None:
            self._database.execute(
                "insert into gap (device, start_utc, end_utc, reason) values (?,?,?,?)", (device, *gap)
            )
            self._database.execute("delete from gap where id <= (select max(id) from gap) - ?", (GAPS_KEPT,))
            self._count(device, "gap", gap.reason, gap.end_utc - gap.start_utc)

        self._note(write)

    def _note(self, write: Callable[[], None]) -> None:
        """Write it, and what could not be written before: a full disk must not end the gateway."""
        self._unwritten.append(write)
        while self._unwritten:
            together = list(islice(self._unwritten, WRITTEN_TOGETHER))
            try:
                with self._transaction():
                    for each in together:
                        each()
            except sqlite3.OperationalError as error:
                logger.error("ledger_not_written waiting=%d reason=%s", len(self._unwritten), error)
                return
            for _ in together:
                self._unwritten.popleft()

    def _count(self, device: DeviceId, what: str, reason: str, length_us: int) -> None:
        self._database.execute(
            "insert into counter values (?, ?, ?, 1, ?)"
            " on conflict do update set count = count + 1, us = us + excluded.us",
            (device, what, reason, length_us),
        )

    @contextmanager
    def _transaction(self) -> Generator[None]:
        try:
            self._database.execute("begin immediate")
            yield
            self._database.execute("commit")
        except BaseException:
            # a full disk may have rolled it back already
            if self._database.in_transaction:
                self._database.execute("rollback")
            raise

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _is_valid(observation: Observation) -> bool:
    try:
        decode_observation(observation.kind, encode_observation(observation))
    except MessageError:
        return False
    return True


def read_accounts(
    samples: DeviceSamples, ledger: Path, devices: Iterable[DeviceId], *, latest: int
) -> dict[DeviceId, DeviceAccount]:
    """What is on record of each wearable, whether the gateway runs or not; `latest` gaps of each.

    Raises
    ------
    SpoolError
        When the ledger cannot be read.
    """
    try:
        return _read_accounts(samples, ledger, list(devices), latest)
    except sqlite3.Error as error:
        raise SpoolError(f"{ledger}: {error}; move it away, it is made anew") from None


def _read_accounts(
    samples: DeviceSamples, ledger: Path, names: list[DeviceId], latest: int
) -> dict[DeviceId, DeviceAccount]:
    rejected: dict[str, dict[str, int]] = {}
    gaps: dict[str, dict[str, tuple[int, float]]] = {}
    last: dict[str, list[Gap]] = {}
    if ledger.exists():
        with closing(open_to_read(ledger)) as database:
            rows = database.execute("select device, what, reason, count, us from counter order by count desc")
            for device, what, reason, count, us in rows:
                if what == "gap":
                    gaps.setdefault(device, {})[reason] = (count, us / SECOND)
                else:
                    rejected.setdefault(device, {})[reason] = count
            for device in names:
                rows = database.execute(
                    "select start_utc, end_utc, reason from gap where device = ? order by id desc limit ?",
                    (device, latest),
                ).fetchall()
                last[device] = [Gap(*row) for row in reversed(rows)]
    accounts: dict[DeviceId, DeviceAccount] = {}
    for device in names:
        mine = {
            name.partition("/")[2]: value
            for name, value in samples.cursors.items()
            if name.startswith(cursor_name(device, ""))
        }
        kept = mine.get(KEPT_LOG, 0)
        sent = max(0, kept - samples.waiting.get(device, 0))
        accounts[device] = DeviceAccount(
            kept=kept,
            sent=sent,
            confirmed=max(0, sent - samples.unconfirmed.get(device, 0)),
            heard_utc=mine.get(HEARD_LOG),
            heard={
                log.removeprefix(HEARD_PREFIX): value
                for log, value in mine.items()
                if log.startswith(HEARD_PREFIX)
            },
            clock={log: value for log, value in mine.items() if log.startswith(CLOCK_PREFIX)},
            rejected=rejected.get(device, {}),
            gaps=gaps.get(device, {}),
            latest_gaps=last.get(device, []),
        )
    return accounts
