"""The forwarder's promises, one by one, on a real mosquitto: will, window, freeing, back-off."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client

from devices.clock import system_clock
from ingest.edge import forwarder
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.lake.broker import MosquittoBroker
from ingest.wire.address import BrokerAddress
from ingest.wire.client import make_client, spread_reconnects
from ingest.wire.messages import IN_FLIGHT, decode_batch, decode_state, digest, encode_ack
from ingest.wire.topics import ack_topic, subscriptions
from tests.fixtures_ingest import hourly, wait_until

pytestmark = pytest.mark.skipif(MosquittoBroker.executable() is None, reason="mosquitto is not installed")

ACK = str(ack_topic("north", "gw-1"))


class Clinic:
    """Hears everything, and confirms nothing by itself."""

    def __init__(self, broker: BrokerAddress, name: str = "clinic") -> None:
        self.states: list[tuple[bool, str, bool]] = []
        self.batches: list[bytes] = []
        self.qos: set[int] = set()
        self.client: Client = make_client(name, broker)
        self.client.on_message = self._on_message
        self.client.on_connect = lambda *_: self.client.subscribe([(one, 1) for one in subscriptions()])
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()

    def _on_message(self, _: object, __: object, message) -> None:
        if message.topic.endswith("/state"):
            state = decode_state(message.payload)
            self.states.append((state.is_online, state.boot, message.retain))
        elif message.topic != ACK:
            self.qos.add(message.qos)
            self.batches.append(message.payload)

    def numbers(self) -> list[int]:
        return [decode_batch(payload, "rr_interval").batch.sequence for payload in self.batches]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerAddress]:
    broker = MosquittoBroker(tmp_path / "broker")
    yield broker.start()
    broker.stop()


@pytest.fixture
def clinic(broker: BrokerAddress) -> Iterator[Clinic]:
    clinic = Clinic(broker)
    assert wait_until(clinic.client.is_connected)
    yield clinic
    clinic.close()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "s.db", clock=system_clock, key=bytes(32))
    yield spool
    spool.close()


@pytest.fixture
def sender(spool: Spool, broker: BrokerAddress) -> Iterator[Forwarder]:
    sender = Forwarder(
        spool, broker, site="north", gateway="gw-1", ack_timeout_s=600, min_delay_s=0.1, max_delay_s=0.3
    )
    sender.start()
    yield sender
    sender.stop()


def test_a_last_will_is_retained_and_of_the_same_run(clinic, sender, broker, monkeypatch) -> None:
    assert wait_until(lambda: clinic.states[-1:] != [])
    online, boot, _ = clinic.states[-1]
    assert online
    # the line is cut, no good-bye: who asks later hears it too
    may_return, reconnect = threading.Event(), sender._client.reconnect
    monkeypatch.setattr(sender._client, "reconnect", lambda: may_return.wait() and reconnect())
    try:
        sender._client.socket().shutdown(socket.SHUT_RDWR)
        assert wait_until(lambda: (False, boot, False) in clinic.states)
        after = Clinic(broker, "after")
        assert wait_until(lambda: after.states[:1] == [(False, boot, True)])
        after.close()
    finally:
        may_return.set()
    assert wait_until(lambda: clinic.states[-1][0])
    assert {each for _, each, _ in clinic.states} == {boot}
    sender.stop()
    assert wait_until(lambda: not clinic.states[-1][0])
    late = Clinic(broker, "late")
    assert wait_until(lambda: late.states == [(False, boot, True)])
    late.close()


def test_a_window_of_messages_is_sent_and_only_a_confirmation_frees(clinic, spool, sender) -> None:
    """The broker has taken every one of them (PUBACK): nothing of the spool is freed."""
    for hour in range(IN_FLIGHT + 15):
        spool.append([hourly(hour)])
        spool.seal(force=True)
    every = [message.sequence for message in spool.pending()]
    assert every == list(range(every[0], every[0] + IN_FLIGHT + 15))
    sender._wake.set()
    assert wait_until(lambda: len(clinic.batches) >= IN_FLIGHT and len(sender._taken) == IN_FLIGHT)
    assert clinic.numbers() == every[:IN_FLIGHT]
    assert clinic.qos == {1}
    assert spool.counts().messages == len(every)
    # one by its number, one by the digest of what could not be read, one that is not on its way, one forged
    clinic.client.publish(ACK, encode_ack([every[0], every[-1] + 5], [digest(clinic.batches[1])]), qos=1)
    clinic.client.publish(ACK, b"\xc1 no acknowledgement", qos=1)
    assert wait_until(lambda: len(clinic.batches) == IN_FLIGHT + 2)
    assert clinic.numbers()[IN_FLIGHT:] == every[IN_FLIGHT : IN_FLIGHT + 2]
    assert [message.sequence for message in spool.pending()] == every[2:]


def test_after_a_cut_the_same_bytes_are_sent_again(clinic, spool, sender) -> None:
    spool.append([hourly(0)])
    spool.seal(force=True)
    sender._wake.set()
    assert wait_until(lambda: len(clinic.batches) == 1 and len(sender._taken) == 1)
    sender._client.socket().shutdown(socket.SHUT_RDWR)
    assert wait_until(lambda: len(clinic.batches) == 2)
    assert clinic.batches[0] == clinic.batches[1]
    assert spool.counts().messages == 1


def test_a_backlog_is_made_while_nothing_can_be_sent(clinic, spool, sender, monkeypatch) -> None:
    """Without a connection, and with a window that nobody confirms; with room again it is live."""
    asked: list[bool] = []
    seal = spool.seal
    monkeypatch.setattr(
        spool, "seal", lambda *, is_live=True, **how: asked.append(is_live) or seal(is_live=is_live, **how)
    )
    monkeypatch.setattr(forwarder, "SEAL_EVERY_S", 0.0)
    assert wait_until(lambda: asked[-1:] == [True])
    for hour in range(IN_FLIGHT):
        spool.append([hourly(hour)])
        seal(force=True)
    sender._wake.set()
    assert wait_until(lambda: asked[-1] is False)
    assert wait_until(lambda: len(clinic.batches) == IN_FLIGHT)
    clinic.client.publish(ACK, encode_ack(clinic.numbers()), qos=1)
    assert wait_until(lambda: asked[-1] is True)
    sender._connected.clear()
    assert wait_until(lambda: asked[-1] is False)


def test_a_fleet_that_lost_its_broker_does_not_return_together() -> None:
    """Each connection draws both ends of its back-off anew, around what was asked."""
    client = make_client("x", BrokerAddress("127.0.0.1", 1))
    drawn = []
    for _ in range(2000):
        spread_reconnects(client, min_delay_s=300.0, max_delay_s=600.0)
        drawn.append((client._reconnect_min_delay, client._reconnect_max_delay))
    for ends, asked in zip(zip(*drawn, strict=True), (300.0, 600.0), strict=True):
        assert asked / 2 <= min(ends) < 0.55 * asked
        assert 1.45 * asked < max(ends) <= 1.5 * asked
        # spread evenly: each tenth of the range has its tenth of the fleet, give or take a half
        tenths = [sum(int((end / asked - 0.5) * 10) == tenth for end in ends) for tenth in range(10)]
        assert all(100 < count < 300 for count in tenths)
