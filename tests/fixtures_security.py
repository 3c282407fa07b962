"""A mosquitto with the files the authority writes, and clients that say what became of a message."""

import getpass
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client

from devices.clock import from_utc, system_clock
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.lake.broker import MosquittoBroker, _ChildBroker, _is_listening, free_port
from ingest.lake.collector import Collector
from ingest.lake.enrolment import read_enrolment
from ingest.lake.files import Lake
from ingest.lake.security import Authority
from ingest.lake.security_broker import configuration
from ingest.wire.address import BrokerAddress
from ingest.wire.client import make_client
from tests.fixtures_ingest import PATIENCE_S, hourly, stored_rows, wait_until, write_enrolment

NOT_AUTHORIZED = 0x87
HUNG_UP = -1


class SecuredBroker(_ChildBroker):
    """mosquitto as `flarecast ca` configures it, on ports of the test."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(folder)
        self.authority = authority
        self.collector_port = free_port()

    def start(self) -> BrokerAddress:
        address = super().start()
        # the second listener opens a moment after the first
        assert wait_until(lambda: _is_listening(self.collector_port))
        return address

    def _command(self) -> list[str]:
        executable = MosquittoBroker.executable()
        assert executable is not None
        path = self.authority.folder / "broker" / "mosquitto.conf"
        machine = (
            f"user {getpass.getuser()}\npersistence_location {self._folder.resolve()}/\nlog_dest stderr\n"
            "log_type error\nlog_type warning\nlog_type notice\n"
        )
        ports = {"gateway_port": self.port, "collector_port": self.collector_port}
        path.write_text(configuration(path.parent.resolve(), machine=machine, **ports))
        return [executable, "-c", str(path)]

    def address(self, name: str, *, is_collector: bool = False) -> BrokerAddress:
        folder = self.authority.folder / "clients" / name
        return BrokerAddress(
            "127.0.0.1",
            self.collector_port if is_collector else self.port,
            ca=folder / "ca.crt",
            certificate=folder / "client.crt",
            key=folder / "client.key",
        )


def authority_of(folder: Path, gateways: Sequence[str], collectors: Sequence[str]) -> Authority:
    authority = Authority.found(folder / "ca", hosts=["broker.example"], clock=system_clock)
    for name in gateways:
        authority.issue("gateway", name)
    for name in collectors:
        authority.issue("collector", name)
    return authority


class Voice:
    """A client by hand: connects with a certificate and says the reason code of what it publishes."""

    def __init__(self, address: BrokerAddress, client_id: str = "") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._codes: dict[int, int] = {}
        self._subscribed: set[int] = set()
        self._changed = threading.Condition()
        #: Reason code of the broker's answer; one of our own where it hung up instead.
        self._connected: int | None = None
        self.client: Client = make_client(client_id, address)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_subscribe = self._on_subscribe
        self.client.on_publish = self._on_publish
        self.client.on_message = lambda _, __, message: self.heard.append((message.topic, message.payload))
        self.client.connect(address.host, address.port)
        self.client.loop_start()

    def _on_connect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        with self._changed:
            self._connected = reason.value
            self._changed.notify_all()

    def _on_disconnect(self, *_: Any) -> None:
        with self._changed:
            if self._connected is None:
                self._connected = HUNG_UP
            self._changed.notify_all()

    def _on_subscribe(self, _: Any, __: Any, mid: int, *___: Any) -> None:
        with self._changed:
            self._subscribed.add(mid)
            self._changed.notify_all()

    def _on_publish(self, _: Any, __: Any, mid: int, reason: Any, ___: Any) -> None:
        with self._changed:
            self._codes[mid] = reason.value
            self._changed.notify_all()

    def is_connected(self) -> bool:
        """Whether the broker let it in, as soon as that is known."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._connected is not None, PATIENCE_S)
        return self._connected == 0

    def subscribe(self, *topics: str) -> None:
        """Ask for topics; the broker has answered, whatever it said."""
        _, mid = self.client.subscribe([(topic, 1) for topic in topics])
        with self._changed:
            assert self._changed.wait_for(lambda: mid in self._subscribed, PATIENCE_S)

    def publish(self, topic: str, payload: bytes = b"x") -> int:
        mid = self.client.publish(topic, payload, qos=1).mid
        with self._changed:
            assert self._changed.wait_for(lambda: mid in self._codes, PATIENCE_S)
        return self._codes[mid]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def collecting(collector: Collector):
    running = threading.Thread(target=collector.run)
    running.start()
    try:
        yield
    finally:
        collector.stop()
        running.join(PATIENCE_S)
        assert not running.is_alive()


def share_the_work(broker: SecuredBroker, folder: Path, seconds: float) -> list[int]:
    """Two collectors, one group: no disconnect, both work, nothing missing, nothing stored twice."""
    lake = Lake(folder / "lake")
    enrolment = read_enrolment(write_enrolment(folder / "e.csv", ["gw-1", "gw-2"]))
    spools = {name: Spool(folder / f"{name}.db", clock=system_clock) for name in ("gw-1", "gw-2")}
    senders = [
        Forwarder(spool, broker.address(name), site="north", gateway=name) for name, spool in spools.items()
    ]
    collectors = {
        name: Collector(
            broker.address(name, is_collector=True),
            lake,
            enrolment,
            clock=system_clock,
            collector=name,
            flush_s=0.1,
            group="collectors",
        )
        for name in ("collector-1", "collector-2")
    }
    made = set()
    with ExitStack() as stack:
        for collector in collectors.values():
            stack.enter_context(collecting(collector))
        # before it has a subscription the broker keeps nothing for it
        assert wait_until(lambda: all(one.counts.is_subscribed for one in collectors.values()))
        for sender in senders:
            sender.start()
            stack.callback(sender.stop)
        end = time.monotonic() + seconds
        hour = 0
        while time.monotonic() < end:
            for name, spool in spools.items():
                one = hourly(hour, device=f"strap-{name[-1]}", count=300)
                spool.append([one])
                spool.seal(force=True)
                made.add((name, from_utc(one.start_utc)))
            hour += 1
            time.sleep(0.05)
        assert all(sender.drain(PATIENCE_S) for sender in senders)
        assert {name: one.counts.connections for name, one in collectors.items()} == dict.fromkeys(
            collectors, 1
        )
        assert all(one.counts.is_subscribed for one in collectors.values())
    stored = [(row["gateway"], row["start_utc"]) for row in stored_rows(lake.files("rr_interval"))]
    assert set(stored) == made
    assert len(stored) == len(made)
    shares = [one.counts.status()["messages"]["received"] for one in collectors.values()]
    assert min(shares) > len(made) / 4
    for spool in spools.values():
        spool.close()
    return shares
