"""Every driver, every fault: what the wearable still holds comes once, the reason of every gap is on record.

The wearables are those of `tests/wearers/`; a lost link has a module of its own, `test_ble_link_loss`.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from devices.clock import DAY, HOUR
from devices.codec import device_information
from devices.drivers import bangle, colmi_ring, infinitime_watch, polar_ppi
from devices.drivers.registry import DRIVERS, find_driver
from devices.observations import Observation, RrInterval
from ingest.edge.virtual_radio import virtual_radio
from ingest.edge.virtual_radio_adapter import VirtualAdapter
from ingest.edge.virtual_radio_air import ReadFault
from ingest.edge.virtual_radio_quirks import BLUEZ, Quirks
from ingest.wire.messages import decode_observation, encode_observation
from tests.fixtures_ble import TIMING, Home, a_home, until
from tests.fixtures_wearers import WEARERS
from tests.wearers.wearer import ADDRESS, DEVICE, Wearer

IRK = bytes(range(16))
QUICK = replace(TIMING, operation_s=0.2)


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Home]:
    monkeypatch.setattr(infinitime_watch, "_LOOK_S", 0.02)
    monkeypatch.setattr(bangle, "ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(colmi_ring, "ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(polar_ppi, "ANSWER_TIMEOUT_S", 0.3)
    async with a_home() as home:
        yield home
        assert_on_record(home)


@pytest.fixture(params=list(WEARERS))
def wearer(request: pytest.FixtureRequest, home: Home) -> Wearer:
    return WEARERS[request.param](home)


def assert_on_record(home: Home) -> None:
    """Everything stored is ready for a table, everything refused is kept, every gap has its reason."""
    for each in home.spool.observations:
        assert decode_observation(each.kind, encode_observation(each)) == each
    rejected = 0
    for gateway in home.gateways:
        progress = gateway.progress[DEVICE]
        rejected += progress.rejected.total()
        assert all(gap.reason and gap.start_utc <= gap.end_utc for gap in progress.gaps)
        # answers of a memory are not counted one by one
        assert progress.appended in (0, progress.arrived)
    assert rejected == len(home.rejected)
    assert all(reason for *_, reason, _ in home.rejected)


def reasons(wearer: Wearer) -> str:
    """Of all gaps, and of what was refused."""
    refused = list(wearer.progress.rejected)
    return "; ".join([*(gap.reason for gap in wearer.progress.gaps), *refused])


def test_every_driver_is_worn_here() -> None:
    """A driver whose faults nobody has tried is an oversight."""
    assert set(WEARERS) == set(DRIVERS)
    assert all(worn.driver == name for name, worn in WEARERS.items())


async def test_known_by_the_services_it_advertises(wearer: Wearer) -> None:
    assert find_driver(wearer.driver).services == wearer.wearable.advertised


@pytest.mark.parametrize("quirks", [Quirks(), BLUEZ], ids=["plain", "bluez"])
async def test_from_scan_to_observations(wearer: Wearer, home: Home, quirks: Quirks) -> None:
    await wearer.put_on_air()
    await home.open_gateway(wearer.paired, quirks=quirks)
    async with wearer.served():
        for _ in range(2):
            await wearer.live()
            await wearer.arrive()
    wearer.check()
    assert home.rejected == []


async def test_away_when_it_is_looked_for_first(wearer: Wearer, home: Home) -> None:
    hosted = await wearer.put_on_air()
    hosted.set_in_range(False)
    await home.open_gateway(wearer.paired)
    async with wearer.served():
        await unheard(wearer)
        wearer.away()
        hosted.set_in_range(True)
        await wearer.live()
        await wearer.arrive()
    wearer.check()
    assert "device-1 not seen within 0.6 s" in reasons(wearer)


async def test_goes_away_between_advertisement_and_connection(wearer: Wearer, home: Home) -> None:
    """BlueZ then refuses every later attempt until the device is removed."""
    hosted = await wearer.put_on_air()
    await home.open_gateway(wearer.paired, quirks=BLUEZ)
    found = home.radio.find

    async def find_and_lose(address: str, timeout_s: float) -> object:
        device = await found(address, timeout_s)
        hosted.set_in_range(False)
        home.radio.find = found  # type: ignore[method-assign]
        return device

    home.radio.find = find_and_lose  # type: ignore[method-assign,assignment]
    async with wearer.served():
        if not wearer.is_live:
            asyncio.get_running_loop().call_later(0.8, hosted.set_in_range, True)
            await wearer.arrive()
        await until(lambda: home.adapter.stuck or home.adapter.removed)
        hosted.set_in_range(True)
        await wearer.live()
        await wearer.arrive()
    assert home.adapter.removed == [ADDRESS]
    wearer.check()


async def test_held_by_another_gateway(wearer: Wearer, home: Home) -> None:
    await wearer.put_on_air()
    await home.open_gateway(wearer.paired)
    async with VirtualAdapter.open(home.air, "C0:FF:EE:00:00:02") as other:
        radio = virtual_radio(other)
        device = await radio.find(ADDRESS, 1)
        assert device is not None
        client = radio.client(device, lambda: None, 1)
        await client.connect()
        async with wearer.served():
            await unheard(wearer)
            assert wearer.progress.connections == 0
            await client.disconnect()
            await wearer.live()
            await wearer.arrive()
    wearer.check()
    assert "device-1 not seen within 0.6 s" in reasons(wearer)


async def test_broken_and_empty_notifications(wearer: Wearer, home: Home) -> None:
    """They are kept with their reasons, and cost nothing of what comes around them."""
    await wearer.put_on_air()
    await home.open_gateway(wearer.paired)
    notify, has_broken = wearer.wearable.notify, False

    async def breaking(characteristic: str, value: bytes) -> bool:
        nonlocal has_broken
        if not has_broken and not wearer.is_live:
            # in the midst of an answer
            has_broken = True
            await wearer.say_broken()
        return await notify(characteristic, value)

    wearer.wearable.notify = breaking  # type: ignore[method-assign]
    async with wearer.served():
        await wearer.live()
        await wearer.arrive()
        if wearer.is_live:
            await wearer.say_broken()
            await wearer.arrive()
        await wearer.live()
        await wearer.arrive()
    wearer.check()
    assert home.rejected


@pytest.mark.parametrize("fault", list(ReadFault))
async def test_nothing_can_be_read(wearer: Wearer, home: Home, fault: ReadFault) -> None:
    """What it tells without being read comes; otherwise the reason is on record, and all comes afterwards."""
    hosted = await wearer.put_on_air()
    await home.open_gateway(wearer.paired, timing=QUICK)
    hosted.read_faults = dict.fromkeys(wearer.readable, fault)
    async with wearer.served():
        if wearer.is_live:
            await asyncio.sleep(0.7)
        else:
            await wearer.live()
            await wearer.arrive()
        said = {ReadFault.ATT_ERROR: "80|UNLIKELY|Application", ReadFault.NEVER_ANSWERS: "no answer within"}
        hosted.read_faults = {}
        await wearer.live()
        await wearer.arrive()
    wearer.check()
    if wearer.readable and wearer.is_live:
        assert any(word.lower() in reasons(wearer).lower() for word in said[fault].split("|")), reasons(
            wearer
        )


async def test_answers_stop_in_the_midst(wearer: Wearer, home: Home) -> None:
    """It is connected, takes what is written, and says nothing more."""
    await wearer.put_on_air()
    await home.open_gateway(wearer.paired, timing=replace(QUICK, silence_s=0.4))
    notify, sent = wearer.wearable.notify, 0

    async def failing(characteristic: str, value: bytes) -> bool:
        nonlocal sent
        sent += 1
        return sent % 4 != 3 and await notify(characteristic, value)

    async with wearer.served():
        await wearer.live()
        if wearer.is_live:
            await wearer.arrive()
            wearer.check()
        else:
            wearer.wearable.notify = failing  # type: ignore[method-assign]
            await home.gateway.pull_history()
            wearer.wearable.notify = notify  # type: ignore[method-assign]
        await wearer.live()
        await wearer.arrive()
    wearer.check()


async def test_each_characteristic_missing_once(wearer: Wearer) -> None:
    """Without one that is needed the reason is on record; without another the rest comes."""
    for missing in set(wearer.characteristics) - wearer.spoken:
        async with a_home() as home:
            worn = type(wearer)(home)
            await worn.put_on_air(missing=[missing])
            await home.open_gateway(worn.paired, timing=QUICK)
            async with worn.served():
                if missing in worn.needed:
                    await unheard(worn)
                else:
                    await worn.live()
                    await worn.arrive()
            if missing in worn.needed:
                assert of_interest(home.spool.observations) == [], missing
                assert "not found" in reasons(worn), (missing, reasons(worn))
            else:
                worn.check()
            assert_on_record(home)


def of_interest(observations: list[Observation]) -> list[Observation]:
    return [each for each in observations if each.kind not in ("battery", "heart_rate")]


async def test_pairing_refused(wearer: Wearer, home: Home) -> None:
    """Nothing is taken without the bond; why is on record."""
    await wearer.put_on_air(is_willing_to_pair=False)
    await home.open_gateway(replace(wearer.paired, is_bonded=True))
    async with wearer.served():
        await unheard(wearer)
        assert "did not pair" in (home.gateway.reason_of_silence(DEVICE) or "")
    assert home.spool.observations == []
    assert "did not pair" in reasons(wearer)


@pytest.mark.parametrize("quirks", [Quirks(), BLUEZ], ids=["plain", "bluez"])
async def test_bonded_and_at_a_new_address_every_time(wearer: Wearer, home: Home, quirks: Quirks) -> None:
    hosted = await wearer.put_on_air(irk=IRK, encrypted=wearer.readable)
    await home.open_gateway(replace(wearer.paired, is_bonded=True), quirks=quirks)
    await wearer.bond()
    for _ in range(3):
        async with wearer.served():
            await wearer.live()
            await wearer.arrive()
            await hosted.drop()
        await until(lambda: not hosted.is_connected)
        await hosted.rotate_address()
        wearer.away()
    wearer.check()


async def test_a_stranger_at_the_address(wearer: Wearer, home: Home) -> None:
    """Another serial number than at the pairing, or none: nothing is taken."""
    await wearer.put_on_air()
    await home.open_gateway(replace(wearer.paired, serial="another"))
    async with wearer.served():
        await unheard(wearer)
    assert home.spool.observations == []
    assert "does not state the serial number" in reasons(wearer)
    assert (device_information.SERIAL in wearer.characteristics) == (wearer.driver != "bangle")


@pytest.mark.parametrize("jump", [2 * HOUR, 40 * DAY], ids=["hours", "weeks"])
async def test_clock_of_the_gateway_jumps_ahead(wearer: Wearer, home: Home, jump: int) -> None:
    await wearer.put_on_air()
    await home.open_gateway(wearer.paired)
    async with wearer.served():
        await wearer.live()
        await wearer.arrive()
        home.clock.now += jump
        await wearer.live()
        await wearer.arrive()
    wearer.check()


@pytest.mark.parametrize("ahead", [3 * HOUR, -3 * HOUR], ids=["ahead", "behind"])
async def test_clock_of_the_gateway_was_wrong_and_is_set_right(
    wearer: Wearer, home: Home, ahead: int
) -> None:
    """Ahead or behind, and so was the wearable's where it was set by it; the link stands meanwhile."""
    await wearer.put_on_air()
    home.gateway_ahead_us, home.was_wrong = ahead, True
    await home.open_gateway(wearer.paired)
    async with wearer.served():
        await wearer.live()
        await wearer.arrive()
        home.gateway_ahead_us = 0
        for _ in range(3):
            await wearer.live()
            await wearer.arrive()
        if not wearer.is_live:
            # what it has written ahead of time is believed when that time has come
            home.clock.now += 4 * HOUR
            await wearer.arrive()
    wearer.check()


async def test_every_notification_comes_twice(wearer: Wearer, home: Home) -> None:
    """A leaked session: no beat and no step counts twice, and what an answer lost by it comes afterwards."""
    await wearer.put_on_air()
    await home.open_gateway(wearer.paired)
    notify = wearer.wearable.notify

    async def twice(characteristic: str, value: bytes) -> bool:
        return await notify(characteristic, value) and await notify(characteristic, value)

    wearer.wearable.notify, wearer.copies = twice, 2  # type: ignore[method-assign]
    async with wearer.served():
        await wearer.live()
        if wearer.is_live:
            await wearer.arrive()
        else:
            await home.gateway.pull_history()
        wearer.wearable.notify, wearer.copies = notify, 1  # type: ignore[method-assign]
        await wearer.live()
        await wearer.arrive()
    wearer.check()
    if any(isinstance(each, RrInterval) for each in home.spool.observations):
        assert any("copy" in reason for *_, reason, _ in home.rejected)


async def unheard(wearer: Wearer) -> None:
    """Long enough to be looked for and not found, or not to be understood."""
    if wearer.is_live:
        await asyncio.sleep(0.8)
    else:
        (result,) = await wearer.home.gateway.pull_history()
        assert result.error is not None
