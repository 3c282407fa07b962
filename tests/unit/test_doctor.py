"""`flarecast doctor`: every finding, provoked."""

import os
import shutil
import socket
import threading
from collections import namedtuple

import pytest

from devices.clock import DAY, HOUR, MINUTE, SECOND
from flows import doctor_command
from flows.cli import main
from flows.clinic import Clinic
from flows.doctor_command import examine
from ingest.lake.columns import Arrived, to_table
from ingest.lake.compaction import compact
from ingest.lake.manifest import manifest_path
from tests.fixtures_ingest import ENROLMENT_HEADER, T0, one_of_each, steps
from tests.unit.test_lake_command import refuse

NOW = T0 + HOUR


def land(clinic, observations, *, now):
    for one in observations:
        table = to_table(one.kind, [Arrived(one, "gw-1", 1)], now)
        clinic.lake.commit({one.kind: table}, writer="collector-1", now=now)


@pytest.fixture
def clinic(tmp_path):
    clinic = Clinic(tmp_path)
    row = "p-1,north,Europe/Berlin,gw-1,ring-1,2020-01-01T00:00Z,\n"
    clinic.enrolment_path.write_text(ENROLMENT_HEADER + row + row.replace("ring", "strap"))
    land(clinic, one_of_each(), now=T0 + 50 * MINUTE)
    clinic.lake.write_status("collector-1", {"is_subscribed": True, "utc": {"updated": NOW - MINUTE}})
    return clinic


@pytest.fixture
def listener():
    """A server that answers every first message with `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        answer = [b"\x20\x03\x00\x00\x00"]

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer[0])

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], answer
        thread.join()


def findings(clinic, now=NOW):
    """All but the broker's."""
    return [f"{where}: {words}" for where, words in examine(clinic, "127.0.0.1", 1, clock=lambda: now)][1:]


def test_a_healthy_clinic_has_none(clinic, listener):
    port, _ = listener
    assert examine(clinic, "127.0.0.1", port, clock=lambda: NOW) == []


def test_a_broker_that_is_not_there(clinic):
    assert examine(clinic, "127.0.0.1", 1, clock=lambda: NOW)[0][1].startswith("cannot reach 127.0.0.1:1")


def test_something_else_on_its_port(clinic, listener):
    port, answer = listener
    answer[0] = b"HTTP/1.1 400"
    ((where, words),) = examine(clinic, "127.0.0.1", port, clock=lambda: NOW)
    assert (where, "does not speak MQTT" in words) == ("broker", True)


def test_a_broker_that_is_silent(clinic, monkeypatch):
    monkeypatch.setattr(doctor_command, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        ((_, words),) = examine(clinic, "127.0.0.1", server.getsockname()[1], clock=lambda: NOW)
    assert "does not answer" in words


def status(text):
    return lambda clinic, _: (clinic.lake.root / "status" / "collector-1.json").write_text(text)


def half_written(clinic, _):
    folder = clinic.lake.folder(clinic.lake.root / "staging" / "collector-2")
    (folder / "x.parquet").write_bytes(b"")
    os.utime(folder / "x.parquet", (1, NOW / SECOND - 7200))


def compacted(clinic):
    compact(clinic.lake, clinic.enrolment(), clock=lambda: NOW)
    return clinic.lake.files("wear")[0]


def full(_, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 96, 4))


def slot(clinic, offset, *, device="ring-2"):
    land(clinic, [steps(NOW + offset, [1], device=device)], now=NOW)


def many(clinic, monkeypatch):
    monkeypatch.setattr(doctor_command, "MANY_FILES", 1)
    land(clinic, [steps(T0, [1])], now=T0 + 51 * MINUTE)


CASES = {
    "never ran": (lambda c, _: shutil.rmtree(c.lake.root / "status"), "collector: none has ever run"),
    "broken status": (status("{"), "collector-1.json cannot be read"),
    "not connected": (
        status(f'{{"is_subscribed": false, "utc": {{"updated": {NOW}}}}}'),
        "collector-1 is not connected",
    ),
    "stale": (
        status(f'{{"is_subscribed": true, "utc": {{"updated": {NOW - 3 * HOUR}}}}}'),
        "collector-1 has stored nothing for 3.0 h",
    ),
    "unknown device": (
        lambda c, _: refuse(c, [steps(T0, [1, 2], device="ring-9")]),
        "2 samples: device is not enrolled at that time: enrol the devices",
    ),
    "other gateway": (
        lambda c, _: refuse(c, [steps(T0, [1])], gateway="gw-2"),
        "device is enrolled with another gateway: correct the gateway",
    ),
    "bad samples": (lambda c, _: refuse(c, [steps(T0, [999])]), "look at quarantine/"),
    "half-written": (half_written, "1 half-written files of collector-2"),
    "broken manifest": (
        lambda c, _: (compacted(c), manifest_path(c.lake.root, "wear").write_text("?")),
        "not a manifest",
    ),
    "missing": (lambda c, _: compacted(c).unlink(), "1 files of wear are missing"),
    "orphan": (
        lambda c, _: compacted(c).with_name("part-x.parquet").write_bytes(b""),
        "1 files of wear are in no manifest",
    ),
    "small files": (many, "2 small files of step_count"),
    "full disk": (full, "the disk has"),
    "no enrolment": (lambda c, _: c.enrolment_path.unlink(), "no enrolment file"),
    "bad enrolment": (lambda c, _: c.enrolment_path.write_text("a,b\n"), "enrolment.csv:1: the columns"),
    "nobody": (lambda c, _: c.enrolment_path.write_text(ENROLMENT_HEADER), "nobody is enrolled today"),
    "future": (
        lambda c, _: slot(c, 3 * HOUR),
        "clock: ring-2 sends observations from the future, 3.0 h ahead",
    ),
    "a little ahead": (lambda c, _: slot(c, 12 * MINUTE), "from the future, 0.2 h ahead"),
    "behind": (lambda c, _: slot(c, -3 * HOUR), "clock: nothing of ring-2 is less than 3.0 h old"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_finding_says_what_and_what_to_do(clinic, case, monkeypatch):
    provoke, words = CASES[case]
    assert findings(clinic) == []
    provoke(clinic, monkeypatch)
    found = findings(clinic)
    assert len(found) == 1, found
    assert words in found[0]


def test_a_backlog_or_an_old_delay_is_no_wrong_clock(clinic):
    slot(clinic, -30 * HOUR)
    slot(clinic, -10 * MINUTE)
    slot(clinic, 4 * MINUTE, device="ring-3")
    land(clinic, [steps(NOW - 9 * DAY, [1], device="ring-4")], now=NOW - 5 * DAY)
    assert findings(clinic) == []


def test_the_command_ends_with_one_and_says_it(clinic, capsys):
    assert main(["doctor", "--home", str(clinic.home), "--broker", "127.0.0.1:1"]) == 1
    assert "broker: cannot reach 127.0.0.1:1" in capsys.readouterr().out
    assert main(["doctor", "--home", str(clinic.home), "--broker", "here"]) == 2
    assert main(["doctor", "--home", str(clinic.home / "nowhere")]) == 2
