"""The same engine on PostgreSQL: a real server, two workers at once."""

import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from alerts.engine.journal import Journal
from alerts.errors import JournalError
from tests.fixtures_alerts import Hands
from tests.fixtures_engine import at_hour, deliver, desk, hire, judge, night, run_tick

LOW = (-1.4, 2.0, 4000.0)


def as_postgres(command, **more):
    """Run a program of the server as its own user: it refuses root."""
    who = pwd.getpwnam("postgres")
    ids = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    return subprocess.run(command, check=True, capture_output=True, timeout=60, cwd="/tmp", **ids, **more)


@pytest.fixture(scope="module")
def server():
    # not below pytest's own folder: that is for its user alone, and the server is another one
    folder = Path(tempfile.mkdtemp(prefix="flarecast-pg-"))
    folder.chmod(0o755)
    data = folder / "data"
    data.mkdir()
    if os.getuid() == 0:
        who = pwd.getpwnam("postgres")
        os.chown(data, who.pw_uid, who.pw_gid)
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    as_postgres([f"{programs}/initdb", "-D", str(data), "-A", "trust", "-U", "flarecast", "-E", "UTF8"])
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data}"
    control = [f"{programs}/pg_ctl", "-D", str(data), "-w"]
    as_postgres([*control, "-o", options, "-l", str(data / "log"), "start"])
    yield f"postgresql+psycopg://flarecast@127.0.0.1:{port}/postgres"
    as_postgres([*control, "-m", "immediate", "stop"])
    shutil.rmtree(folder)


def test_a_breach_is_told_acknowledged_and_audited(server):
    clock = Hands(at_hour(0, 9))
    with Journal(server, clock) as journal:
        hire(journal)
        people = dict.fromkeys([f"p-{number}" for number in range(12)], LOW)
        for index in (0, 1):
            judge(journal, night(index), people)
        told = []
        with Journal(server, clock) as other:
            workers = [threading.Thread(target=lambda j=j: told.append(deliver(j))) for j in (journal, other)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        assert sorted(told[0] + told[1]) == [("open", "nurse-1")] * 12
        one = journal.active()[0]
        desk(journal).acknowledge(one.alert, one.version)
        clock.forward(3 * 3_600_000_000)
        run_tick(journal)
        assert journal.outbox.counts() == {"sent": 12, "queued": 11}
        assert journal.first_audit_fault() is None
    with Journal(server, clock) as again:
        assert len(again.active()) == 12


def test_no_server_is_one_line():
    with pytest.raises(JournalError, match="cannot be opened"):
        Journal("postgresql+psycopg://flarecast@127.0.0.1:1/postgres", Hands(0))
