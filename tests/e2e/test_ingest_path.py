"""A gateway's spool to Parquet over real brokers, with collector and broker killed on the way."""

import errno
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from devices.blobs import unpack_u16
from devices.clock import MINUTE, from_utc
from devices.observations import KINDS
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.errors import SpoolFullError
from ingest.lake.broker import EmbeddedBroker, MosquittoBroker
from ingest.lake.collector import Collector
from ingest.lake.enrolment import Enrolment, read_enrolment
from ingest.lake.files import Lake
from ingest.lake.intake_enrolment import EnrolmentFile
from ingest.wire.address import BrokerAddress
from ingest.wire.bulk import Arrival
from ingest.wire.client import make_client
from ingest.wire.messages import encode_batch, encode_observation
from tests.fixtures_ingest import (
    PATIENCE_S,
    T0,
    CollectorProcess,
    clock,
    hourly,
    one_of_each,
    steps,
    stored_rows,
    wait_until,
    write_enrolment,
)

HOURS = 60


@pytest.fixture(params=[EmbeddedBroker, MosquittoBroker])
def broker(request, tmp_path) -> Iterator[EmbeddedBroker | MosquittoBroker]:
    if request.param is MosquittoBroker and MosquittoBroker.executable() is None:
        pytest.skip("mosquitto is not installed")
    broker = request.param(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def spool(tmp_path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool.db", clock=clock)
    yield spool
    spool.close()


def forwarder(spool: Spool, address, *, ack_timeout_s: float = PATIENCE_S) -> Forwarder:
    return Forwarder(
        spool,
        address,
        site="north",
        gateway="gw-1",
        ack_timeout_s=ack_timeout_s,
        min_delay_s=0.1,
        max_delay_s=0.3,
    )


@contextmanager
def collecting(broker, lake: Lake, enrolment: Enrolment | EnrolmentFile):
    """A collector on a thread of this process, with a subscription: from now on the broker keeps for it."""
    collector = Collector(address_of(broker), lake, enrolment, clock=clock, flush_s=0.05)
    running = threading.Thread(target=collector.run)
    running.start()
    try:
        assert wait_until(lambda: collector.counts.is_subscribed)
        yield
    finally:
        collector.stop()
        running.join(PATIENCE_S)
        assert not running.is_alive()


def address_of(broker):
    return BrokerAddress("127.0.0.1", broker.port)


def test_every_value_arrives(broker, spool, tmp_path):
    lake = Lake(tmp_path / "lake")
    enrolment = read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1"]))
    sent = one_of_each()
    spool.append(sent)
    with collecting(broker, lake, enrolment):
        sender = forwarder(spool, address_of(broker))
        sender.start()
        try:
            assert sender.drain(PATIENCE_S)
        finally:
            sender.stop()
    by_kind = {one.kind: one for one in sent}
    for kind, cls in KINDS.items():
        rows = stored_rows(lake.files(kind))
        one = by_kind[kind]
        assert rows, kind
        assert rows[0]["start_utc"] == from_utc(one.start_utc)
        assert rows[-1].get("end_utc", from_utc(one.end_utc)) == from_utc(one.end_utc)
        assert {(row["device"], row["source"], row["gateway"]) for row in rows} == {
            (one.device, one.source, "gw-1")
        }
        for name in cls.__struct_fields__:
            if name in rows[0] and name not in ("start_utc", "rr_ms", "bpm"):
                assert rows[0][name] == getattr(one, name)
    assert stored_rows(lake.files("rr_interval"))[0]["rr_ms"] == [800, 810, 790]
    assert [row["bpm"] for row in stored_rows(lake.files("heart_rate"))] == [60, 72]
    assert [row["steps"] for row in stored_rows(lake.files("step_count"))] == [0, 12, 900]
    assert [row["stage"] for row in stored_rows(lake.files("sleep_stage"))] == [1, 2, 3, 4, 0]
    assert lake.quarantined() == {}
    assert spool.counts().confirmed == spool.counts().appended == sum(one.sample_count for one in sent)


def test_a_device_of_nobody_is_quarantined_and_confirmed(broker, spool, tmp_path):
    lake = Lake(tmp_path / "lake")
    enrolment = read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1", "gw-2"]))
    spool.append([steps(T0, [1, 2, 3], device="ring-9"), steps(T0, [4], device="ring-2")])
    with collecting(broker, lake, enrolment):
        sender = forwarder(spool, address_of(broker))
        sender.start()
        try:
            assert sender.drain(PATIENCE_S)
        finally:
            sender.stop()
    assert lake.quarantined() == {
        "device is not enrolled at that time": 3,
        "device is enrolled with another gateway": 1,
    }
    assert lake.files("step_count") == []


def distinct_hours(lake: Lake) -> dict[object, list[int]]:
    return {row["start_utc"]: row["rr_ms"] for row in stored_rows(lake.files("rr_interval"))}


@pytest.mark.parametrize("victim", ["collector", "broker"])
def test_nothing_is_lost_when_killed(broker, spool, tmp_path, victim):
    enrolment = write_enrolment(tmp_path / "e.csv", ["gw-1"])
    collector = CollectorProcess(tmp_path, broker.port, enrolment)
    collector.start()
    lake = Lake(tmp_path / "lake")
    sender = forwarder(spool, address_of(broker), ack_timeout_s=0.7)
    sender.start()
    made = {from_utc(hourly(hour).start_utc): list(unpack_u16(hourly(hour).rr_ms)) for hour in range(HOURS)}
    try:
        for hour in range(HOURS):
            spool.append([hourly(hour)])
            spool.seal(force=True)
            time.sleep(0.01)
            if hour in (HOURS // 3, 2 * HOURS // 3):
                # somewhere in the middle of receiving, writing or acknowledging
                assert wait_until(lambda: bool(lake.files("rr_interval")))
                time.sleep(random.uniform(0, 0.05))
                killed = {"broker": broker, "collector": collector}[victim]
                killed.kill()
                killed.start()
        assert sender.drain(PATIENCE_S)
    finally:
        sender.stop()
        assert collector.stop() == 0
    assert distinct_hours(lake) == made
    assert spool.counts().messages == 0


@dataclass(frozen=True)
class FullDisk(Lake):
    """A lake that refuses to store; set when it has."""

    refused: threading.Event = field(default_factory=threading.Event)

    def commit(self, tables, *, writer, now):
        if not tables:  # a gateway's state
            return []
        self.refused.set()
        raise OSError(errno.ENOSPC, "No space left on device")


def test_nothing_is_acknowledged_before_it_is_stored(broker, spool, tmp_path):
    """Neither to the gateway nor to the broker: the next collector gets it without the gateway."""
    enrolment = read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1"]))
    full = FullDisk(tmp_path / "full")
    spool.append([hourly(hour) for hour in range(3)])
    spool.seal(force=True)
    with collecting(broker, full, enrolment):
        sender = forwarder(spool, address_of(broker))
        sender.start()
        assert full.refused.wait(PATIENCE_S)
        assert wait_until(lambda: len(sender._taken) == len(spool.pending()))
        sender.stop()
    assert spool.counts().confirmed == 0
    lake = Lake(tmp_path / "lake")
    with collecting(broker, lake, enrolment):
        assert wait_until(lambda: len(distinct_hours(lake)) == 3)


@dataclass(frozen=True)
class SmallDisk(FullDisk):
    """A lake without room until there is."""

    has_room: threading.Event = field(default_factory=threading.Event)

    def commit(self, tables, *, writer, now):
        if self.has_room.is_set():
            return Lake.commit(self, tables, writer=writer, now=now)
        return super().commit(tables, writer=writer, now=now)


def test_a_collector_that_cannot_store_takes_a_window_and_no_more(broker, tmp_path, monkeypatch):
    """The rest waits in the broker; the connection is kept, and with room everything is stored once."""
    window, count = 100, 250
    enrolment = read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1"]))
    lake = SmallDisk(tmp_path / "lake")
    collector = Collector(address_of(broker), lake, enrolment, clock=clock, flush_s=0.05, window=window)
    taken: list[Arrival] = []
    receive = collector._on_arrivals
    monkeypatch.setattr(
        collector,
        "_on_arrivals",
        lambda arrivals: (taken.extend(a for a in arrivals if a.payload[:1] == b"\x95"), receive(arrivals)),
    )
    running = threading.Thread(target=collector.run)
    running.start()
    feeder = make_client("feeder", address_of(broker))
    try:
        assert wait_until(lambda: collector.counts.is_subscribed)
        feeder.connect("127.0.0.1", broker.port)
        feeder.loop_start()
        for number in range(count):
            batch = encode_batch(
                number + 1, T0, "step_count", [encode_observation(steps(T0 + number * MINUTE, [number]))]
            )
            feeder.publish("flarecast/v1/north/gw-1/step_count", batch, qos=1).wait_for_publish(PATIENCE_S)
        assert lake.refused.wait(PATIENCE_S)
        assert wait_until(lambda: len(taken) == window)
        time.sleep(0.5)
        assert len(taken) == window
        lake.has_room.set()
        assert wait_until(lambda: len(stored_rows(lake.files("step_count"))) == count)
        assert sorted(row["steps"] for row in stored_rows(lake.files("step_count"))) == list(range(count))
        assert collector.counts.connections == 1
    finally:
        lake.has_room.set()
        feeder.disconnect()
        feeder.loop_stop()
        collector.stop()
        running.join(PATIENCE_S)
    assert not running.is_alive()


def test_what_has_come_is_stored_and_acknowledged_when_it_stops(broker, tmp_path):
    """A graceful stop leaves nothing to be delivered a second time."""
    enrolment = read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1"]))
    lake = Lake(tmp_path / "lake")
    orphan = lake.folder(lake.staging("collector-1")) / "step_count-0.parquet"
    orphan.write_bytes(b"PAR1")
    feeder = make_client("feeder", address_of(broker))
    # nothing is due for an hour: only the stop brings it to the disk
    collector = Collector(address_of(broker), lake, enrolment, clock=clock, flush_s=3600)
    running = threading.Thread(target=collector.run)
    running.start()
    try:
        assert wait_until(lambda: collector.counts.is_subscribed)
        assert not orphan.exists()
        feeder.connect("127.0.0.1", broker.port)
        feeder.loop_start()
        for number in range(5):
            batch = encode_batch(number + 1, T0, "step_count", [encode_observation(steps(T0, [number]))])
            feeder.publish("flarecast/v1/north/gw-1/step_count", batch, qos=1).wait_for_publish(PATIENCE_S)
        assert wait_until(lambda: len(collector._buffer) == 5)
        assert not lake.files("step_count")
    finally:
        feeder.disconnect()
        feeder.loop_stop()
        collector.stop()
        running.join(PATIENCE_S)
    assert not running.is_alive()
    assert len(stored_rows(lake.files("step_count"))) == 5
    again: list[Arrival] = []
    second = Collector(address_of(broker), lake, enrolment, clock=clock, flush_s=0.05)
    second._on_arrivals = again.extend
    running = threading.Thread(target=second.run)
    running.start()
    assert wait_until(lambda: second.counts.is_subscribed)
    time.sleep(0.3)
    second.stop()
    running.join(PATIENCE_S)
    # the embedded broker sends us our own acknowledgements too
    assert [one for one in again if not one.topic.endswith("/ack")] == []


def test_the_kill_would_be_noticed(broker, spool, tmp_path):
    """Control: freed at the broker's PUBACK instead of the collector's word, messages are missing."""
    enrolment = write_enrolment(tmp_path / "e.csv", ["gw-1"])
    lake = Lake(tmp_path / "lake")
    collector = CollectorProcess(tmp_path, broker.port, enrolment)
    collector.start()
    sender = forwarder(spool, address_of(broker), ack_timeout_s=0.7)
    sender.start()
    try:
        spool.append([hourly(0)])
        # the collector has a session: from now on the broker keeps messages for it
        assert sender.drain(PATIENCE_S)
        collector.kill()
        spool.append([hourly(hour) for hour in range(1, 4)])
        spool.seal(force=True)
        numbers = [message.sequence for message in spool.pending()]
        assert wait_until(lambda: len(sender._taken) >= len(numbers))
        spool.confirm(numbers)
    finally:
        sender.stop()
    broker.kill()
    broker.start()
    collector.start()
    spool.append([hourly(4)])
    sender = forwarder(spool, address_of(broker), ack_timeout_s=0.7)
    sender.start()
    try:
        assert sender.drain(PATIENCE_S)
    finally:
        sender.stop()
        collector.stop()
    assert set(distinct_hours(lake)) == {from_utc(hourly(hour).start_utc) for hour in (0, 4)}


def test_a_message_nobody_can_read_does_not_come_back_for_ever(broker, spool, tmp_path):
    """A bit has flipped on the card: the header is gone, the message is kept once and freed."""
    lake = Lake(tmp_path / "lake")
    enrolment = read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1"]))
    spool.append([steps(T0, [1])])
    spool.seal(force=True)
    spool._database.execute("update message set payload = x'c10102'")
    spool.append([hourly(0)])
    with collecting(broker, lake, enrolment):
        sender = forwarder(spool, address_of(broker))
        sender.start()
        try:
            assert sender.drain(PATIENCE_S)
        finally:
            sender.stop()
    assert list(lake.quarantined().values()) == [1]
    assert len(distinct_hours(lake)) == 1
    assert spool.counts().messages == 0


def test_a_full_disk_does_not_end_the_sending(broker, spool, tmp_path, monkeypatch):
    enrolment = read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1"]))
    refused = threading.Event()

    def seal(**_):
        refused.set()
        raise SpoolFullError("spool: database or disk is full")

    spool.append([steps(T0, [1])])
    sender = forwarder(spool, address_of(broker))
    with collecting(broker, Lake(tmp_path / "lake"), enrolment):
        with monkeypatch.context() as full:
            full.setattr(spool, "seal", seal)
            sender.start()
            assert refused.wait(PATIENCE_S)
        try:
            assert sender.drain(PATIENCE_S)
        finally:
            sender.stop()


def test_a_device_enrolled_while_the_collector_runs_is_stored(broker, spool, tmp_path):
    path = write_enrolment(tmp_path / "e.csv", ["gw-2"])
    lake = Lake(tmp_path / "lake")
    with collecting(broker, lake, EnrolmentFile(path)):
        sender = forwarder(spool, address_of(broker))
        sender.start()
        try:
            spool.append([steps(T0, [1])])
            assert sender.drain(PATIENCE_S)
            assert lake.files("step_count") == []
            write_enrolment(tmp_path / "new.csv", ["gw-1"]).rename(path)
            spool.append([steps(T0, [2])])
            assert sender.drain(PATIENCE_S)
        finally:
            sender.stop()
    assert [row["steps"] for row in stored_rows(lake.files("step_count"))] == [2]
