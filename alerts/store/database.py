"""Opens the store: SQLite beside the clinic's data, or PostgreSQL by URL.

Every transaction is immediate: it waits for the others before it reads, so that what it decides
still holds when it commits. SQLite: write-ahead log, every commit on the disk. PostgreSQL: the
same by one advisory lock, which also keeps the audit one chain.
"""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from alerts.errors import JournalError
from alerts.store.schema import METADATA, STORE_VERSION, store_version

#: Another process may hold the store for a whole night's judgement.
BUSY_TIMEOUT_S: Final = 60.0
#: Any fixed number: every process of an installation asks for this lock.
_LOCK: Final = 0x666C6172


class Database:
    """Connection to the store of an installation.

    Parameters
    ----------
    where : Path or str
        SQLite file, made when it is not there; or a URL ``postgresql+psycopg://...``.

    Raises
    ------
    JournalError
        When it cannot be opened or is of another version.
    """

    def __init__(self, where: Path | str) -> None:
        self._name = str(where) if isinstance(where, Path) else "the configured database"
        try:
            self._engine = _engine(where)
            self._con = self._engine.connect()
            self._prepare()
        except (OSError, DBAPIError, ArgumentError, NoSuchModuleError) as fault:
            reason = fault.orig if isinstance(fault, DBAPIError) else fault
            raise JournalError(f"alert journal {self._name} cannot be opened: {reason}") from fault

    def close(self) -> None:
        """Close the connection."""
        self._con.close()
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Generator[sa.Connection, None, None]:
        """Immediate transaction: everything inside is kept together or not at all.

        Inside another one it is part of that.
        """
        if self._con.in_transaction():
            yield self._con
            return
        with self._con.begin():
            if self._con.dialect.name == "postgresql":
                self._con.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            yield self._con

    def _prepare(self) -> None:
        with self.transaction() as con:
            tables = sa.inspect(con).get_table_names()
            if not tables:
                METADATA.create_all(con, checkfirst=False)
                con.execute(store_version.insert().values(version=STORE_VERSION))
                return
            known = con.scalar(sa.select(store_version.c.version)) if "store_version" in tables else 1
            if known != STORE_VERSION:
                raise JournalError(
                    f"alert journal {self._name} is version {known}; this program knows {STORE_VERSION}"
                )


def free_pages(where: Path | str) -> None:
    """Write the store anew: free pages still hold what was deleted, and so does a log of SQLite.

    Waits for whoever uses the store; what a PostgreSQL server has logged for recovery is the server's.
    """
    if isinstance(where, Path):
        with closing(sqlite3.connect(where, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as con:
            con.execute("vacuum")
            con.execute("pragma wal_checkpoint(truncate)")
        return
    engine = _engine(where).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for table in METADATA.sorted_tables:
            connection.exec_driver_sql(f'vacuum full "{table.name}"')
    engine.dispose()


def _engine(where: Path | str) -> sa.Engine:
    if isinstance(where, str):
        return sa.create_engine(where, poolclass=sa.StaticPool)
    where.parent.mkdir(parents=True, exist_ok=True)
    url = sa.URL.create("sqlite", database=str(where))
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, poolclass=sa.StaticPool)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _set_up_sqlite(connection: Any, _: object) -> None:
    # The driver must not begin transactions by itself: it would begin them deferred.
    connection.isolation_level = None
    for pragma in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
        connection.execute(f"pragma {pragma}")


def _begin_immediate(con: sa.Connection) -> None:
    con.exec_driver_sql("begin immediate")
