"""What a running collector takes up: changed enrolment, its own counters, messages without a number."""

import logging
import os
import urllib.request
from types import SimpleNamespace

import pytest

from flows.cli import main
from flows.clinic import Clinic
from ingest.errors import EnrolmentError
from ingest.lake.broker import free_port
from ingest.lake.collector import Collector
from ingest.lake.counts import Counts, serve
from ingest.lake.files import Lake
from ingest.lake.intake import Intake, Received
from ingest.lake.intake_enrolment import EnrolmentFile
from ingest.wire.address import BrokerAddress
from ingest.wire.messages import decode_ack, digest, encode_ack
from ingest.wire.topics import subscriptions
from tests.fixtures_ingest import ENROLMENT_HEADER, PATIENCE_S, T0, clock, write_enrolment

GARBAGE = Received("flarecast/v1/north/gw-1/wear", b"\xc1garbage", None, T0)


def test_a_message_without_a_number_is_kept_once_and_named_every_time(tmp_path):
    intake = Intake(EnrolmentFile(write_enrolment(tmp_path / "e.csv", ["gw-1"]))())
    first = intake.sort([GARBAGE, GARBAGE])
    intake.remember(first)
    again = intake.sort([GARBAGE])
    assert (len(first.refused), len(again.refused), again.repeated) == (1, 0, 1)
    assert first.unreadable == {("north", "gw-1"): [digest(GARBAGE.payload)] * 2}
    assert again.unreadable == {("north", "gw-1"): [digest(GARBAGE.payload)]}
    assert first.confirmed == {}
    assert decode_ack(encode_ack([3], [b"x" * 16])).refused == [b"x" * 16]
    # the first version's acknowledgement
    assert decode_ack(b"\x92\x01\x91\x03").sequences == [3]


def test_enrolment_is_read_again_and_a_mistake_keeps_the_former(tmp_path, caplog):
    path = write_enrolment(tmp_path / "e.csv", ["gw-1"])
    enrolment = EnrolmentFile(path)
    before = enrolment()
    assert enrolment() is before
    write_enrolment(tmp_path / "new.csv", ["gw-1", "gw-2"]).rename(path)
    assert enrolment().lookup("ring-2", clock()) is not None
    good = enrolment()
    (tmp_path / "bad.csv").write_text(ENROLMENT_HEADER + "p,north\n")
    (tmp_path / "bad.csv").rename(path)
    with caplog.at_level(logging.ERROR):
        assert enrolment() is good
        assert enrolment() is good
    assert len(caplog.records) == 1
    path.unlink()
    assert enrolment() is good
    with pytest.raises(EnrolmentError):
        EnrolmentFile(path)


def collector(folder):
    enrolment = EnrolmentFile(write_enrolment(folder / "e.csv", ["gw-1"]))
    return Collector(BrokerAddress("127.0.0.1", 1), Lake(folder), enrolment, clock=clock, collector="c")


def counted(tmp_path):
    """Counts of a collector that was started again and has seen one unreadable message more."""
    one = collector(tmp_path)
    one.counts.take_up(tmp_path / "status" / "c.json")
    one.counts.add(one._intake.sort([GARBAGE]), 1, commit_s=0.25, now=7_000_000)
    one._write_status()
    return one.counts


def test_counters_go_on_after_a_restart(tmp_path, caplog):
    counted(tmp_path)
    second = counted(tmp_path).status()
    assert second["received"] == {"wear": 2}
    assert second["messages"]["received"] == 2
    os.truncate(tmp_path / "status" / "c.json", 0)
    third = counted(tmp_path).status()
    assert "counts_lost" in caplog.text
    assert third["received"] == {"wear": 1}


def test_a_monitor_is_told_the_same(tmp_path):
    counted(tmp_path)
    server = serve(counted(tmp_path), port := free_port())
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
            said = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
    for line in (
        'flarecast_samples_total{kind="wear",outcome="received"} 2.0',
        'flarecast_samples_total{kind="wear",outcome="quarantined"} 2.0',
        'flarecast_quarantined_samples_total{cause="invalid"} 2.0',
        'flarecast_messages_total{outcome="received"} 2.0',
        "flarecast_is_subscribed 0.0",
        "flarecast_commit_seconds_count 1.0",
        "flarecast_commit_seconds_sum 0.25",
        "flarecast_last_commit_timestamp_seconds 7.0",
    ):
        assert line in said.splitlines()
    assert "gw-1" not in said


@pytest.mark.parametrize(("group", "no_local"), [(None, True), ("collectors", False)])
def test_a_shared_subscription_does_not_ask_for_what_the_protocol_forbids(tmp_path, group, no_local):
    """MQTT 5, 3.8.3.1: no-local on a shared subscription is a protocol error."""
    enrolment = EnrolmentFile(write_enrolment(tmp_path / "e.csv", ["gw-1"]))
    one = Collector(BrokerAddress("127.0.0.1", 1), Lake(tmp_path), enrolment, clock=clock, group=group)
    asked = []
    client = SimpleNamespace(subscribe=lambda pairs: asked.extend((one, o.noLocal) for one, o in pairs))
    one._on_connect(client, None, None, SimpleNamespace(is_failure=False), None)
    assert asked == [(one, no_local) for one in subscriptions(group)]


def test_a_full_disk_stops_the_storing_not_the_collector(tmp_path, caplog):
    """Nor may half-written files of failed tries pile up on it."""
    one = collector(tmp_path)
    staging = Lake(tmp_path).staging("c")
    (tmp_path / "status").write_text("not a folder: the status cannot be written")
    one._write_status()
    assert "status_not_written" in caplog.text

    def fails(*_, **__):
        staging.mkdir(parents=True)
        (staging / "half.parquet").write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    one._lake = SimpleNamespace(commit=fails, sweep=Lake(tmp_path).sweep)
    one.stop()
    assert one._store(one._intake.sort([GARBAGE]).tables(T0), T0) is False
    assert list(staging.iterdir()) == []


def test_a_status_is_a_table_for_whoever_looks(tmp_path, capsys):
    clinic = Clinic(tmp_path)
    status = Counts().status() | {
        "received": {"step_count": 1234, "wear": 2},
        "stored": {"step_count": 1234},
        "quarantined": {"wear": 2},
        "causes": {"unknown_device": 2},
        "utc": {"started": T0, "updated": T0},
    }
    clinic.lake.write_status("collector-1", status)
    assert main(["collector", "status", "--home", str(tmp_path)]) == 0
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert said[0].startswith("collector-1: not connected to its broker, started 2026-")
    assert "step_count 1,234 1,234 0" in said
    assert "wear 2 0 2" in said
    assert "quarantined 2 unknown_device" in said
    for spoilt in ("{}", "[]"):
        (clinic.lake.root / "status" / "collector-1.json").write_text(spoilt)
        assert main(["collector", "status", "--home", str(tmp_path)]) == 2
        assert "collector-1.json is no status" in capsys.readouterr().err


def test_a_broker_that_is_not_there_is_said_once(tmp_path, caplog):
    one = collector(tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            try:
                raise ConnectionRefusedError(111, "Connection refused")
            except OSError:
                one._on_connect_fail()
    (said,) = caplog.messages
    assert said.startswith("cannot_connect broker=127.0.0.1:1 reason=")
    assert "Connection refused" in said


def test_files_of_tls_that_cannot_be_read_are_named(tmp_path, capsys):
    write_enrolment(tmp_path / "enrolment.csv", ["gw-1"])
    for content in (None, "no certificate"):
        files = [tmp_path / name for name in ("ca.crt", "client.crt", "client.key")]
        if content is not None:
            for file in files:
                file.write_text(content)
        options = [f"--{name}={file}" for name, file in zip(("ca", "certificate", "key"), files, strict=True)]
        assert main(["collector", "run", "--home", str(tmp_path), "--port", "1", *options]) == 2
        assert f"cannot use {files[0]}, {files[1]}, {files[2]} for TLS: " in capsys.readouterr().err
