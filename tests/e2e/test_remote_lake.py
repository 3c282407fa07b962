"""A lake on S3-compatible storage: the same answers, from any machine, and no file that is half there.

Every test has a bucket behind real HTTP (moto), and two folders that stand for two machines.
"""

import threading
from pathlib import Path

import pytest

from analytics.store import warehouse
from devices.clock import DAY, HOUR
from devices.observations import KINDS
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.errors import LakeError, StoreUnreachableError
from ingest.lake.broker import EmbeddedBroker
from ingest.lake.collector import Collector
from ingest.lake.columns import Arrived, to_table
from ingest.lake.compaction import compact
from ingest.lake.enrolment import Enrolment, read_enrolment
from ingest.lake.files import Lake
from ingest.lake.manifest_check import verify
from ingest.lake.remote import RemoteLake
from ingest.wire.address import BrokerAddress
from tests.fixtures_ingest import (
    PATIENCE_S,
    T0,
    beats,
    clock,
    one_of_each,
    steps,
    stored_rows,
    wait_until,
    write_enrolment,
)
from tests.fixtures_s3 import new_bucket, objects


@pytest.fixture
def machines(s3: str, tmp_path: Path) -> tuple[RemoteLake, RemoteLake]:
    bucket = new_bucket(s3)
    one, other = (RemoteLake(tmp_path / name, objects(s3, bucket)) for name in ("one", "other"))
    return one, other


@pytest.fixture
def enrolment(tmp_path: Path) -> Enrolment:
    return read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1"]))


def land(lake: Lake, observations, *, now: int = T0, sequence: int = 1) -> None:
    for one in observations:
        table = to_table(one.kind, [Arrived(one, "gw-1", sequence)], now)
        lake.commit({one.kind: table}, writer="collector-1", now=now)


def answers(lake: Lake, enrolment: Enrolment):
    with warehouse.connect({kind: lake.files(kind) for kind in KINDS}, enrolment.table) as con:
        return {kind: sorted(con.sql(f"from observations_{kind}").fetchall(), key=repr) for kind in KINDS}


def later() -> int:
    return T0 + DAY


def test_what_one_machine_stores_another_reads(machines, enrolment, tmp_path: Path) -> None:
    one, other = machines
    folder = Lake(tmp_path / "folder")
    for lake in (one, folder):
        land(lake, one_of_each())
        land(lake, [steps(T0 + n * HOUR, [n, n + 1]) for n in range(5)], sequence=2)
    wanted = answers(folder, enrolment)
    assert sum(map(len, wanted.values())) > 15
    assert answers(other, enrolment) == wanted
    compact(other, enrolment, clock=later)
    compact(folder, enrolment, clock=later)
    assert answers(one, enrolment) == answers(other, enrolment) == answers(folder, enrolment) == wanted
    assert verify(one) == []
    parts = {kind: set(folder.manifest(kind).parts) for kind in KINDS}
    assert {kind: set(one.manifest(kind).parts) for kind in KINDS} == parts, "equal content has equal names"


def test_late_data_of_a_third_machine_reopens_its_day(machines, enrolment) -> None:
    one, other = machines
    land(one, [beats(0, [800, 810])])
    compact(one, enrolment, clock=later)
    land(other, [beats(3, [820], start_utc=T0 + HOUR)], sequence=3)
    (done,) = compact(one, enrolment, clock=later, kinds=["rr_interval"])
    assert [date for _, date in done.reopened] == ["2026-09-21"]
    assert answers(one, enrolment) == answers(other, enrolment)
    assert len(stored_rows(other.files("rr_interval"))) == 2


def test_of_two_that_compact_at_once_one_is_refused_and_nothing_is_lost(machines, enrolment) -> None:
    one, other = machines
    land(one, [steps(T0 + n * HOUR, [n]) for n in range(4)])
    before = answers(one, enrolment)
    stale = one.manifest("step_count")
    compact(other, enrolment, clock=later)
    stale.retired["landing/step_count/dt=2026-09-21/none.parquet"] = T0
    with pytest.raises(LakeError, match="changed by another machine"):
        one.publish(stale)
    assert answers(one, enrolment) == answers(other, enrolment) == before


def test_a_manifest_that_says_the_same_again_is_another_version(machines) -> None:
    """An ETag is a digest: without an id of its own A-B-A would pass for A."""
    one, other = machines
    first = one.manifest("battery")
    one.publish(first)
    seen = other.manifest("battery")
    contents = set()
    for _ in range(3):
        again = one.manifest("battery")
        again.generation = first.generation - 1
        one.publish(again)
        contents.add((one.root / "data/battery/manifest.json").read_bytes())
    assert len(contents) == 3
    with pytest.raises(LakeError, match="changed by another machine"):
        other.publish(seen)


def test_nothing_is_here_that_the_store_does_not_have(machines, enrolment, monkeypatch) -> None:
    one, other = machines

    def down(key: str, content: bytes) -> bool:
        raise StoreUnreachableError(f"object storage: {key}: down")

    with monkeypatch.context() as patch:
        patch.setattr(type(one.objects), "create", lambda self, key, content: down(key, content))
        with pytest.raises(OSError, match="down"):
            land(one, one_of_each())
    assert not list(one.root.glob("landing/*/*/*.parquet"))
    land(one, one_of_each())
    assert answers(other, enrolment) == answers(one, enrolment)


def test_copies_may_be_lost_or_torn(machines, enrolment) -> None:
    one, _ = machines
    land(one, [steps(T0, [1, 2, 3])])
    compact(one, enrolment, clock=later)
    land(one, [steps(T0 + 2 * DAY, [4])], now=T0 + 2 * DAY)
    before = answers(one, enrolment)
    copies = list(one.root.rglob("*.parquet"))
    assert len(copies) >= 2
    copies[0].unlink()
    copies[1].write_bytes(copies[1].read_bytes()[:-5])
    assert answers(one, enrolment) == before


def test_what_one_machine_removes_is_gone_for_all(machines, enrolment) -> None:
    one, other = machines
    land(one, [steps(T0, [1])])
    assert len(other.files("step_count")) == 1
    compact(one, enrolment, clock=later)
    assert len(other.files("step_count")) == 1
    compact(one, enrolment, clock=lambda: later() + 30 * DAY)
    keys = [key for key, _ in one.objects.keys("landing/")]
    assert keys == [], "replaced files go from the store too"
    assert len(stored_rows(other.files("step_count"))) == 1


def test_copies_of_what_another_machine_removed_go_within_a_day(machines, enrolment) -> None:
    """A collector reads nothing: without this its copies would stay, and erasure would not reach them."""
    one, other = machines
    land(one, [steps(T0, [1])])
    compact(other, enrolment, clock=later)
    land(one, [steps(T0 + HOUR, [2])])
    one.files("step_count")
    compact(other, enrolment, clock=lambda: later() + 30 * DAY)
    compact(other, enrolment, clock=lambda: later() + 60 * DAY)
    assert len(list(one.root.rglob("*.parquet"))) == 3
    Collector(BrokerAddress("127.0.0.1", 1), one, enrolment, clock=clock)._forget_old()
    kept = [path.relative_to(one.root).as_posix() for path in one.root.rglob("*.parquet")]
    assert kept == [], kept
    assert len(stored_rows(one.files("step_count"))) == 2


def test_storage_that_is_away_ends_no_collector(machines, enrolment, monkeypatch) -> None:
    one, _ = machines

    def down(self, prefix: str):
        raise StoreUnreachableError(f"object storage: {prefix}: down")

    monkeypatch.setattr(type(one.objects), "keys", down)
    Collector(BrokerAddress("127.0.0.1", 1), one, enrolment, clock=clock)._forget_old()


def test_a_store_that_does_not_answer_is_said_in_one_line(tmp_path: Path) -> None:
    lake = RemoteLake(tmp_path, objects("http://127.0.0.1:9", "bucket"))
    with pytest.raises(StoreUnreachableError) as caught:
        lake.files("battery")
    assert "object storage: data/battery/manifest.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_from_a_gateway_over_a_broker_into_the_store(machines, enrolment, tmp_path: Path) -> None:
    """The collector is the same one: acknowledged is what the store has."""
    one, other = machines
    broker = EmbeddedBroker(tmp_path / "broker")
    broker.start()
    address = BrokerAddress("127.0.0.1", broker.port)
    collector = Collector(address, one, enrolment, clock=clock, flush_s=0.05)
    running = threading.Thread(target=collector.run)
    running.start()
    spool = Spool(tmp_path / "spool.db", clock=clock)
    try:
        sent = one_of_each()
        spool.append(sent)
        sender = Forwarder(
            spool, address, site="north", gateway="gw-1", ack_timeout_s=2, min_delay_s=0.1, max_delay_s=0.3
        )
        sender.start()
        try:
            assert sender.drain(PATIENCE_S)
        finally:
            sender.stop()
        assert wait_until(lambda: all(other.files(one.kind) for one in sent))
    finally:
        collector.stop()
        running.join(PATIENCE_S)
        spool.close()
        broker.stop()
    assert not running.is_alive()
    assert {kind for kind in KINDS if stored_rows(other.files(kind))} == {one.kind for one in sent}
