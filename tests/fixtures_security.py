"""A mosquitto with the files the authority writes, and clients that say what became of a message."""

import getpass
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client

from devices.clock import system_clock
from ingest.lake.broker import MosquittoBroker, _ChildBroker, _free_port
from ingest.lake.security import Authority
from ingest.lake.security_broker import configuration
from ingest.wire.address import BrokerAddress
from ingest.wire.client import make_client

NOT_AUTHORIZED = 0x87


class SecuredBroker(_ChildBroker):
    """mosquitto as `flarecast ca` configures it, on ports of the test."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(folder)
        self.authority = authority
        self.collector_port = _free_port()

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
        self._changed = threading.Condition()
        self._connected: int | None = None
        self.client: Client = make_client(client_id, address)
        self.client.on_connect = self._on_connect
        self.client.on_publish = self._on_publish
        self.client.on_message = lambda _, __, message: self.heard.append((message.topic, message.payload))
        self.client.connect(address.host, address.port)
        self.client.loop_start()

    def _on_connect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        with self._changed:
            self._connected = reason.value
            self._changed.notify_all()

    def _on_publish(self, _: Any, __: Any, mid: int, reason: Any, ___: Any) -> None:
        with self._changed:
            self._codes[mid] = reason.value
            self._changed.notify_all()

    def is_connected(self, timeout_s: float = 5.0) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._connected is not None, timeout_s)
        return self._connected == 0

    def publish(self, topic: str, payload: bytes = b"x") -> int:
        mid = self.client.publish(topic, payload, qos=1).mid
        with self._changed:
            assert self._changed.wait_for(lambda: mid in self._codes, 5)
        return self._codes[mid]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
