"""Debian's PostgreSQL as a cluster of its own on loopback; a new database for every test."""

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

from ingest.lake.broker import free_port
from tests.fixtures_ingest import PATIENCE_S

_NAMES = count(1)


def _as_postgres(command: Sequence[str]) -> None:
    """Run a program of the server as its own user: it refuses root."""
    who = pwd.getpwnam("postgres")
    is_root = os.getuid() == 0
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
        cwd="/tmp",
        user=who.pw_uid if is_root else None,
        group=who.pw_gid if is_root else None,
        extra_groups=[] if is_root else None,
    )


@contextmanager
def postgres_server() -> Generator[str]:
    """URL of a running server, its database left out (``postgresql+psycopg://user@host:port``)."""
    # not below pytest's own folder: that is for its user alone, and the server is another one
    folder = Path(tempfile.mkdtemp(prefix="flarecast-pg-"))
    folder.chmod(0o755)
    data = folder / "data"
    data.mkdir()
    if os.getuid() == 0:
        who = pwd.getpwnam("postgres")
        os.chown(data, who.pw_uid, who.pw_gid)
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
    port = free_port()
    _as_postgres([f"{programs}/initdb", "-D", str(data), "-A", "trust", "-U", "flarecast", "-E", "UTF8"])
    # no test pulls this server's plug: it need not wait for the disk
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data} -c fsync=off"
    control = [f"{programs}/pg_ctl", "-D", str(data), "-w"]
    _as_postgres([*control, "-o", options, "-l", str(data / "log"), "start"])
    yield f"postgresql+psycopg://flarecast@127.0.0.1:{port}"
    _as_postgres([*control, "-m", "immediate", "stop"])
    shutil.rmtree(folder)


def new_database(server: str) -> str:
    """URL of an empty database."""
    name = f"clinic_{next(_NAMES)}"
    with psycopg.connect(server.replace("+psycopg", "") + "/postgres", autocommit=True) as con:
        con.execute(f"create database {name}")
    return f"{server}/{name}"


def drop_database(url: str) -> None:
    """Take a database away from whoever uses it."""
    server, _, name = url.replace("+psycopg", "").rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as con:
        con.execute(f"drop database {name} with (force)")
