"""`flarecast doctor`: every finding, provoked."""

import json
import os
import shutil
import socket
import sqlite3
import threading
from collections import namedtuple
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from analytics.risk.model import SHIPPED
from analytics.risk.scales import DEFAULT_SCALES
from analytics.store.partitions import Partition
from devices.clock import DAY, HOUR, MINUTE, SECOND, from_utc
from flows.cli import main
from flows.clinic import Clinic
from flows.doctor import command as doctor_command
from flows.doctor.command import examine
from flows.doctor.report import report
from flows.risk.model_registry import ModelRegistry
from ingest.lake.batches import batch_rows, batch_table
from ingest.lake.columns import Arrived, to_table
from ingest.lake.compaction import compact
from ingest.lake.files import BATCHES
from ingest.lake.manifest import manifest_path
from ingest.lake.presence import Presence, read_presence
from ingest.lake.security import CA_DAYS, CLIENT_DAYS, Authority
from ingest.lake.security_invitations import Invitations
from ingest.wire.messages import Batch, State, WearableState, encode_state
from tests.fixtures_analytics import patient_days
from tests.fixtures_ingest import ENROLMENT_HEADER, PATIENCE_S, T0, one_of_each, steps
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
        server.settimeout(PATIENCE_S)
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


def totals(clinic, *, days_ago=1):
    """Two patients whose devices' daily totals are not their minutes, on three dates together."""
    first = from_utc(NOW).date() - timedelta(days=days_ago + 1)
    columns = {"vendor_difference_steps": [None, 900.0]}
    rows = [
        patient_days(first, columns),
        patient_days(first, {name: [40.0, -1200.0] for name in columns}, patient="p-2"),
    ]
    last = first + timedelta(days=1)
    parts = clinic.derived.files.write({"patient_day": pa.concat_tables(rows)}, first, last, Partition(0, 1))
    with clinic.derived.ledger() as ledger:
        ledger.hold(parts)


def junk_ledger(clinic, _):
    clinic.derived.root.mkdir()
    (clinic.derived.root / "ledger.sqlite").write_text("no database " * 100)


def slot(clinic, offset, *, device="ring-2"):
    land(clinic, [steps(NOW + offset, [1], device=device)], now=NOW)


def clock_found(clinic, off_s, *, now=NOW):
    """A message of a ring whose clock was so far off at the last visit."""
    batch = Batch(1, 1, now, "step_count", [steps(now, [1])], [WearableState("ring-1", 0, 1000 * off_s)])
    table = batch_table(batch_rows("gw-1", batch, [None] * len(batch.observations)), now)
    clinic.lake.commit({BATCHES: table}, writer="collector-1", now=now)


def many(clinic, monkeypatch):
    monkeypatch.setattr(doctor_command, "MANY_FILES", 1)
    land(clinic, [steps(T0, [1])], now=T0 + 51 * MINUTE)


def torn(clinic, _):
    """The footer is whole, the rows are not."""
    (path,) = clinic.lake.files("wear")
    content = bytearray(path.read_bytes())
    content[4:60] = b"?" * 56
    path.write_bytes(content)


def drifted(clinic):
    registry = ModelRegistry(clinic.home, lambda: NOW)
    fit = {"verdict": "pass"}
    registry.add(replace(SHIPPED, version="site-1"), DEFAULT_SCALES, fit, "<html></html>")
    registry.approve("site-1", "Dr A", "card read")
    registry.activate("site-1", "Dr A")
    registry.freeze(["PSI 0.31, at most 0.2"])


CASES = {
    "records that cannot be read": (
        lambda c, _: c.records_path.write_text("a,b\n"),
        "patient_record.csv:1: the columns are a,b, not record,",
    ),
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
    "far ahead": (
        lambda c, _: refuse(c, [steps(T0 + 2 * DAY, [1])], arrived=T0),
        "starts more than a day after it arrived: a clock is wrong: set the clock of device or gateway",
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
    "corrupt": (
        lambda c, _: c.lake.files("wear")[0].write_bytes(b"PAR1?"),
        ".parquet cannot be read (Parquet file size is 5 bytes",
    ),
    "corrupt within": (torn, ".parquet cannot be read ("),
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
    "drifted": (
        lambda c, _: clock_found(c, 3 * 3600),
        "clock: the clock of ring-1 was found 3.0 h ahead and",
    ),
    "behind": (lambda c, _: slot(c, -3 * HOUR), "clock: nothing of ring-2 is less than 3.0 h old"),
}


def authority(clinic, *, at=NOW, then=()):
    """An authority made at one time, and what is issued then."""
    one = Authority.found(clinic.home / "ca", hosts=["broker.example"], clock=lambda: at)
    for role, name in then:
        one.issue(role, name)
    return one


def ends_in(role, name, days):
    return lambda c, _: authority(c, at=NOW - (CLIENT_DAYS - days) * DAY, then=[(role, name)])


def open_key(clinic, _):
    authority(clinic)
    (clinic.home / "ca" / "ca.key").chmod(0o640)


def open_invitation(clinic, _):
    made = Invitations(authority(clinic), clock=lambda: NOW)
    made.make("gw-1", site="north", host="b", port=1, days=7)[0].chmod(0o604)


def revoked(clinic, _, *, heard=None):
    authority(clinic, at=NOW - DAY, then=[("gateway", "gw-1")]).revoke("gw-1")
    if heard is not None:
        hear(clinic, utc=heard, at=heard)


def hear(clinic, *, utc, at, gateway="gw-1", collector="collector-1", **said):
    """A gateway says its clock, and a collector stamps it."""
    presence = Presence(clinic.lake.root, collector, clock=lambda: at)
    state = State(**{"is_online": True, "boot": "b1", "utc": utc, "spool": "ok"} | said)
    presence.hear(f"flarecast/v1/north/{gateway}/state", encode_state(state), is_retained=False)
    presence.save(at_once=True)


def behind(clinic, _):
    for minutes in (20, 10, 0):
        at = NOW - minutes * MINUTE
        hear(clinic, utc=at - 3 * HOUR, at=at)


def gone(clinic, _):
    hear(clinic, utc=NOW - 9 * HOUR, at=NOW - 9 * HOUR)
    hear(clinic, utc=None, at=NOW - 8 * HOUR, is_online=False, spool=None)  # its last will


def junk_journal(clinic, _):
    clinic.journal_path.write_bytes(b"SQLite format 3\x00 and then something else" * 200)


def damaged_journal(clinic, _):
    with closing(sqlite3.connect(clinic.journal_path)) as database:
        database.execute("create table t (a text)")
        database.executemany("insert into t values (?)", [("x" * 1000,)] * 100)
        database.commit()
    content = bytearray(clinic.journal_path.read_bytes())
    content[5000:9000] = b"\xff" * 4000
    clinic.journal_path.write_bytes(content)


def day(days, early=10 * MINUTE):
    """Date so many days from now; a certificate begins, and so ends, ten minutes early."""
    return from_utc(NOW + days * DAY - early).date()


CASES |= {
    "gateway's certificate ends": (
        ends_in("gateway", "gw-1", 29),
        f"certificates: the certificate of gw-1 ends on {day(29)}: is it on line, does `flarecast ca serve`",
    ),
    "gateway's certificate has ended": (
        ends_in("gateway", "gw-1", -1),
        f"the certificate of gw-1 ended on {day(-1)}: it is shut out: `flarecast ca invite gw-1`",
    ),
    "collector's certificate ends": (
        ends_in("collector", "collector-1", 3),
        f"the certificate of collector-1 ends on {day(3)}: `flarecast ca issue collector collector-1`",
    ),
    "registrar's certificate ends": (ends_in("registrar", "registrar", 3), "restart `flarecast ca serve`"),
    "authority ends": (
        # its broker's certificate, as old, is a second finding
        lambda c, _: authority(c, at=NOW - (CA_DAYS - 20) * DAY),
        f"the authority ends on {day(20)}: make another in a new folder",
    ),
    "no list of certificates": (
        lambda c, _: (authority(c).folder / "issued.json").unlink(),
        "issued.json: [Errno 2] No such file or directory",
    ),
    "a key others can read": (open_key, "ca.key can be read by others than its owner: chmod 600"),
    "an invitation others can read": (open_invitation, "gw-1.json can be read by others"),
    "revoked and enrolled": (revoked, "gw-1 is revoked and enrolled today: end its enrolment, or"),
    "revoked and let in": (
        lambda c, m: revoked(c, m, heard=NOW - HOUR),
        f"gw-1 was revoked on {day(-1, 0)} and is still let in: run deploy/mosquitto/install.sh",
    ),
    "gateway silent": (
        lambda c, _: hear(c, utc=NOW - 7 * HOUR, at=NOW - 7 * HOUR),
        f"gw-1 is silent since {from_utc(NOW - 7 * HOUR):%Y-%m-%d %H:%M} UTC (its connection stands)",
    ),
    "gateway gone": (
        gone,
        f"gw-1 is silent since {from_utc(NOW - 9 * HOUR):%Y-%m-%d %H:%M} UTC (it said good-bye or lost its",
    ),
    "gateway never heard": (
        lambda c, _: hear(c, utc=NOW, at=NOW, gateway="gw-7"),
        "nothing has ever come from gw-1: is it plugged in and joined?",
    ),
    "gateway three hours ahead": (
        lambda c, _: hear(c, utc=NOW + 3 * HOUR, at=NOW),
        "the clock of gw-1 is 3.0 h ahead: see that it sets its clock",
    ),
    "gateway three hours behind": (behind, "the clock of gw-1 is 3.0 h behind"),
    "spool alarm": (
        lambda c, _: hear(c, utc=NOW, at=NOW, spool="alarm", word="the disk has 9 bytes left"),
        "the spool of gw-1 is in alarm: the disk has 9 bytes left; see that a collector runs",
    ),
    "spool full": (lambda c, _: hear(c, utc=NOW, at=NOW, spool="full", word="w"), "gw-1 is in full: w"),
    "junk in the place of the journal": (junk_journal, "alerts.sqlite: file is not a database: restore it"),
    "damaged journal": (damaged_journal, "alerts.sqlite: "),
    "daily totals": (
        lambda c, _: totals(c),
        "total is over 1 % off its minutes on 3 days of 2 patients since 2026-09-15, by up to -1,200",
    ),
    "a model that drifted": (
        lambda c, _: drifted(c),
        f"site-1 alerts nobody since {day(0)} (PSI 0.31, at most 0.2): `flarecast model show`",
    ),
    "junk in the place of the ledger": (
        junk_ledger,
        "ledger.sqlite cannot be opened (file is not a database)",
    ),
}


def test_what_is_well_is_not_found(clinic):
    """Certificates far from their end, a renewed one beside its predecessor, a gateway that is there."""
    early = authority(clinic, at=NOW - (CLIENT_DAYS - 5) * DAY, then=[("gateway", "gw-1")])
    Authority(early.folder, clock=lambda: NOW).issue("gateway", "gw-1")
    # an invitation that was let lapse is no certificate to renew
    Invitations(early, clock=lambda: NOW).make("gw-2", site="north", host="b", port=1, days=7)
    for minutes in (20, 10, 0):
        hear(clinic, utc=NOW - minutes * MINUTE - 2 * SECOND, at=NOW - minutes * MINUTE)
    assert findings(clinic) == []


def test_a_queue_that_is_delivered_is_no_wrong_clock(clinic):
    """A collector returns after an hour: what gateways said meanwhile arrives, each less late."""
    for minutes in (60, 50, 40, 30, 20, 10):
        hear(clinic, utc=NOW - minutes * MINUTE, at=NOW)
    assert findings(clinic) == []


def test_of_two_collectors_the_one_that_heard_it_last_is_believed(clinic):
    hear(clinic, utc=NOW - 20 * HOUR, at=NOW - 20 * HOUR, spool="full", word="once")
    hear(clinic, utc=NOW - HOUR, at=NOW - HOUR, collector="collector-2")
    assert findings(clinic) == []


def test_a_last_will_of_an_earlier_run_is_not_believed(clinic):
    hear(clinic, utc=NOW, at=NOW, boot="b2")
    hear(clinic, utc=None, at=NOW, boot="b1", is_online=False, spool=None)
    assert read_presence(clinic.lake.root)["gw-1"].is_online
    hear(clinic, utc=None, at=NOW, boot="b2", is_online=False, spool=None)
    assert not read_presence(clinic.lake.root)["gw-1"].is_online


@pytest.mark.parametrize("case", CASES)
def test_a_finding_says_what_and_what_to_do(clinic, case, monkeypatch):
    provoke, words = CASES[case]
    assert findings(clinic) == []
    provoke(clinic, monkeypatch)
    found = findings(clinic)
    assert len(found) == (2 if case == "authority ends" else 1), found
    assert words in found[0]


def test_a_backlog_or_an_old_delay_is_no_wrong_clock(clinic):
    slot(clinic, -30 * HOUR)
    slot(clinic, -10 * MINUTE)
    slot(clinic, 4 * MINUTE, device="ring-3")
    land(clinic, [steps(NOW - 9 * DAY, [1], device="ring-4")], now=NOW - 5 * DAY)
    assert findings(clinic) == []


def test_a_clock_that_was_found_right_again_is_no_finding(clinic):
    clock_found(clinic, 3 * 3600, now=NOW - HOUR)
    clock_found(clinic, 2)
    clock_found(clinic, 9 * 3600, now=NOW - 5 * DAY)
    assert findings(clinic) == []


def test_totals_of_long_ago_are_none_either(clinic):
    totals(clinic, days_ago=9)
    assert findings(clinic) == []


def test_backups_that_are_not_made_are_said_where_they_are_due(clinic, tmp_path, monkeypatch):
    target = tmp_path / "backups"
    assert findings(clinic) == []
    monkeypatch.setenv("FLARECAST_BACKUP", str(target))
    assert findings(clinic) == [f"backup: there is none in {target}: `flarecast backup`; is the disk there?"]
    made = target / from_utc(NOW - 3 * DAY).strftime("%Y%m%dT%H%M%S.%fZ")
    made.mkdir(parents=True)
    (made / "backup.json").write_text('{"files": {}}')
    assert "the newest is 3 days old" in findings(clinic)[0]
    assert findings(clinic, NOW - 2 * DAY) == []


def test_findings_that_are_alike_stand_in_one_line(clinic, capsys):
    for number in (2, 3, 4, 5):
        slot(clinic, -30 * HOUR - number * HOUR, device=f"ring-{number}")
    silent = [("gateway", f"nothing has ever come from gw-{n}: is it plugged in and joined?") for n in (7, 8)]
    found = [*examine(clinic, "127.0.0.1", 1, clock=lambda: NOW)[1:], *silent]
    assert report(found, as_json=False) == 1
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 3
    assert told[0].startswith("clock: nothing of ring-2 is less than ")
    assert "and 3 alike: ring-3, ring-4, ring-5; --all" in told[0]
    assert "gw-8" in told[2], "two are no crowd"
    assert report(found, as_json=False, has_each=True) == 1
    assert capsys.readouterr().out.splitlines() == [f"{where}: {words}" for where, words in found]
    report(found, as_json=True)
    assert len(json.loads(capsys.readouterr().out)) == 6


def test_the_command_ends_with_one_and_says_it(clinic, capsys):
    assert main(["doctor", "--home", str(clinic.home), "--broker", "127.0.0.1:1"]) == 1
    assert "broker: cannot reach 127.0.0.1:1" in capsys.readouterr().out
    assert main(["doctor", "--home", str(clinic.home), "--broker", "here"]) == 2
    assert main(["doctor", "--home", str(clinic.home / "nowhere")]) == 2
