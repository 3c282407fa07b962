"""Mutual TLS on a real mosquitto, configured by `flarecast ca` and by nothing else."""

import getpass
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from devices.clock import system_clock
from flows.cli import main
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.lake.broker import MosquittoBroker, _is_listening, free_port
from ingest.lake.collector import Collector
from ingest.lake.enrolment import read_enrolment
from ingest.lake.files import Lake
from ingest.lake.security import Authority
from ingest.wire.address import BrokerAddress
from ingest.wire.messages import encode_ack
from ingest.wire.topics import ack_topic, data_topic, subscriptions
from tests.fixtures_ingest import PATIENCE_S, T0, steps, stored_rows, wait_until, write_enrolment
from tests.fixtures_security import (
    NOT_AUTHORIZED,
    SecuredBroker,
    Voice,
    authority_of,
    collecting,
    share_the_work,
)

pytestmark = pytest.mark.skipif(MosquittoBroker.executable() is None, reason="mosquitto is not installed")

OWN = str(data_topic("north", "gw-1", "wear"))
OTHERS = str(data_topic("north", "gw-2", "wear"))


@pytest.fixture
def broker(tmp_path) -> Iterator[SecuredBroker]:
    authority = authority_of(tmp_path, ["gw-1", "gw-2"], ["collector-1", "collector-2"])
    broker = SecuredBroker(tmp_path / "broker", authority)
    broker.start()
    yield broker
    broker.stop()


@contextmanager
def voice(*arguments, **options):
    one = Voice(*arguments, **options)
    try:
        assert one.is_connected()
        yield one
    finally:
        one.close()


#: MQTT 5, clean start, keepalive 60 s, client id x.
CONNECT = bytes.fromhex("100e 0004 4d515454 05 02 003c 00 0001 78")


def is_refused(address) -> bool:
    """Whether the broker ends it at the handshake or at the first word."""
    context = ssl.create_default_context(cafile=str(address.ca))
    if address.certificate is not None:
        context.load_cert_chain(str(address.certificate), str(address.key))
    with (
        socket.create_connection((address.host, address.port), 5) as plain,
        context.wrap_socket(plain, server_hostname=address.host) as secured,
    ):
        try:
            # TLS 1.3: the client learns of its refusal when it reads
            secured.sendall(CONNECT)
            answer = secured.recv(64)
        except (ssl.SSLError, ConnectionError):
            return True
    return answer[:1] != b"\x20" or answer[3] != 0


def test_a_gateway_writes_below_its_own_name_only(broker):
    with voice(broker.address("gw-1")) as gateway:
        assert gateway.publish(OWN) in (0, 0x10)
        assert gateway.publish(OTHERS) == NOT_AUTHORIZED
        assert gateway.publish("$SYS/broker") == NOT_AUTHORIZED
        assert gateway.publish("elsewhere") == NOT_AUTHORIZED
        assert gateway.publish(str(ack_topic("north", "gw-2")), encode_ack([1])) == NOT_AUTHORIZED


def test_a_gateway_hears_its_own_acknowledgements_only(broker):
    with voice(broker.address("gw-1")) as gateway, voice(broker.address("gw-2")) as other:
        gateway.subscribe("#", subscriptions()[0])
        with voice(broker.address("collector-1", is_collector=True)) as collector:
            for name in ("gw-2", "gw-1"):
                assert collector.publish(str(ack_topic("north", name)), encode_ack([1])) in (0, 0x10)
            assert collector.publish(OWN) == NOT_AUTHORIZED
            assert other.publish(OTHERS) in (0, 0x10)
            # what comes to it comes in order: after the last one nothing from before is on its way
            last = encode_ack([2])
            assert collector.publish(str(ack_topic("north", "gw-1")), last) in (0, 0x10)
            assert wait_until(lambda: gateway.heard[-1:] == [(str(ack_topic("north", "gw-1")), last)])
        assert {topic for topic, _ in gateway.heard} == {str(ack_topic("north", "gw-1"))}


def test_a_collectors_certificate_is_worth_nothing_at_the_gateways_door(broker):
    with voice(broker.address("collector-1")) as collector:
        assert collector.publish(str(ack_topic("north", "gw-1")), encode_ack([1])) == NOT_AUTHORIZED


def test_a_gateway_has_no_rights_at_the_collectors_door(broker):
    with voice(broker.address("gw-1", is_collector=True)) as gateway:
        assert gateway.publish(str(ack_topic("north", "gw-2")), encode_ack([1])) == NOT_AUTHORIZED
        assert gateway.publish(OWN) == NOT_AUTHORIZED


def test_to_steal_a_client_id_gains_nothing(broker):
    """The collector's queue survives a gateway that connects under the collector's client id."""
    with voice(broker.address("collector-1", is_collector=True), "collector-1") as collector:
        with voice(broker.address("gw-1"), "collector-1") as thief:
            thief.subscribe(subscriptions()[0])
            collector.subscribe(subscriptions()[0])
            with voice(broker.address("gw-2")) as gateway:
                assert gateway.publish(OTHERS) in (0, 0x10)
            assert wait_until(lambda: bool(collector.heard))
            assert thief.heard == []
            # neither was put out by the other
            assert thief.publish(OWN) == 0
        assert collector.client.is_connected()


def test_without_a_certificate_of_ours_nobody_is_let_in(broker, tmp_path):
    address = broker.address("gw-1")
    assert is_refused(replace(address, certificate=None, key=None))
    forged = {"certificate": tmp_path / "forged.crt", "key": tmp_path / "forged.key"}
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=gw-1"
    files = ["-keyout", str(forged["key"]), "-out", str(forged["certificate"])]
    subprocess.run([*request.split(), *files], check=True, capture_output=True)
    assert is_refused(replace(address, **forged))
    stranger = authority_of(tmp_path / "elsewhere", ["gw-1"], [])
    theirs = stranger.folder / "clients" / "gw-1"
    assert is_refused(replace(address, certificate=theirs / "client.crt", key=theirs / "client.key"))
    # and a gateway does not talk to a broker of another authority
    with pytest.raises(ssl.SSLCertVerificationError):
        is_refused(replace(address, ca=theirs / "ca.crt"))
    assert not is_refused(address)


def test_a_revoked_certificate_is_refused_and_its_successor_is_not(broker):
    address = broker.address("gw-1")
    assert not is_refused(address)
    assert broker.authority.revoke("gw-1") == 1
    broker.stop()
    broker.start()
    assert is_refused(address)
    assert not is_refused(broker.address("gw-2"))
    broker.authority.issue("gateway", "gw-1")
    assert not is_refused(address)


def test_the_registry_knows_the_site_better_than_the_topic(broker, tmp_path):
    """A gateway that says south is stored for the patient the clinic has enrolled with it, in the north."""
    lake = Lake(tmp_path / "lake")
    enrolment = read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1"]))
    spool = Spool(tmp_path / "s.db", clock=system_clock)
    spool.append([steps(T0, [1, 2])])
    address = broker.address("collector-1", is_collector=True)
    with collecting(Collector(address, lake, enrolment, clock=system_clock, flush_s=0.05)):
        sender = Forwarder(spool, broker.address("gw-1"), site="south", gateway="gw-1", ack_timeout_s=0.7)
        sender.start()
        try:
            assert sender.drain(PATIENCE_S)
        finally:
            sender.stop()
            spool.close()
    (first, _) = stored_rows(lake.files("step_count"))
    assert enrolment.lookup(first["device"], T0).site == "north"
    assert "site" not in first
    assert lake.quarantined() == {}


def test_two_collectors_share_the_work(broker, tmp_path):
    share_the_work(broker, tmp_path, 4)


def test_the_command_makes_what_the_broker_runs_with(tmp_path, capsys):
    home = ["--home", str(tmp_path)]
    assert (
        main(["ca", "init", "--host", "broker.example", "--installed", "/etc/mosquitto/flarecast", *home])
        == 0
    )
    assert main(["ca", "issue", "gateway", "gw-1", *home]) == 0
    assert main(["ca", "issue", "collector", "collector-2", *home]) == 0
    assert main(["ca", "revoke", "gw-1", *home]) == 0
    broker = tmp_path / "ca" / "broker"
    conf = (broker / "mosquitto.conf").read_text()
    assert "\ncafile /etc/mosquitto/flarecast/ca.crt\n" in conf
    assert "\nlistener 8884 127.0.0.1\n" in conf
    assert (broker / "collectors.acl").read_text() == (
        "user collector-2\ntopic read flarecast/v1/#\ntopic write flarecast/v1/+/+/ack\n"
        "user registrar\ntopic read flarecast/v1/+/+/certificate/request\n"
        "topic write flarecast/v1/+/+/cmd/certificate\n"
    )
    assert (broker / "gateways.acl").read_text() == (
        "user gw-1\ntopic deny #\n"
        "pattern write flarecast/v1/+/%u/#\n"
        "pattern read flarecast/v1/+/%u/ack\n"
        "pattern read flarecast/v1/+/%u/cmd/#\n"
    )
    authority = Authority(tmp_path / "ca", clock=system_clock)
    assert [(one.name, one.revoked_utc is None) for one in authority.issued()] == [
        ("broker", True),
        ("gw-1", False),
        ("collector-2", True),
    ]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "ca").rglob("*.key"))
    for wrong in (
        ["init"],
        ["revoke", "gw-1"],
        ["revoke", "broker"],
        ["issue", "gateway", "collector-3"],
        ["issue", "gateway", "broker"],
        ["issue", "gateway", "a/b"],
        ["issue", "collector", "reader"],
    ):
        assert main(["ca", *wrong, *home]) == 2, wrong
    assert main(["ca", "issue", "gateway", "gw-1", "--home", str(tmp_path / "nowhere")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 8


def test_what_the_installer_copies_runs_under_debians_own_configuration(tmp_path):
    """Debian's file says where queues and log lie and includes ours."""
    home, etc = tmp_path / "home", tmp_path / "etc"
    assert main(["ca", "init", "--installed", str(etc / "flarecast"), "--home", str(home)]) == 0
    assert main(["ca", "issue", "gateway", "gw-1", "--home", str(home)]) == 0
    subprocess.run(
        [Path(__file__).parents[2] / "deploy" / "mosquitto" / "install.sh", home / "ca" / "broker"],
        env={
            "PATH": "/usr/sbin:/usr/bin:/bin",
            "MOSQUITTO_ETC": str(etc),
            "MOSQUITTO_OWNER": getpass.getuser(),
            "MOSQUITTO_RESTART": "true",
        },
        check=True,
    )
    ours = etc / "conf.d" / "flarecast.conf"
    port, other = free_port(), free_port()
    text = ours.read_text()
    assert "listener 8883\n" in text
    ours.write_text(
        text.replace("listener 8883", f"listener {port}").replace("listener 8884", f"listener {other}")
    )
    (etc / "mosquitto.conf").write_text(
        f"user {getpass.getuser()}\npersistence true\npersistence_location {tmp_path}/\n"
        f"log_dest file {tmp_path}/mosquitto.log\ninclude_dir {etc}/conf.d\n"
    )
    process = subprocess.Popen([str(MosquittoBroker.executable()), "-c", str(etc / "mosquitto.conf")])
    try:
        assert wait_until(lambda: _is_listening(port) and _is_listening(other))
        client = home / "ca" / "clients" / "gw-1"
        files = {"ca": client / "ca.crt", "certificate": client / "client.crt", "key": client / "client.key"}
        address = BrokerAddress("127.0.0.1", port, **files)
        assert not is_refused(address)
        assert is_refused(replace(address, certificate=None, key=None))
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
