"""The night shift's own memory: which files hold, of which inputs and by which code they were made.

SQLite, every commit on the disk. What stands here decides what is done again; nothing else
does, neither a listing of folders nor a scheduler's database. A share of the patients is
entered in one transaction with its files: killed before it, the work is done again; killed
after it, it is not.
"""

import sqlite3
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

from analytics.errors import LedgerError
from analytics.store.partitions import Partition
from analytics.store.parts import Part

NAME: Final = "ledger.sqlite"
BUSY_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True)
class Seen:
    """A lake file: size, first and last start of its rows (microseconds UTC), why it cannot be read."""

    size: int
    first_utc: int
    last_utc: int
    fault: str | None = None


@dataclass(frozen=True)
class Done:
    """A finished stage of one date and share; `is_whole` is False when patients were set aside."""

    inputs: str
    code: str
    is_whole: bool = True


class Ledger:
    """The ledger of an installation.

    Parameters
    ----------
    path : Path
        SQLite file; made when it is not there.

    Raises
    ------
    LedgerError
        When it cannot be opened or is no database.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._con = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._con.execute("pragma journal_mode = wal")
            self._con.execute("pragma synchronous = full")
            script = (files("analytics.store") / "ledger.sql").read_text("utf-8")
            self._con.executescript(script)
        except (OSError, sqlite3.Error) as fault:
            # whoever may not write, or has to wait, must not be told to move a sound ledger away
            is_sound = isinstance(fault, (OSError, sqlite3.OperationalError))
            advice = (
                "is there room, may this user write there, is another process at it?"
                if is_sound
                else "restore it from a backup, or move it away and every night is computed anew"
            )
            raise LedgerError(f"{path} cannot be opened ({fault}): {advice}") from fault

    def close(self) -> None:
        """Close the file."""
        self._con.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Everything inside is kept together or not at all."""
        self._con.execute("begin immediate")
        try:
            yield self._con
        except BaseException:
            self._con.execute("rollback")
            raise
        self._con.execute("commit")

    # -- lake files -----------------------------------------------------------------------------

    def seen(self) -> dict[str, Seen]:
        """Lake files looked at before: path below the lake -> what was found."""
        rows = self._con.execute("select path, size, first_utc, last_utc, fault from seen")
        return {path: Seen(*rest) for path, *rest in rows}

    def remember(self, found: Mapping[str, Seen]) -> None:
        """Remember exactly these lake files."""
        known = self.seen()
        gone, fresh = known.keys() - found.keys(), {p: s for p, s in found.items() if known.get(p) != s}
        with self.transaction() as con:
            con.executemany("delete from seen where path = ?", [(path,) for path in gone])
            con.executemany(
                "insert or replace into seen values (?, ?, ?, ?, ?)",
                [(p, s.size, s.first_utc, s.last_utc, s.fault) for p, s in fresh.items()],
            )

    # -- shares ---------------------------------------------------------------------------------

    def done(self, stage: str, first: date, last: date) -> dict[tuple[date, Partition], Done]:
        """What is finished of a stage on these dates."""
        rows = self._con.execute(
            "select day, number, count, inputs, code, is_whole from done"
            " where stage = ? and day between ? and ?",
            (stage, first.isoformat(), last.isoformat()),
        )
        return {
            (date.fromisoformat(day), Partition(number, count)): Done(inputs, code, bool(is_whole))
            for day, number, count, inputs, code, is_whole in rows
        }

    def enter(
        self,
        stage: str,
        done: Mapping[date, Done],
        partition: Partition,
        parts: Iterable[Part],
        *,
        inputs: "Callable[[Ledger, Partition, Iterable[date]], dict[date, str]] | None" = None,
    ) -> int:
        """A share has finished these dates: its files hold from here on.

        Parameters
        ----------
        inputs : callable, optional
            Fingerprints of the dates where they depend on the files entered here.

        Returns
        -------
        int
            Files that were not the ones that held before.
        """
        changed = 0
        with self.transaction() as con:
            for part in parts:
                changed += _hold(con, part)
            found = (
                inputs(self, partition, done) if inputs else {day: one.inputs for day, one in done.items()}
            )
            con.executemany(
                "insert or replace into done values (?, ?, ?, ?, ?, ?, ?)",
                [
                    (*(stage, day.isoformat(), partition.number, partition.count),
                     *(found[day], one.code, one.is_whole))
                    for day, one in done.items()
                ],
            )  # fmt: skip
        return changed

    def hold(self, parts: Iterable[Part]) -> None:
        """These files hold from here on; nothing is said of what was computed."""
        with self.transaction() as con:
            for part in parts:
                _hold(con, part)

    def restamp(self, stage: str, inputs: Mapping[tuple[date, Partition], str]) -> None:
        """The same inputs have other names now (compaction, erasure): what was done of them stays done."""
        with self.transaction() as con:
            con.executemany(
                "update done set inputs = ? where stage = ? and day = ? and number = ? and count = ?",
                [
                    (text, stage, day.isoformat(), partition.number, partition.count)
                    for (day, partition), text in inputs.items()
                ],
            )

    def forget(self, path: str) -> None:
        """A derived file is damaged or gone: its date and share are to be computed again."""
        with self.transaction() as con:
            row = con.execute("select day, number, count from part where path = ?", (path,)).fetchone()
            if row is not None:
                con.execute("delete from part where path = ?", (path,))
                con.execute("delete from done where day = ? and number = ? and count = ?", tuple(row))

    def parts(self, name: str, first: date, last: date, partition: Partition | None = None) -> list[Part]:
        """Files of a table that hold on these dates, of everybody or of those who may be in a share."""
        rows = self._con.execute(
            "select day, number, count, path, rows, size, width from part"
            " where name = ? and day between ? and ? order by day, count, number",
            (name, first.isoformat(), last.isoformat()),
        )
        found = [
            Part(name, date.fromisoformat(day), Partition(number, count), *rest)
            for day, number, count, *rest in rows
        ]
        return [part for part in found if partition is None or part.partition.overlaps(partition)]

    def counts(self, first: date, last: date) -> dict[date, int]:
        """Into how many shares each date was cut."""
        rows = self._con.execute(
            "select distinct day, count from part where day between ? and ?",
            (first.isoformat(), last.isoformat()),
        )
        return {date.fromisoformat(day): count for day, count in rows}

    def span(self) -> tuple[date, date] | None:
        """First and last date there is anything of."""
        low, high = self._con.execute("select min(day), max(day) from part").fetchone()
        return None if low is None else (date.fromisoformat(low), date.fromisoformat(high))

    # -- judged nights and facts ----------------------------------------------------------------

    def judged(self) -> dict[date, str]:
        """Nights the rules were applied to -> of which inputs."""
        return {date.fromisoformat(day): inputs for day, inputs in self._con.execute("select * from judged")}

    def mark_judged(self, day: date, inputs: str) -> None:
        """The rules were applied to a night."""
        with self.transaction() as con:
            con.execute("insert or replace into judged values (?, ?)", (day.isoformat(), inputs))

    def fact(self, name: str) -> str | None:
        """A single value by its name."""
        row: Any = self._con.execute("select value from fact where name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def keep_fact(self, name: str, value: str) -> None:
        """Replace a single value."""
        with self.transaction() as con:
            con.execute("insert or replace into fact values (?, ?)", (name, value))


def _hold(con: sqlite3.Connection, part: Part) -> bool:
    """The file holds from here on; whether another one did before."""
    key = (part.table, part.day.isoformat(), part.partition.number, part.partition.count)
    before = con.execute(
        "select path from part where name = ? and day = ? and number = ? and count = ?", key
    ).fetchone()
    if before is not None and before[0] == part.path:
        return False
    con.execute(
        "insert or replace into part values (?, ?, ?, ?, ?, ?, ?, ?)",
        (*key, part.path, part.rows, part.size, part.width),
    )
    return True
