"""Clocks that are wrong, from the gateway to the doctor, over real brokers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.clock import HOUR, MINUTE, system_clock
from flows.clinic import Clinic
from flows.doctor.command import examine
from ingest.edge import forwarder
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.edge.spool_limits import SpoolLimits
from ingest.lake.broker import EmbeddedBroker, MosquittoBroker
from ingest.lake.collector import Collector
from ingest.lake.presence import read_presence
from ingest.wire.address import BrokerAddress
from ingest.wire.topics import state_topic
from tests.fixtures_ingest import PATIENCE_S, beats, hourly, wait_until, write_enrolment
from tests.fixtures_security import Voice, collecting


@pytest.fixture(params=[EmbeddedBroker, MosquittoBroker])
def broker(request, tmp_path: Path) -> Iterator[BrokerAddress]:
    if request.param is MosquittoBroker and MosquittoBroker.executable() is None:
        pytest.skip("mosquitto is not installed")
    broker = request.param(tmp_path / "broker")
    yield broker.start()
    broker.stop()


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    write_enrolment(tmp_path / "enrolment.csv", ["gw-1"])
    return Clinic(tmp_path)


def collector_of(clinic: Clinic, broker: BrokerAddress, clock=system_clock) -> Collector:
    return Collector(broker, clinic.lake, clinic.enrolment(), clock=clock, flush_s=0.05)


def test_a_gateway_says_its_clock_and_its_spool_and_the_doctor_hears_it(
    clinic, broker, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(forwarder, "SEAL_EVERY_S", 0.1)
    spool = Spool(
        tmp_path / "s.db", clock=lambda: system_clock() + 3 * HOUR, limits=SpoolLimits(most_bytes=66_000)
    )
    collector = collector_of(clinic, broker)
    with collecting(collector):
        assert wait_until(lambda: collector.counts.is_subscribed)
        sender = Forwarder(spool, broker, site="north", gateway="gw-1")
        sender.start()
        assert wait_until(lambda: "gw-1" in collector._presence._gateways)
        heard = collector._presence._gateways["gw-1"]
        assert (heard.is_online, heard.spool, heard.word) == (True, "ok", "")
        assert abs((heard.clock_error() or 0) - 3 * HOUR) < MINUTE
        # it fills while it is connected: the alarm is said at once, not in ten minutes
        spool.append([hourly(0)])
        assert spool.state().state != "ok"
        assert wait_until(lambda: collector._presence._gateways["gw-1"].spool != "ok")
        assert "bytes" in collector._presence._gateways["gw-1"].word
        sender.stop()
        assert wait_until(lambda: not collector._presence._gateways["gw-1"].is_online)
    spool.close()
    assert not read_presence(clinic.lake.root)["gw-1"].is_online
    found = [words for where, words in examine(clinic, "127.0.0.1", broker.port, clock=system_clock)]
    assert any("the clock of gw-1 is 3.0 h ahead" in words for words in found)
    assert any("the spool of gw-1 is in" in words for words in found)


def test_what_a_collector_hears_of_an_earlier_time_is_no_clock(clinic, broker, tmp_path) -> None:
    """Retained: said at some time, by a gateway that may be gone; only that it is there is known."""
    spool = Spool(tmp_path / "s.db", clock=lambda: system_clock() + 3 * HOUR)
    sender = Forwarder(spool, broker, site="north", gateway="gw-1")
    sender.start()
    probe = Voice(broker)
    assert probe.is_connected()
    probe.subscribe(str(state_topic("north", "gw-1")))
    assert wait_until(lambda: bool(probe.heard))
    probe.close()
    collector = collector_of(clinic, broker)
    with collecting(collector):
        assert wait_until(lambda: collector.counts.is_subscribed)
        assert wait_until(lambda: "gw-1" in collector._presence._gateways)
        heard = collector._presence._gateways["gw-1"]
        assert heard.is_online
        assert (heard.heard_utc, heard.clock_error()) == (None, None)
        spool.append([beats(0, [800], start_utc=system_clock() - HOUR)])
        assert sender.drain(PATIENCE_S)
        assert wait_until(lambda: heard.heard_utc is not None)
    sender.stop()
    spool.close()
