"""`flarecast doctor --gateway`: every finding of a home box, provoked."""

import json
import socket
from pathlib import Path

import pytest

from devices.clock import DAY, HOUR, MINUTE, system_clock
from flows.cli import main
from flows.doctor.gateway import examine_gateway
from ingest.edge.certificate import make_key, make_request
from ingest.edge.ledger import Ledger
from ingest.edge.spool import Spool
from ingest.edge.spool_cipher import load_key
from ingest.lake.security import CLIENT_DAYS, Authority
from ingest.lake.security_invitations import Invitations
from tests.fixtures_ingest import beats

NOW = system_clock()


@pytest.fixture
def box(tmp_path):
    """A box that runs, with a certificate of its own and a broker in reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        folder = tmp_path / "box"
        folder.mkdir()
        port = server.getsockname()[1]
        (folder / "gateway.toml").write_text(
            f'gateway="gw-1"\nsite="north"\n[broker]\nhost="127.0.0.1"\nport={port}\n'
            'ca="ca.crt"\ncertificate="gateway.pem"\n'
            '[[device]]\nid="strap-1"\naddress="F0:00:00:00:00:01"\ndriver="hr_strap"\n'
        )
        certify(folder, days=CLIENT_DAYS)
        keep(folder, NOW)
        say(folder, NOW)
        yield folder


def certify(folder, *, days):
    at = NOW - (CLIENT_DAYS - days) * DAY
    ca = folder.parent / f"ca-{days}"
    invitations = Invitations(Authority.found(ca, hosts=["b"], clock=lambda: at), clock=lambda: at)
    _, code = invitations.make("gw-1", site="north", host="b", port=1, days=7)
    key = make_key()
    certificate = invitations.redeem("gw-1", make_request("gw-1", key, code=code))
    (folder / "gateway.pem").write_bytes(key + certificate.encode())
    (folder / "gateway.pem").chmod(0o600)
    (folder / "ca.crt").write_bytes((ca / "ca.crt").read_bytes())


def keep(folder, at):
    key = load_key(folder / "spool.key")
    spool = Spool(folder / "spool.db", clock=lambda: at, key=key)
    Ledger(folder / "ledger.db", spool, clock=lambda: at, key=key).close()
    spool.append([beats(0, [800], start_utc=at)])
    spool.close()


def say(folder, utc):
    (folder / "status.json").write_text(json.dumps({"utc": utc, "devices": {}}))


def again(folder, at):
    (folder / "spool.db").unlink()
    keep(folder, at)


def edit(old, new):
    def change(folder):
        path = folder / "gateway.toml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


CASES = {
    "no file": (lambda f: (f / "gateway.toml").unlink(), "gateway: no gateway file"),
    "bad file": (edit('site="north"', 'site="No"'), "site 'No' is not"),
    "no wearable": (
        lambda f: (f / "gateway.toml").write_text((f / "gateway.toml").read_text().partition("[[")[0]),
        "gateway: no wearable is paired: `flarecast gateway pair",
    ),
    "never ran": (lambda f: (f / "status.json").unlink(), "it has never run here: start the service"),
    "half a status": (lambda f: (f / "status.json").write_text('{"utc": 1'), "status.json cannot be read"),
    "stopped": (lambda f: say(f, NOW - HOUR), "gateway: it does not run since"),
    "clock set back": (lambda f: say(f, NOW + 3 * HOUR), "gateway: the clock was set back by 180 min"),
    "key missing": (lambda f: (f / "spool.key").unlink(), "spool: "),
    "key open": (lambda f: (f / "spool.key").chmod(0o644), "spool.key can be read by others"),
    "another key": (lambda f: (f / "spool.key").write_bytes(bytes(32)), "written with another key"),
    "junk for a spool": (
        lambda f: (f / "spool.db").write_bytes(b"junk" * 1000),
        "spool.db: file is not a database",
    ),
    "junk for a ledger": (
        lambda f: (f / "ledger.db").write_bytes(b"junk" * 1000),
        "ledger.db: file is not a database; move it away",
    ),
    "spool alarm": (
        lambda f: again(f, NOW - 9 * DAY),
        "spool: alarm: the oldest observation has waited 9 days",
    ),
    "certificate open": (lambda f: (f / "gateway.pem").chmod(0o644), "gateway.pem can be read by others"),
    "no certificate": (lambda f: (f / "gateway.pem").unlink(), "ask the clinic for another invitation"),
    "certificate ended": (lambda f: certify(f, days=-1), "certificate: it ended on"),
    "not renewed": (lambda f: certify(f, days=20), "was not renewed: `flarecast gateway renew` says why"),
    "no broker": (edit('host="127.0.0.1"', 'host="127.0.0.2"'), "broker: cannot reach 127.0.0.2:"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_finding_says_what_and_what_to_do(box: Path, case: str) -> None:
    provoke, words = CASES[case]
    assert examine_gateway(box / "gateway.toml", clock=lambda: NOW) == []
    provoke(box)
    found = [f"{where}: {said}" for where, said in examine_gateway(box / "gateway.toml", clock=lambda: NOW)]
    assert len(found) == 1, found
    assert words in found[0]


def test_a_renewal_that_is_just_due_is_no_finding(box: Path) -> None:
    certify(box, days=29)
    assert examine_gateway(box / "gateway.toml", clock=lambda: NOW + MINUTE) == []


def test_the_command(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(box / "gateway.toml")
    say(box, system_clock())
    assert main(["doctor", "--gateway", path]) == 0
    assert capsys.readouterr().out == "nothing is wrong\n"
    (box / "status.json").unlink()
    assert main(["doctor", "--gateway", path, "--json"]) == 1
    assert [each["where"] for each in json.loads(capsys.readouterr().out)] == ["gateway"]
