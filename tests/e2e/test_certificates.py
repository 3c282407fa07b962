"""A gateway's certificate from its invitation to its revocation, on a real mosquitto with mutual TLS."""

import getpass
import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from devices.clock import DAY, MINUTE, from_utc, system_clock
from flows.cli import main
from flows.errors import UserError
from flows.gateway import uplink as gateway_uplink
from flows.gateway.config import read_config
from flows.gateway.uplink import Uplink, join, renew
from ingest.edge import certificate as edge
from ingest.edge.spool import Spool
from ingest.errors import SecurityError
from ingest.lake.broker import MosquittoBroker
from ingest.lake.collector import Collector
from ingest.lake.enrolment import read_enrolment
from ingest.lake.files import Lake
from ingest.lake.registrar import Registrar
from ingest.lake.security import CLIENT_DAYS, Authority
from ingest.lake.security_invitations import MOST_TRIES, Invitations
from ingest.wire.address import BrokerAddress
from ingest.wire.certificates import (
    Request,
    answer_topic,
    code_key,
    decode_invitation,
    prove,
    request_topic,
)
from ingest.wire.topics import ack_topic, data_topic
from tests.fixtures_ingest import PATIENCE_S, T0, steps, stored_rows, wait_until, write_enrolment
from tests.fixtures_security import NOT_AUTHORIZED, SecuredBroker, Voice, authority_of, collecting

pytestmark = pytest.mark.skipif(MosquittoBroker.executable() is None, reason="mosquitto is not installed")


class Site:
    """A broker, an authority, a registrar, and a clock that the authority goes by."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ahead = 0
        authority_of(folder, ["gw-2"], ["collector-1"])
        self.authority = Authority(folder / "ca", clock=self.clock)
        self.authority.issue("registrar", "registrar")
        self.invitations = Invitations(self.authority, clock=self.clock)
        self.broker = SecuredBroker(folder / "broker", self.authority)
        self.broker.start()

    def clock(self) -> int:
        return system_clock() + self.ahead

    def reload(self) -> None:
        """What `install.sh` does after a change of rules or of the list of revoked ones."""
        assert self.broker._process is not None
        self.broker._process.send_signal(signal.SIGHUP)

    def invite(self, name: str = "gw-1", days: int = 7) -> tuple[Path, str]:
        port = self.broker.port
        return self.invitations.make(name, site="north", host="127.0.0.1", port=port, days=days)

    @contextmanager
    def registrar(self) -> Iterator[Registrar]:
        address = self.broker.address("registrar", is_collector=True)
        registrar = Registrar(self.authority, address, clock=self.clock)
        running = threading.Thread(target=registrar.run)
        running.start()
        try:
            assert registrar.is_listening.wait(PATIENCE_S)
            yield registrar
        finally:
            registrar.stop()
            running.join(PATIENCE_S)
            assert not running.is_alive()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.broker.stop()


@contextmanager
def voice(address: BrokerAddress) -> Iterator[Voice]:
    one = Voice(address)
    try:
        assert one.is_connected()
        yield one
    finally:
        one.close()


def is_let_in(address: BrokerAddress) -> bool:
    one = Voice(address)
    try:
        return one.is_connected() and one.publish(str(data_topic("north", "gw-1", "wear"))) in (0, 0x10)
    finally:
        one.close()


def invitation_address(site: Site, path: Path, folder: Path) -> BrokerAddress:
    invited = decode_invitation(path.read_bytes())
    (folder / "i.ca").write_text(invited.ca)
    (folder / "i.pem").write_text(invited.key + invited.certificate)
    return BrokerAddress("127.0.0.1", site.broker.port, folder / "i.ca", folder / "i.pem")


def test_from_invitation_to_stored_samples(site: Site, tmp_path: Path, capsys) -> None:
    """The box makes its key, the code holds once, the forwarder is let in, the collector stores."""
    path, code = site.invite()
    box = tmp_path / "box" / "gateway.toml"
    with site.registrar():
        assert main(["gateway", "join", str(path), "--code", code.lower(), "--config", str(box)]) == 0
    assert "it renews by itself" in capsys.readouterr().out
    config = read_config(box)
    assert (config.gateway, config.site, config.broker.port) == ("gw-1", "north", site.broker.port)
    pair = box.with_name("gateway.pem")
    assert pair.stat().st_mode & 0o777 == 0o600
    # the key exists in one place only
    key = pair.read_text().split("-----END PRIVATE KEY-----")[0]
    others = [each for each in tmp_path.rglob("*") if each.is_file() and each != pair]
    assert all(key not in each.read_text(errors="replace") for each in others)
    assert sorted(each.name for each in box.parent.iterdir()) == ["ca.crt", "gateway.pem", "gateway.toml"]
    assert code not in "".join(each.read_text(errors="replace") for each in others)

    lake = Lake(tmp_path / "lake")
    enrolment = read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1"]))
    spool = Spool(tmp_path / "s.db", clock=system_clock)
    spool.append([steps(T0, [1, 2])])
    spool.seal(force=True)
    uplink = Uplink(config, spool)
    address = site.broker.address("collector-1", is_collector=True)
    collector = Collector(address, lake, enrolment, clock=system_clock, flush_s=0.05)
    with collecting(collector):
        # before it has a subscription the broker keeps nothing for it
        assert wait_until(lambda: collector.counts.is_subscribed)
        uplink.start()
        try:
            assert wait_until(lambda: spool.counts().messages == 0)
        finally:
            uplink.stop()
    spool.close()
    assert len(stored_rows(lake.files("step_count"))) == 2


def test_a_code_holds_once_and_for_the_key_it_was_used_with(site: Site, tmp_path: Path) -> None:
    path, code = site.invite()
    one, two = tmp_path / "one" / "gateway.toml", tmp_path / "two" / "gateway.toml"
    with site.registrar():
        with pytest.raises(SecurityError, match="the code is wrong"):
            join(one, path, code="2222-2222-2222")
        assert not one.exists()
        join(one, path, code=code)
        with pytest.raises(SecurityError, match="used already, with another key"):
            join(two, path, code=code)
        # an answer that was lost: the same key asks again and gets the same certificate
        key = (one.parent / "gateway.pem").read_text().partition("-----BEGIN CERTIFICATE")[0]
        (one.parent / ".joining.key").write_text(key)
        before = (one.parent / "gateway.pem").read_bytes()
        join(one, path, code=code)
        assert (one.parent / "gateway.pem").read_bytes() == before
    assert not two.exists()
    assert len([each for each in site.authority.issued() if each.name == "gw-1"]) == 1


def request_of(name: str, code: str) -> Request:
    return edge.make_request(name, edge.make_key(), code=code)


def test_a_code_ends(site: Site) -> None:
    _, code = site.invite(days=2)
    site.ahead = 2 * DAY + 1
    with pytest.raises(SecurityError, match="has expired"):
        site.invitations.redeem("gw-1", request_of("gw-1", code))
    site.ahead = 0
    _, second = site.invite()
    with pytest.raises(SecurityError, match="the code is wrong"):
        site.invitations.redeem("gw-1", request_of("gw-1", code))
    for _ in range(MOST_TRIES - 1):
        with pytest.raises(SecurityError, match="the code is wrong"):
            site.invitations.redeem("gw-1", request_of("gw-1", "no"))
    # now the right one is refused too: there are 32^12 codes and five guesses
    with pytest.raises(SecurityError, match="too many wrong codes"):
        site.invitations.redeem("gw-1", request_of("gw-1", second))
    _, third = site.invite()
    site.invitations.withdraw("gw-1")
    with pytest.raises(SecurityError, match="has expired"):
        site.invitations.redeem("gw-1", request_of("gw-1", third))
    with pytest.raises(SecurityError, match="gw-9 is not invited"):
        site.invitations.redeem("gw-9", request_of("gw-9", third))


def test_a_request_for_somebody_else_is_refused(site: Site) -> None:
    _, code = site.invite()
    other = edge.make_request("gw-2", edge.make_key(), code=code)
    with pytest.raises(SecurityError, match="of another name than gw-1"):
        site.invitations.redeem("gw-1", other)
    # a request put into the place of the one that the code was given for
    swapped = replace_csr(request_of("gw-1", code), request_of("gw-1", code).csr)
    with pytest.raises(SecurityError, match="the code is wrong"):
        site.invitations.redeem("gw-1", swapped)
    with pytest.raises(SecurityError, match="not a signing request"):
        site.invitations.redeem("gw-1", Request("hello", prove(code_key(code), "hello")))
    assert [each.name for each in site.authority.issued()] == [
        *("broker", "gw-2", "collector-1", "registrar", "join-gw-1")
    ]


def replace_csr(request: Request, csr: str) -> Request:
    return msgspec.structs.replace(request, csr=csr)


def test_an_invitation_lets_in_to_ask_and_to_do_nothing_else(site: Site, tmp_path: Path) -> None:
    path, code = site.invite()
    with voice(invitation_address(site, path, tmp_path)) as invited:
        assert invited.publish(str(data_topic("north", "gw-1", "wear"))) == NOT_AUTHORIZED
        assert invited.publish(str(ack_topic("north", "gw-1"))) == NOT_AUTHORIZED
        assert invited.publish(request_topic("north", "gw-2")) == NOT_AUTHORIZED
        assert invited.publish(answer_topic("north", "gw-1")) == NOT_AUTHORIZED
        with site.registrar(), voice(site.broker.address("gw-2")) as other:
            other.subscribe("#")
            invited.subscribe(answer_topic("north", "join-gw-1"))
            request = request_of("gw-1", code)
            assert invited.publish(request_topic("north", "join-gw-1"), msgspec.json.encode(request)) == 0
            assert wait_until(lambda: bool(invited.heard))
            # a gateway cannot ask in another's name, and hears no answer but its own
            assert other.publish(request_topic("north", "gw-1")) == NOT_AUTHORIZED
            time.sleep(0.2)
            assert other.heard == []
    assert json.loads(invited.heard[0][1])["certificate"].startswith("-----BEGIN CERTIFICATE")


def joined(site: Site, folder: Path):
    path, code = site.invite()
    join(folder / "gateway.toml", path, code=code)
    return read_config(folder / "gateway.toml")


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def test_it_is_renewed_before_it_ends_with_another_key(site: Site, tmp_path: Path, monkeypatch) -> None:
    with site.registrar():
        config = joined(site, tmp_path / "box")
        pair = config.broker.certificate
        before, first, ends = pair.read_text(), serial(pair), edge.expires_utc(pair)
        assert not gateway_uplink.is_due(config)
        later = system_clock() + (CLIENT_DAYS - 29) * DAY
        monkeypatch.setattr(gateway_uplink, "system_clock", lambda: later)
        assert gateway_uplink.is_due(config)
        monkeypatch.undo()
        spool = Spool(tmp_path / "s.db", clock=system_clock)
        uplink = Uplink(config, spool)
        uplink.start()
        try:
            site.ahead = 5 * MINUTE
            uplink.renew()
            assert serial(pair) != first
            assert pair.read_text().partition("-----END P")[0] != before.partition("-----END P")[0]
            # and goes on with it
            assert wait_until(lambda: uplink._forwarder._connected.is_set())
        finally:
            uplink.stop()
            spool.close()
        assert is_let_in(config.broker)
        assert edge.expires_utc(pair) >= ends + 4 * MINUTE
        second = serial(pair)
        assert main(["gateway", "renew", "--config", str(config.path)]) == 0
        assert serial(pair) not in (first, second)


def test_nobody_answers_and_nothing_is_lost(site: Site, tmp_path: Path, monkeypatch, caplog) -> None:
    with site.registrar():
        config = joined(site, tmp_path / "box")
    before = config.broker.certificate.read_bytes()
    monkeypatch.setattr(edge.ask, "__kwdefaults__", {"timeout_s": 0.5})
    with pytest.raises(SecurityError, match="nobody at the clinic answers"):
        renew(config)
    spool = Spool(tmp_path / "s.db", clock=system_clock)
    uplink = Uplink(config, spool)
    uplink.start()
    uplink.renew()
    assert "certificate_not_renewed" in caplog.text
    assert wait_until(lambda: uplink._forwarder._connected.is_set())
    uplink.stop()
    spool.close()
    assert config.broker.certificate.read_bytes() == before
    made_there = replace(config, broker=site.broker.address("gw-2"))
    assert not gateway_uplink.is_due(made_there)
    with pytest.raises(UserError, match="made at the clinic"):
        renew(made_there)


def test_revoked_by_a_reload_the_open_connection_too(site: Site, tmp_path: Path, capsys) -> None:
    with site.registrar():
        config = joined(site, tmp_path / "box")
        own = str(data_topic("north", "gw-1", "wear"))
        with voice(config.broker) as stolen, voice(site.broker.address("gw-2")) as other:
            assert stolen.publish(own) in (0, 0x10)
            assert main(["ca", "revoke", "gw-1", "--home", str(tmp_path)]) == 0
            # it can no longer get a new one either
            with pytest.raises(SecurityError, match="no certificate that is not revoked"):
                site.invitations.renew("gw-1", request_of("gw-1", ""))
            site.reload()
            assert wait_until(lambda: stolen.publish(own) == NOT_AUTHORIZED)
            # the others are not disturbed
            assert other.publish(str(data_topic("north", "gw-2", "wear"))) in (0, 0x10)
            assert other.client.is_connected()
        assert not is_let_in(config.broker)
        with pytest.raises(SecurityError, match="certificate expired or revoked"):
            renew(config)
        # invited anew it is let in again, the old certificate is not
        path, code = site.invite()
        (tmp_path / "box" / "gateway.pem").rename(tmp_path / "old.pem")
        join(config.path, path, code=code)
        site.reload()
        assert wait_until(lambda: is_let_in(config.broker))
        assert not is_let_in(replace(config.broker, certificate=tmp_path / "old.pem"))
    assert "install.sh" in capsys.readouterr().out


def test_the_command_invites(tmp_path: Path, capsys) -> None:
    home = ["--home", str(tmp_path)]
    assert main(["ca", "init", *home]) == 0
    capsys.readouterr()
    assert main(["ca", "invite", "gw-1", "--site", "north", "--broker", "broker.example", *home]) == 0
    said = capsys.readouterr().out
    path = tmp_path / "ca" / "invitations" / "gw-1.json"
    invited = decode_invitation(path.read_bytes())
    assert (invited.host, invited.port, invited.site) == ("broker.example", 8883, "north")
    assert path.stat().st_mode & 0o777 == 0o600
    code = said.split("code: ")[1].split()[0]
    assert len(code) == 14
    assert code_key(code).hex() in (tmp_path / "ca" / "invitations.json").read_text()
    days = (invited.expires_utc - system_clock()) / DAY
    assert 6.9 < days <= 7
    end = x509.load_pem_x509_certificate(invited.certificate.encode()).not_valid_after_utc
    assert end <= from_utc(invited.expires_utc)
    box = ["gateway", "join", "--config", str(tmp_path / "b" / "gateway.toml"), "--code", code]
    junk = tmp_path / "junk.json"
    junk.write_text("{")
    for wrong in (
        ["ca", "invite", "join-x", "--site", "north", "--broker", "b", *home],
        ["ca", "invite", "collector-1", "--site", "north", "--broker", "b", *home],
        ["ca", "invite", "registrar", "--site", "north", "--broker", "b", *home],
        ["ca", "invite", "gw-1", "--site", "No", "--broker", "b", *home],
        ["ca", "invite", "gw-1", "--site", "north", "--broker", "b:c", *home],
        [*box, str(junk)],
        [*box, str(tmp_path / "absent.json")],
    ):
        assert main(wrong) == 2, wrong
    assert len(capsys.readouterr().err.splitlines()) == 7


def test_the_installer_restarts_only_for_another_configuration(tmp_path: Path) -> None:
    etc, home = tmp_path / "etc", ["--home", str(tmp_path)]
    assert main(["ca", "init", "--installed", str(etc / "flarecast"), *home]) == 0

    def install() -> list[str]:
        done = subprocess.run(
            [Path(__file__).parents[2] / "deploy" / "mosquitto" / "install.sh", tmp_path / "ca" / "broker"],
            env={
                "PATH": "/usr/sbin:/usr/bin:/bin",
                "MOSQUITTO_ETC": str(etc),
                "MOSQUITTO_OWNER": getpass.getuser(),
                "MOSQUITTO_RESTART": "echo restarted",
                "MOSQUITTO_RELOAD": "echo reloaded",
            },
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.split()

    assert install() == ["restarted"]
    assert main(["ca", "issue", "gateway", "gw-1", *home]) == 0
    assert main(["ca", "revoke", "gw-1", *home]) == 0
    assert install() == ["reloaded"]
    assert (etc / "flarecast" / "gateways.acl").read_text().startswith("user gw-1\ntopic deny #\n")
    with (tmp_path / "ca" / "broker" / "mosquitto.conf").open("a") as conf:
        conf.write("# other\n")
    assert install() == ["restarted"]
