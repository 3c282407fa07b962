"""Where an empty alert store is, once on SQLite and once on PostgreSQL."""

from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.fixtures_postgres import new_database, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Generator[str]:
    """URL of a PostgreSQL server, its database left out; one for the whole run of a worker."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def shared_database(postgres: str) -> str:
    """Database that the tests of one worker take turns in."""
    return new_database(postgres)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """An empty store: the test runs once on each."""
    if request.param == "sqlite":
        return tmp_path / "alerts.sqlite"
    url: str = request.getfixturevalue("shared_database")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as con:
        query = "select tablename from pg_tables where schemaname = 'public' and tablename <> 'store_version'"
        tables = [sql.Identifier(name) for (name,) in con.execute(query)]
        if tables:
            con.execute(sql.SQL("truncate {}").format(sql.SQL(", ").join(tables)))
    return url
