"""Who is whose: wearables that change their address are taken by their bond and their serial number."""

import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from devices.codec import battery, device_information
from devices.ids import DeviceId, GatewayId, SiteId
from devices.sim.strap import Strap
from flows.errors import UserError
from flows.gateway.config import GatewayConfig, read_config
from flows.gateway.pairing import pair
from ingest.edge.errors import PairingError
from ingest.edge.gateway import PairedDevice
from ingest.edge.radio import Radio
from ingest.edge.virtual_radio import virtual_radio
from ingest.edge.virtual_radio_adapter import VirtualAdapter
from ingest.edge.virtual_radio_air import Air, HostedWearable
from ingest.edge.virtual_radio_quirks import BLUEZ
from ingest.wire.address import BrokerAddress

OURS, THEIRS = "F0:00:00:00:00:01", "F0:00:00:00:00:02"


class House:
    """Straps that are near; one adapter with an agent that expects what the gateway's file says."""

    def __init__(self, *straps: tuple[Strap, dict[str, object]]) -> None:
        self.straps = straps
        self.bonds: list[str] = []
        #: What the agent agreed to, each time it was opened.
        self.expected: list[list[str]] = []
        self.agrees_to_nobody = False
        self._adapter: VirtualAdapter | None = None

    @asynccontextmanager
    async def open_radio(self, config: GatewayConfig) -> AsyncGenerator[Radio]:
        async with AsyncExitStack() as stack:
            if is_first := self._adapter is None:
                air = Air()
                for strap, how in self.straps:
                    hosted = HostedWearable(air, strap, **how)  # type: ignore[arg-type]
                    await hosted.start()
                    stack.push_async_callback(hosted.aclose)
                    if "irk" in how:
                        await hosted.rotate_address()
                self._adapter = await stack.enter_async_context(VirtualAdapter.open(air, quirks=BLUEZ))
            assert self._adapter is not None
            before, self._adapter.expected = self._adapter.expected, config.bonded
            if self.agrees_to_nobody:
                self._adapter.expected = []
            self.expected.append(config.bonded)
            yield virtual_radio(self._adapter, config.max_links)
            self._adapter.expected = before
            if is_first:
                keys = self._adapter.device.keystore
                assert keys is not None
                self.bonds = [address.partition("/")[0] for address, _ in await keys.get_all()]
                self._adapter = None


def strap(serial: str, **how: object) -> tuple[Strap, dict[str, object]]:
    return Strap("strap", serial), how


def private(serial: str, **how: object) -> tuple[Strap, dict[str, object]]:
    return strap(serial, irk=serial.encode()[-16:].ljust(16, b"\1"), encrypted=[battery.LEVEL], **how)


def pairing(house: House, path: Path, *answers: str) -> list[str]:
    """Pair, with these answers in turn; returns what was asked."""
    asked: list[str] = []
    waiting = list(answers)

    def ask(question: str) -> str:
        asked.append(question)
        return waiting.pop(0)

    pair(
        path,
        gateway="gw-1",
        site="home-1",
        broker="127.0.0.1:1",
        scan_s=1.0,
        ask=ask,
        open_radio=house.open_radio,
    )
    assert not waiting
    return asked


def test_private_address_is_bonded_and_known_by_its_serial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside it lies another of the same make, not ours: the identity with the right serial is taken."""
    path = tmp_path / "gateway.toml"
    house = House(strap(THEIRS), private(OURS))
    shown: list[str] = []

    def ask(_: str) -> str:
        shown.append(capsys.readouterr().out)
        # a bonded characteristic cannot be read before: its battery is not known
        return "strap-1" if "battery not told" in shown[-1] else ""

    pair(
        path,
        gateway="gw-1",
        site="home-1",
        broker="127.0.0.1:1",
        scan_s=1.0,
        ask=ask,
        open_radio=house.open_radio,
    )
    assert len(shown) == 2
    (device,) = read_config(path).devices
    assert (device.address, device.serial, device.is_bonded) == (OURS, OURS, True)
    assert house.bonds == [OURS]


def test_agent_agrees_to_the_bond_of_the_wearable_being_paired_only(tmp_path: Path) -> None:
    house = House(private(OURS))
    pairing(house, tmp_path / "gateway.toml", "strap-1")
    looking, bonding = house.expected
    assert looking == []
    (address,) = bonding
    assert address != OURS
    assert int(address[:2], 16) & 0xC0 == 0x40


def test_agent_that_does_not_agree(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    house = House(private(OURS))
    house.agrees_to_nobody = True
    with pytest.raises(PairingError, match="did not pair"):
        pairing(house, path, "strap-1")
    assert not path.exists()


def test_wearable_that_refuses_to_bond_is_not_enrolled(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    with pytest.raises(PairingError, match="did not pair"):
        pairing(House(private(OURS, is_willing_to_pair=False)), path, "strap-1")
    assert not path.exists()


def test_private_address_without_a_serial_is_never_offered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gateway.toml"
    house = House(private(OURS, missing=[device_information.SERIAL]))
    assert pairing(house, path) == []
    assert read_config(path).devices == ()
    assert "states no serial number" in capsys.readouterr().out
    assert house.bonds == []


def test_private_address_is_not_bonded_unasked(tmp_path: Path) -> None:
    """Somebody else's: looked at, asked for, left alone."""
    path = tmp_path / "gateway.toml"
    house = House(private(THEIRS))
    assert len(pairing(house, path, "")) == 1
    assert read_config(path).devices == ()
    assert house.bonds == []
    assert house.expected == [[]]


def test_bond_without_an_identity_is_no_enrolment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the bond it is gone, and its namesake answers: that one states another serial number."""
    path = tmp_path / "gateway.toml"
    house = House(strap(THEIRS), private(OURS))
    discover = Radio.discover
    looks = 0

    async def first_ours_then_theirs(radio: Radio, duration_s: float) -> object:
        nonlocal looks
        looks += 1
        seen = await discover(radio, duration_s)
        return [each for each in seen if (each.device.address == THEIRS) == (looks > 1)]

    monkeypatch.setattr(Radio, "discover", first_ours_then_theirs)
    with pytest.raises(UserError, match="at no identity address"):
        pairing(house, path, "strap-1")
    assert not path.exists()


def test_only_bonded_wearables_are_expected(tmp_path: Path) -> None:
    config = GatewayConfig(tmp_path, GatewayId("g"), SiteId("s"), BrokerAddress("h", 1))
    config = config.with_device(PairedDevice(DeviceId("a"), OURS, "hr_strap", is_bonded=True))
    assert config.with_device(PairedDevice(DeviceId("b"), THEIRS, "hr_strap")).bonded == [OURS]


def test_an_answer_that_is_no_id_or_taken_is_asked_for_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gateway.toml"
    asked = pairing(House(strap(OURS), strap(THEIRS)), path, "My Strap", "strap-1", "strap-1", "strap-2")
    assert len(asked) == 4
    assert all("is this yours?" in question for question in asked)
    assert {device.device_id for device in read_config(path).devices} == {"strap-1", "strap-2"}
    told = capsys.readouterr().out
    assert "id 'My Strap' is not" in told
    assert "strap-1 is another wearable already" in told


@pytest.mark.parametrize(("stop", "raised"), [(KeyboardInterrupt, KeyboardInterrupt), (EOFError, UserError)])
def test_who_stops_keeps_what_was_answered(
    tmp_path: Path, stop: type[BaseException], raised: type[BaseException]
) -> None:
    path = tmp_path / "gateway.toml"
    answers: list[str] = ["strap-1"]

    def ask(_: str) -> str:
        if not answers:
            raise stop
        return answers.pop()

    how = {"gateway": "gw-1", "site": "home-1", "broker": "127.0.0.1:1", "scan_s": 1.0}
    house = House(strap(OURS), strap(THEIRS))
    with pytest.raises(raised):
        pair(path, ask=ask, open_radio=house.open_radio, **how)  # type: ignore[arg-type]
    assert [device.device_id for device in read_config(path).devices] == ["strap-1"]


def test_ctrl_c_ends_it_while_it_asks(tmp_path: Path) -> None:
    def ask(_: str) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        raise AssertionError("Ctrl-C waited for the answer")

    how = {"gateway": "gw-1", "site": "home-1", "broker": "127.0.0.1:1", "scan_s": 1.0}
    with pytest.raises(KeyboardInterrupt):
        pair(tmp_path / "gateway.toml", ask=ask, open_radio=House(strap(OURS)).open_radio, **how)  # type: ignore[arg-type]
