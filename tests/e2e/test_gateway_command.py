"""`flarecast gateway pair | run | status`: the home box as its user meets it."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devices.clock import DAY, from_utc, system_clock
from devices.sim.ring import Ring
from devices.sim.strap import Strap
from flows.cli import main
from flows.errors import UserError
from flows.gateway.command import run_gateway, show_status
from flows.gateway.config import GatewayConfig, read_config, write_config
from flows.gateway.pairing import pair
from ingest.edge.radio import Radio
from ingest.edge.spool import Spool
from ingest.edge.spool_cipher import load_key
from ingest.edge.virtual_radio import virtual_radio
from ingest.edge.virtual_radio_adapter import VirtualAdapter
from ingest.edge.virtual_radio_air import Air, HostedWearable
from ingest.wire.messages import decode_batch, encode_observation
from tests.fixtures_ingest import PATIENCE_S, beats

HEAVY = {"pyarrow", "numpy", "bumble", "prefect", "scipy", "duckdb", "polars", "numba"}
#: A port that nobody listens on: the broker is away.
BROKER = "127.0.0.1:1"


class House:
    """Wearables that are near, and an adapter for whoever opens it."""

    def __init__(self) -> None:
        self.strap = Strap("sim strap", "F0:00:00:00:00:01")
        self.ring = Ring("sim ring", "F0:00:00:00:00:02", clock=system_clock)
        self.beats = 0
        #: Looks round before every beat.
        self.before_beat: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def open_radio(self, config: GatewayConfig) -> AsyncGenerator[Radio]:
        air = Air()
        async with AsyncExitStack() as stack:
            for wearable in (self.strap, self.ring):
                hosted = HostedWearable(air, wearable)
                await hosted.start()
                stack.push_async_callback(hosted.aclose)
            adapter = await stack.enter_async_context(VirtualAdapter.open(air))
            beating = asyncio.create_task(self._beat())
            yield virtual_radio(adapter, config.max_links)
            beating.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            self.before_beat()
            self.beats += await self.strap.send_beats((100,))
            if self.beats == 5:
                await self.strap.send_frame(b"")


def paired_house(path: Path, capsys: pytest.CaptureFixture[str]) -> House:
    house = House()
    answers = {"hr_strap": "strap-1", "colmi_ring": "ring-1"}

    def ask(question: str) -> str:
        del question
        shown.append(capsys.readouterr().out)
        return next(name for driver, name in answers.items() if driver in shown[-1])

    shown: list[str] = []
    pair(path, gateway="gw-1", site="home-1", broker=BROKER, scan_s=1.0, ask=ask, open_radio=house.open_radio)
    assert any("hr_strap" in text and "dBm" in text and "battery 87 %" in text for text in shown)
    assert any("colmi_ring" in text and "dBm" in text and "battery 64 %" in text for text in shown)
    return house


def test_pair_run_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two wearables are paired, heard and kept while the broker is away; SIGTERM ends it with success."""
    path = tmp_path / "gateway.toml"
    house = paired_house(path, capsys)
    config = read_config(path)
    assert [
        (each.device_id, each.driver) for each in sorted(config.devices, key=lambda each: each.address)
    ] == [
        ("strap-1", "hr_strap"),
        ("ring-1", "colmi_ring"),
    ]
    assert {each.serial for each in config.devices} == {"F0:00:00:00:00:01", "F0:00:00:00:00:02"}
    house.beats = 0

    def end_when_all_is_kept() -> None:
        """Ask as its user does while it runs; the ring is visited and told the time beside the beats."""
        capsys.readouterr()
        show_status(path, as_json=True)
        status = json.loads(capsys.readouterr().out)
        has_all = house.beats > 5 and status["samples"]["appended"] == house.beats + 2
        if has_all and status["devices"]["ring-1"]["clock"]:
            signal.raise_signal(signal.SIGTERM)

    house.before_beat = end_when_all_is_kept
    assert run_gateway(path, open_radio=house.open_radio) == 0
    lying = b"".join(file.read_bytes() for file in tmp_path.glob("*.db*"))
    spool = Spool(config.spool, clock=system_clock, key=load_key(config.key))
    kept = spool.counts().by_kind
    spool.seal(force=True)
    observed = [one for m in spool.pending() for one in decode_batch(m.payload, m.kind).batch.observations]
    spool.close()
    assert {one.kind for one in observed} == {"rr_interval", "battery"}
    # kinds, wearables and instants are names; what was observed is not there to be read
    assert b"rr_interval" in lying
    for one in observed:
        assert one.source.encode() not in lying
        assert encode_observation(one)[-16:] not in lying
    assert config.key.stat().st_mode & 0o777 == 0o600
    assert house.beats >= 5
    assert kept["rr_interval"].appended == house.beats
    assert kept["rr_interval"].confirmed == 0
    assert kept["battery"].appended == 2
    capsys.readouterr()
    show_status(path, as_json=True)
    status = json.loads(capsys.readouterr().out)
    assert status["samples"]["appended"] == house.beats + 2
    told = {name: status["devices"][name] for name in ("strap-1", "ring-1")}
    assert all(each["heard_utc"] is not None for each in told.values())
    # one battery reading of each; nobody has confirmed anything
    assert [(each["kept"], each["confirmed"]) for each in told.values()] == [(house.beats + 1, 0), (1, 0)]
    assert 0 < told["strap-1"]["sent"] <= told["strap-1"]["kept"]
    assert told["strap-1"]["gaps"]["not yet connected"][0] == 1
    assert told["strap-1"]["rejected"] == {"heart rate: empty frame": 1}
    assert told["ring-1"]["clock"]["clock-offset-s"] == 0
    show_status(path, as_json=False)
    told = capsys.readouterr().out
    assert f"kept {house.beats + 2}" in told
    assert f"kept {house.beats + 1}  sent" in told
    assert "strap-1" in told
    assert "s: not yet connected" in told


def test_a_key_that_is_missing_wrong_or_open_is_said_in_one_line_and_costs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        'gateway="g"\nsite="s"\n[broker]\nhost="127.0.0.1"\nport=1\n'
        '[[device]]\nid="strap-1"\naddress="F0:00:00:00:00:01"\ndriver="hr_strap"\n'
    )
    key = tmp_path / "spool.key"
    spool = Spool(tmp_path / "spool.db", clock=system_clock, key=load_key(key))
    spool.append([beats(0, [800, 810])])
    spool.close()
    right = key.read_bytes()

    def complaint(action: str) -> str:
        assert main(["gateway", action, "--config", str(path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    key.unlink()
    for action in ("status", "run"):
        assert "spool.key is missing: put it back" in complaint(action)
        assert not key.exists()
    key.write_bytes(bytes(32))
    assert "chmod 600" in complaint("run")
    key.chmod(0o600)
    for action in ("status", "run"):
        assert "written with another key; nothing of it is lost" in complaint(action)
    key.write_bytes(right)
    assert main(["gateway", "status", "--config", str(path)]) == 0
    assert "kept 2  sent 0  confirmed 0" in capsys.readouterr().out
    (tmp_path / "spool.db").write_bytes(b"this is no database" * 100)
    assert "file is not a database" in complaint("status")
    assert "file is not a database" in complaint("run")


def test_status_says_how_full_the_spool_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('gateway="g"\nsite="s"\n[broker]\nhost="127.0.0.1"\nport=1\n')
    now = [system_clock()]
    spool = Spool(tmp_path / "spool.db", clock=lambda: now[0], key=load_key(tmp_path / "spool.key"))

    def told() -> tuple[str, dict[str, Any]]:
        show_status(path, as_json=False)
        (line,) = [each for each in capsys.readouterr().out.splitlines() if each.startswith("  spool ")]
        show_status(path, as_json=True)
        return line, json.loads(capsys.readouterr().out)["samples"]

    line, samples = told()
    assert line.startswith("  spool ok  ")
    assert line.endswith("% of its limit), nothing waits")
    assert (samples["state"], samples["word"], samples["oldest_utc"]) == ("ok", "", None)
    now[0] -= 8 * DAY
    spool.append([beats(0, [800])])
    spool.close()
    line, samples = told()
    assert line.startswith("  spool ALARM: the oldest observation has waited 8 days for the clinic  ")
    assert f"oldest unconfirmed from {from_utc(now[0]):%Y-%m-%d}" in line
    assert (samples["state"], samples["oldest_utc"]) == ("alarm", now[0])
    assert 0 < samples["used"] < samples["most"]


def test_the_file_says_again_what_it_was_read_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files beside it by their names, wherever the command is run from."""
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "gateway.toml").write_text(
        'gateway="g"\nsite="s"\nreconnect_s=300.0\nspool_key="/run/keys/spool"\n'
        '[broker]\nhost="h"\nport=1\nca="ca.crt"\ncertificate="gateway.pem"\nuser="u"\n'
        '[[device]]\nid="d"\naddress="a"\ndriver="hr_strap"\nserial="7"\n'
    )
    monkeypatch.chdir(tmp_path)
    config = read_config(Path("box/gateway.toml"))
    write_config(config)
    assert read_config(Path("box/gateway.toml")) == config
    monkeypatch.chdir(tmp_path / "box")
    again = read_config(Path("gateway.toml"))
    assert (again.broker.ca, again.broker.certificate) == (Path("ca.crt"), Path("gateway.pem"))
    assert (again.key, again.reconnect_s, again.broker.user) == (Path("/run/keys/spool"), 300.0, "u")
    assert again.devices == config.devices


def test_pairing_again_offers_only_strangers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.toml"
    house = paired_house(path, capsys)
    before = path.read_text()
    pair(path, gateway=None, site=None, broker=None, scan_s=1.0, ask=pytest.fail, open_radio=house.open_radio)
    assert path.read_text() == before
    assert "no new wearable is near" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no gateway file"),
        ("gateway = 1", "site is missing|broker is missing"),
        ('gateway="GW"\nsite="s"\n[broker]\nhost="h"\nport=1', "gateway 'GW' is not"),
        ('gateway="g"\nsite="s"\ncolour=1\n[broker]\nhost="h"\nport=1', "colour"),
        ('gateway="g"\nsite="s"\n[broker]\nhost="h"\nport=1', "no device is paired yet"),
        ('gateway="g"\nsite="s"\nreconnect_s=0\n[broker]\nhost="h"\nport=1', "reconnect_s = 0 is not more"),
        ('gateway="g"\nsite="s"\nmax_links=0\n[broker]\nhost="h"\nport=1', "max_links = 0 is less than 1"),
        (
            'gateway="g"\nsite="s"\nmax_links=1\n[broker]\nhost="h"\nport=1\n'
            '[[device]]\nid="d"\naddress="a"\ndriver="hr_strap"\n'
            '[[device]]\nid="e"\naddress="b"\ndriver="colmi_ring"\n',
            "max_links = 1 is less than 2",
        ),
        (
            'gateway="g"\nsite="s"\n[broker]\nhost="h"\nport=1\n[[device]]\nid="d"\naddress="a"\ndriver="x"',
            "no driver 'x'",
        ),
    ],
)
def test_what_is_wrong_with_the_file(tmp_path: Path, content: str | None, complaint: str) -> None:
    path = tmp_path / "gateway.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=complaint):
        run_gateway(path)
    assert main(["gateway", "run", "--config", str(path)]) == 2


def test_the_process_loads_nothing_heavy_and_waits_for_its_adapter(tmp_path: Path) -> None:
    """The command itself, on a machine without Bluetooth: it waits, SIGTERM ends it, and it stayed small."""
    path = tmp_path / "gateway.toml"
    path.write_text(
        'gateway="g"\nsite="s"\n[broker]\nhost="127.0.0.1"\nport=1\n'
        '[[device]]\nid="d"\naddress="F0:00:00:00:00:01"\ndriver="hr_strap"\n'
    )
    code = (
        "import sys; from flows.cli import main; code = main(sys.argv[1:]);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules})); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "gateway", "run", "--config", str(path)]
    # a bus that is not there: the same on a machine that has Bluetooth
    env = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path}/absent", "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stderr is not None
        told = ""
        while "failures=2" not in told:
            line = process.stderr.readline()
            assert line, f"it ended: {told}"
            told += line
        # asked while it runs
        assert main(["gateway", "status", "--config", str(path)]) == 0
        process.terminate()
        out, rest = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, told + rest
    loaded = set(out.split())
    assert {"bleak", "paho", "msgspec"} <= loaded
    assert not loaded & HEAVY
