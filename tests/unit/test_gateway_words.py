"""What a status says to who lives with the box: kept, delivered, lost; what came last; why no more comes."""

import json
import re
import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from devices.blobs import pack_u16
from devices.clock import DAY, HOUR, MINUTE, SECOND
from devices.ids import DeviceId, GatewayId, SiteId
from devices.observations import Battery, RrInterval
from flows.gateway import command as gateway_command
from flows.gateway.command import show_status
from flows.gateway.config import GatewayConfig, write_config
from flows.gateway.words import ago
from ingest.edge.gateway import PairedDevice
from ingest.edge.ledger import Ledger
from ingest.edge.spool import Spool
from ingest.edge.spool_cipher import load_key
from ingest.wire.address import BrokerAddress

START = 1_705_320_000 * SECOND
STRAP = DeviceId("strap-1")


class Box:
    """A home box on the disk, and what its status says."""

    def __init__(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.now = START
        monkeypatch.setattr(gateway_command, "system_clock", lambda: self.now)
        self._capsys = capsys
        device = PairedDevice(STRAP, "F0:00:00:00:00:01", "hr_strap")
        broker = BrokerAddress("127.0.0.1", 1)
        self.config = GatewayConfig(
            folder / "gateway.toml", GatewayId("gw-1"), SiteId("home-1"), broker, (device,)
        )
        write_config(self.config)
        key = load_key(self.config.key)
        self.spool = Spool(self.config.spool, clock=lambda: self.now, key=key)
        self.ledger = Ledger(self.config.ledger, self.spool, clock=lambda: self.now, key=key)
        self._beats = 0

    def beat(self, count: int) -> None:
        run = RrInterval(
            device=STRAP,
            start_utc=self.now,
            source="test/1",
            connection="c1",
            first_beat=self._beats,
            rr_ms=pack_u16([800] * count),
            gap_before_ms=0,
            sensor="ecg",
        )
        self._beats += count
        self.ledger.append([run])

    def run(self, silence: str | None = None, *, is_running: bool = True) -> None:
        told = {"is_listening": silence is None, "connections": 1, "revised": 0, "silence": silence}
        said = {"utc": self.now, "is_running": is_running, "devices": {STRAP: told}}
        self.config.status.write_text(json.dumps(said))

    def confirm(self) -> None:
        self.spool.seal(force=True)
        self.spool.confirm([message.sequence for message in self.spool.pending()])

    def said(self) -> str:
        assert show_status(self.config.path, as_json=False) == 0
        return self._capsys.readouterr().out

    def of_strap(self) -> str:
        found = re.search(r"^  strap-1 +(.*)$", self.said(), re.MULTILINE)
        assert found is not None
        return found.group(1)

    def close(self) -> None:
        self.ledger.close()
        self.spool.close()


@pytest.fixture
def box(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Generator[Box]:
    box = Box(tmp_path, capsys, monkeypatch)
    yield box
    box.close()


def test_the_unplug_test(box: Box) -> None:
    """40 kept, plug in, 40 delivered, 0 lost."""
    box.run()
    box.beat(40)
    assert "  40 kept here for the clinic, 0 delivered, 0 lost\n" in box.said()
    box.confirm()
    assert "  0 kept here for the clinic, 40 delivered, 0 lost\n" in box.said()


def test_what_is_gone_is_lost(box: Box) -> None:
    """Counted against what is there, not only by the counters."""
    box.beat(40)
    box.spool.seal(force=True)
    box.beat(2)
    with closing(sqlite3.connect(box.config.spool)) as database, database:
        database.execute("delete from message")
    assert "  2 kept here for the clinic, 0 delivered, 40 lost\n" in box.said()


def test_the_line_of_a_wearable(box: Box) -> None:
    box.run()
    assert box.of_strap() == "no data yet; nothing of who wears it yet"
    box.ledger.append([Battery(device=STRAP, start_utc=box.now, source="test/1", level_pct=50)])
    assert box.of_strap() == "battery 0 s ago; nothing of who wears it yet"
    box.beat(4)
    box.now += 12 * SECOND
    box.run()
    assert box.of_strap() == "heart beats 12 s ago: stored here, not yet sent; the latest 5 go within 5 min"
    box.confirm()
    assert box.of_strap() == "heart beats 12 s ago: stored here, sent, confirmed by the clinic"
    box.beat(3)
    told = "heart beats 0 s ago: stored here, sent, confirmed by the clinic; the latest 3 go within 5 min"
    assert box.of_strap() == told
    box.now += 3 * HOUR
    box.run()
    assert box.of_strap() == "heart beats 3 h ago: stored here, 3 wait for the clinic"
    box.run("strap-1 not seen within 30 s")
    assert box.of_strap() == "heart beats 3 h ago; not heard now: strap-1 not seen within 30 s"
    assert "listening" not in box.said()


@pytest.mark.parametrize("how", ["stopped", "killed", "never ran"])
def test_a_box_that_does_not_run_says_so(box: Box, how: str) -> None:
    """Also one that was killed, and whose last word was that it listens."""
    box.beat(4)
    if how != "never ran":
        box.run(is_running=how != "stopped")
    if how == "killed":
        assert "not running" not in box.said()
        assert ", listening," in box.said()
        box.now += MINUTE
    assert "  not running\n" in box.said()
    assert ", listening," not in box.said()


def test_colours_are_for_terminals(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.beat(4)
    assert "\x1b" not in box.said()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert "\x1b[31m  not running\x1b[0m\n" in box.said()


def test_times_for_a_person() -> None:
    times = (-SECOND, 119 * SECOND, 2 * MINUTE, 119 * MINUTE, 2 * HOUR, 47 * HOUR, 2 * DAY)
    assert [ago(us) for us in times] == [
        "0 s ago",
        "119 s ago",
        "2 min ago",
        "119 min ago",
        "2 h ago",
        "47 h ago",
        "2 days ago",
    ]
