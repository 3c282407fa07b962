"""What a spool holds, told without touching it: its own counts, and a status asked while a gateway runs."""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from devices.clock import Clock
from ingest.edge.spool_cipher import Cipher
from ingest.edge.spool_limits import EARLIEST_UTC, SpoolLimits, judge
from ingest.errors import MessageError, SpoolError
from ingest.wire.messages import decode_batch

_KEY_CHECK: Final = "key_check"


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
    """The same in total and by kind, the messages not yet confirmed, and how full the spool is.

    `state` is ``ok``, ``alarm`` or ``full``, `word` says why; `used` are bytes of the
    database, `most` its limit, `oldest_utc` is when the oldest unconfirmed observation came.
    """

    messages: int = 0
    used: int = 0
    most: int = 0
    oldest_utc: int | None = None
    state: str = "ok"
    word: str = ""
    by_kind: Mapping[str, KindCounts] = field(default_factory=dict[str, KindCounts])


@dataclass(frozen=True)
class DeviceSamples:
    """Cursors by name; samples that wait, and that are in unconfirmed messages, by wearable."""

    cursors: Mapping[str, int]
    waiting: Mapping[str, int]
    unconfirmed: Mapping[str, int]


class SpoolReader:
    """A spool as of one instant, read-only: the gateway that owns it may be running.

    Parameters
    ----------
    path : Path
        Database file.
    clock : Clock
        Microseconds UTC.
    key : bytes, optional
        The gateway's key.
    limits : SpoolLimits
        What its fill is judged by.

    Raises
    ------
    SpoolError
        When it is no spool, or was written with another key.
    """

    def __init__(self, path: Path, *, clock: Clock, key: bytes | None, limits: SpoolLimits) -> None:
        self._path = path
        self._clock = clock
        self._limits = limits
        self._cipher = Cipher(key)
        self._database = open_to_read(path)
        try:
            self._database.execute("begin")
            check_key(self._database, self._cipher, path)
        except sqlite3.Error as error:
            self._database.close()
            raise SpoolError(f"{path}: {error}") from None
        except SpoolError:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def counts(self) -> SpoolCounts:
        """Samples appended, waiting, sealed and confirmed since the spool was made."""
        return count(self._database, self._limits, self._path.parent, self._clock)

    def by_device(self) -> DeviceSamples:
        """The same instant, by wearable."""
        unconfirmed: Counter[str] = Counter()
        cursors = dict(self._database.execute("select name, value from cursor").fetchall())
        waiting = dict(
            self._database.execute("select device, sum(samples) from observation group by device").fetchall()
        )
        rows = self._database.execute("select sequence, kind, payload from message")
        for sequence, kind, stored in rows:
            payload = self._cipher.open(stored, str(sequence))
            try:
                observations = [] if payload is None else decode_batch(payload, kind).batch.observations
            except MessageError:
                continue  # on its way to the quarantine: nobody knows whose it is
            for each in observations:
                unconfirmed[each.device] += each.sample_count
        return DeviceSamples(cursors, waiting, unconfirmed)


def open_to_read(path: Path) -> sqlite3.Connection:
    """Read-only connection; the file must be there."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)


def check_key(database: sqlite3.Connection, cipher: Cipher, path: Path) -> bool:
    """Whether the spool is one with a key.

    Raises
    ------
    SpoolError
        When it is, and the key is another.
    """
    row = database.execute("select stored from key_check").fetchone()
    if row is not None and cipher.open(row[0], _KEY_CHECK) is None:
        raise SpoolError(f"{path}: the spool was written with another key; nothing of it is lost or changed")
    return row is not None


def note_key(database: sqlite3.Connection, cipher: Cipher) -> None:
    """Make the spool one with a key."""
    stored = cipher.seal(b"flarecast", _KEY_CHECK)
    database.execute("insert into key_check values (?)", (stored,))


def is_encrypted(path: Path) -> bool:
    """Whether there is a spool that cannot be read without its key."""
    if not path.exists():
        return False
    try:
        with closing(open_to_read(path)) as database:
            return database.execute("select 1 from key_check").fetchone() is not None
    except sqlite3.Error:
        # not a spool, or one without this table: who opens it says so
        return False


def count(database: sqlite3.Connection, limits: SpoolLimits, folder: Path, clock: Clock) -> SpoolCounts:
    """Counts of an open spool, and its state."""
    kinds: dict[str, dict[str, int]] = {}
    for kind, what, samples in database.execute("select kind, what, samples from counter").fetchall():
        kinds.setdefault(kind, {})[what] = samples
    for counted in kinds.values():
        counted["waiting"] = counted.get("appended", 0) - counted.get("sealed", 0)
    names = ("appended", "waiting", "sealed", "confirmed", "refused")
    total = {name: sum(counted.get(name, 0) for counted in kinds.values()) for name in names}
    used, oldest = used_bytes(database), oldest_utc(database)
    found = judge(limits, folder, used=used, oldest_utc=oldest, clock=clock)
    return SpoolCounts(
        **total,
        messages=database.execute("select count(*) from message").fetchone()[0],
        used=used,
        most=limits.most_bytes,
        oldest_utc=oldest,
        state=found.state,
        word=found.word,
        by_kind={kind: KindCounts(**counted) for kind, counted in kinds.items()},
    )


def used_bytes(database: sqlite3.Connection) -> int:
    """Bytes of the database in use; pages that were freed are used again."""
    pages, free, size = (
        database.execute(f"pragma {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def oldest_utc(database: sqlite3.Connection) -> int | None:
    """When the oldest unconfirmed observation came, as far as the clock was right then."""
    first = [
        database.execute(
            f"select {column} from {table} where {column} >= ? order by {key} limit 1", (EARLIEST_UTC,)
        ).fetchone()
        for table, column, key in (
            ("observation", "appended_utc", "id"),
            ("message", "oldest_utc", "sequence"),
        )
    ]
    return min((row[0] for row in first if row is not None), default=None)
