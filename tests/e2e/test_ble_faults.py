"""Faults on the virtual radio: no beat and no step lost that the wearable still holds, none counted twice,
and the reason of every gap on record."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from devices.clock import DAY, HOUR, MINUTE, SECOND
from devices.codec import battery, colmi, device_information, heart_rate
from devices.ids import DeviceId
from devices.observations import Battery, HeartRate, SleepStage, StepCount
from devices.sim.ring import Ring
from devices.sim.strap import Strap
from ingest.edge.beats import CLOCK_BACK, COPY, REFUSED, SILENT
from ingest.edge.gateway import NO_LINK_FREE, PairedDevice
from ingest.edge.ledger import Ledger
from ingest.edge.radio import MAX_LINKS
from ingest.edge.spool import Spool
from ingest.edge.virtual_radio import virtual_radio
from ingest.edge.virtual_radio_adapter import VirtualAdapter
from ingest.edge.virtual_radio_air import HostedWearable, ReadFault
from ingest.edge.virtual_radio_quirks import BLUEZ, Quirks
from tests.fixtures_ble import (
    RING,
    START,
    STRAP,
    TIMING,
    Home,
    ListSpool,
    a_home,
    assert_account,
    listening,
    night,
    play,
    quarter_hours,
    ring_with,
    samples,
    strap_with,
    until,
)

IRK = bytes(range(16))


@pytest.fixture
async def home() -> AsyncGenerator[Home]:
    async with a_home() as home:
        yield home
        # one account for all faults
        assert_account(home)


def reasons(home: Home, device: DeviceId = STRAP) -> list[str]:
    """Why there are gaps, each reason once, in order; the wait for the first connection is not one."""
    found = [gap.reason for gap in home.gateway.progress[device].gaps]
    return [reason for reason in dict.fromkeys(found) if reason != "not yet connected"]


async def play_beats(home: Home, strap: Strap, first: int, count: int = 10) -> list[int]:
    beats = list(range(first, first + count))
    await play(home, strap, beats, 2)
    return beats


@pytest.mark.parametrize("quirks", [Quirks(), BLUEZ], ids=["plain", "bluez"])
@pytest.mark.parametrize("fault", ["drop", "out of range", "adapter gone"])
async def test_link_lost_while_streaming(home: Home, fault: str, quirks: Quirks) -> None:
    strap, paired = strap_with(home)
    hosted = await home.put_on_air(strap)
    await home.open_gateway(paired, quirks=quirks)
    heard: list[int] = []
    async with home.streaming():
        for outing in range(3):
            await listening(home)
            heard += await play_beats(home, strap, 700 + 20 * outing)
            match fault:
                case "drop":
                    await hosted.drop()
                case "out of range":
                    hosted.set_in_range(False)
                    await until(lambda: not hosted.is_connected)
                    hosted.set_in_range(True)
                case _:
                    await home.adapter.set_present(False)
                    await until(lambda: not hosted.is_connected)
                    await asyncio.sleep(0.1)
                    await home.adapter.set_present(True)
            await until(lambda: not home.gateway.progress[STRAP].is_listening)
            home.clock.now += 30 * SECOND
        await listening(home)
        heard += await play_beats(home, strap, 900)
    assert home.spool.beats() == heard
    assert all(reason.startswith("link lost") for reason in reasons(home))
    assert len(home.gateway.progress[STRAP].gaps) == 4
    assert home.rejected == []


async def test_connect_while_away(home: Home) -> None:
    strap, paired = strap_with(home)
    hosted = await home.put_on_air(strap)
    await home.open_gateway(paired)
    hosted.set_in_range(False)
    async with home.streaming():
        await asyncio.sleep(0.8)
        home.clock.now += HOUR
        hosted.set_in_range(True)
        await listening(home)
        heard = await play_beats(home, strap, 800)
    assert home.spool.beats() == heard
    gaps = {gap.reason: gap for gap in home.gateway.progress[STRAP].gaps}
    assert gaps["strap-1 not seen within 0.6 s"].end_utc == START + HOUR


async def test_goes_away_between_advertisement_and_connection(home: Home) -> None:
    """BlueZ then refuses every later attempt until the device is removed."""
    strap, paired = strap_with(home)
    hosted = await home.put_on_air(strap)
    await home.open_gateway(paired, quirks=BLUEZ)
    found = home.radio.find

    async def find_and_lose(address: str, timeout_s: float) -> object:
        device = await found(address, timeout_s)
        hosted.set_in_range(False)
        home.radio.find = found  # type: ignore[method-assign]
        return device

    home.radio.find = find_and_lose  # type: ignore[method-assign,assignment]
    async with home.streaming():
        await until(lambda: home.adapter.stuck)
        hosted.set_in_range(True)
        await listening(home)
        heard = await play_beats(home, strap, 800)
    assert home.adapter.removed == [paired.address]
    assert home.spool.beats() == heard


async def test_held_by_another_gateway(home: Home) -> None:
    strap, paired = strap_with(home)
    hosted = await home.put_on_air(strap)
    await home.open_gateway(paired)
    async with VirtualAdapter.open(home.air, "C0:FF:EE:00:00:02") as other:
        radio = virtual_radio(other)
        device = await radio.find(strap.address, 1)
        assert device is not None
        client = radio.client(device, lambda: None, 1)
        await client.connect()
        async with home.streaming():
            await asyncio.sleep(0.8)
            assert home.gateway.progress[STRAP].connections == 0
            await client.disconnect()
            await until(lambda: hosted.is_connected)
            await listening(home)
            heard = await play_beats(home, strap, 800)
    assert home.spool.beats() == heard
    assert reasons(home) == ["strap-1 not seen within 0.6 s"]


async def test_silent_link_is_made_anew(home: Home) -> None:
    """The link stands and nothing comes: measured on what comes, not on what the link says."""
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(paired, timing=replace(TIMING, silence_s=0.2))
    progress = home.gateway.progress[STRAP]
    async with home.streaming():
        await listening(home)
        heard = await play_beats(home, strap, 800)
        home.clock.now += MINUTE
        await until(lambda: progress.connections == 2 and progress.is_listening)
        heard += await play_beats(home, strap, 850)
    assert home.spool.beats() == heard
    assert reasons(home) == ["link silent for 0.2 s"]


async def test_deaf_scanner_is_restarted(home: Home) -> None:
    """Nothing at all is heard: first the scan, then the adapter is restarted."""
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(paired, deaf_s=0.15)
    home.adapter.is_deaf = True
    async with home.streaming():
        await until(lambda: home.gateway.progress[STRAP].is_listening)
    assert home.radio.scanner_restarts == 2
    assert home.adapter.restarts == 1


@pytest.mark.parametrize("copies", [2, 3])
async def test_every_notification_comes_several_times(home: Home, copies: int) -> None:
    """A steady heart, each notification `copies` times: every beat once, every copy kept aside."""
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(paired)
    progress = home.gateway.progress[STRAP]
    async with home.streaming():
        await listening(home)
        for _ in range(30):
            home.clock.now += 1600 * 1000
            for _ in range(copies):
                await strap.send_beats((800, 800))
        await progress.until_appended(30 * copies)
    assert home.spool.beats() == [800] * 60
    assert progress.rejected == {COPY: 30 * (copies - 1)}
    assert len(home.rejected) == 30 * (copies - 1)


async def test_a_leaked_session_would_double(home: Home) -> None:
    """The virtual BlueZ does double when a client is not disconnected: the tests above mean something."""
    strap, _ = strap_with(home)
    hosted = await home.put_on_air(strap)
    await home.open_gateway(quirks=BLUEZ)
    got: list[bytes] = []
    for connection in range(2):
        device = await home.radio.find(strap.address, 1)
        assert device is not None
        client = home.radio.client(device, lambda: None, 1)
        await client.connect()
        await client.start_notify(heart_rate.MEASUREMENT, lambda _, value: got.append(bytes(value)))
        await strap.send_beats((800,))
        await until(lambda c=connection: len(got) == (1, 3)[c])
        await hosted.drop()
        await until(lambda c=client: not c.is_connected)


async def test_clock_of_the_gateway_jumps(home: Home) -> None:
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(paired)
    async with home.streaming():
        await listening(home)
        heard = await play_beats(home, strap, 800)
        home.clock.now -= 3 * HOUR
        heard += await play_beats(home, strap, 820)
        home.clock.now += 400 * DAY
        heard += await play_beats(home, strap, 840)
    assert home.spool.beats() == heard
    assert reasons(home) == [CLOCK_BACK, SILENT]


async def test_bad_frames_leave_a_gap(home: Home) -> None:
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(paired)
    async with home.streaming():
        await listening(home)
        heard = await play_beats(home, strap, 800)
        home.clock.now += 800_000
        await strap.send_frame(b"")
        heard += await play_beats(home, strap, 820)
    assert home.spool.beats() == heard
    assert reasons(home) == [REFUSED]


@pytest.mark.parametrize("fault", list(ReadFault))
async def test_battery_cannot_be_read(home: Home, fault: ReadFault) -> None:
    """The battery is worth nothing beside a beat."""
    strap, paired = strap_with(home)
    hosted = await home.put_on_air(strap)
    hosted.read_faults[battery.LEVEL] = fault
    await home.open_gateway(paired, timing=replace(TIMING, operation_s=0.2))
    async with home.streaming():
        await listening(home)
        heard = await play_beats(home, strap, 800)
        await asyncio.sleep(0.3)
        heard += await play_beats(home, strap, 820)
    assert home.spool.beats() == heard
    assert home.gateway.progress[STRAP].connections == 1


async def test_characteristics_missing(home: Home) -> None:
    strap, paired = strap_with(home)
    await home.put_on_air(strap, missing=[battery.LEVEL])
    ring, ring_pair = ring_with(home)
    await home.put_on_air(ring, missing=[colmi.NOTIFY])
    await home.open_gateway(paired, ring_pair)
    async with home.streaming():
        await listening(home)
        heard = await play_beats(home, strap, 800)
        (result,) = await home.gateway.pull_history()
    assert home.spool.beats() == heard
    assert result.error is not None
    assert "6e400003" in result.error
    assert reasons(home, RING) == [result.error]


async def test_pairing_refused(home: Home) -> None:
    strap, paired = strap_with(home)
    await home.put_on_air(strap, is_willing_to_pair=False)
    await home.open_gateway(replace(paired, is_bonded=True))
    progress = home.gateway.progress[STRAP]
    async with home.streaming():
        await until(lambda: "did not pair" in (home.gateway.reason_of_silence(STRAP) or ""))
        assert not progress.is_listening
        assert progress.connections == 0
    assert "did not pair" in reasons(home)[0]


@pytest.mark.parametrize("quirks", [Quirks(), BLUEZ], ids=["plain", "bluez"])
async def test_bonded_wearable_rotates_its_address(home: Home, quirks: Quirks) -> None:
    """Before the bond it is a stranger at every address; after it, one wearable."""
    strap, paired = strap_with(home)
    hosted = await home.put_on_air(strap, irk=IRK, encrypted=[battery.LEVEL])
    on_air = await hosted.rotate_address()
    await home.open_gateway(replace(paired, is_bonded=True), quirks=quirks)
    async with home.streaming():
        await asyncio.sleep(0.7)
        assert home.gateway.progress[STRAP].connections == 0
    # pairing at the address it has now
    await home.radio.prepare()
    device = await home.radio.find(on_air, 1)
    assert device is not None
    client = home.radio.client(device, lambda: None, 1)
    await client.connect()
    await client.pair()
    await client.disconnect()
    heard: list[int] = []
    async with home.streaming():
        for round_ in range(3):
            await listening(home)
            heard += await play_beats(home, strap, 800 + 20 * round_)
            await hosted.drop()
            await until(lambda: not home.gateway.progress[STRAP].is_listening)
            await hosted.rotate_address()
            home.clock.now += MINUTE
    assert home.spool.beats() == heard
    assert {o.level_pct for o in home.spool.observations if isinstance(o, Battery)} == {87}


async def test_no_agent_no_bond(home: Home) -> None:
    """What the gateway prepares is what BlueZ needs."""
    strap, _ = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(quirks=BLUEZ)
    device = await home.radio.find(strap.address, 1)
    assert device is not None
    client = home.radio.client(device, lambda: None, 1)
    await client.connect()
    with pytest.raises(Exception, match="AuthenticationFailed"):
        await client.pair()
    await home.radio.prepare()
    await client.pair()
    await client.disconnect()


async def test_another_wearable_at_the_address(home: Home) -> None:
    """A serial number that is not the one of the pairing: nothing is taken from it."""
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(replace(paired, serial="another"))
    async with home.streaming():
        await asyncio.sleep(0.5)
        assert not home.gateway.progress[STRAP].is_listening
    assert home.spool.observations == []
    await home.open_gateway(replace(paired, serial=strap.address))
    async with home.streaming():
        await listening(home)


async def test_echoed_reads_are_no_notifications(home: Home) -> None:
    """BlueZ delivers a read value as a notification too; the serial and the battery are not streamed."""
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(replace(paired, serial=strap.address), quirks=BLUEZ)
    async with home.streaming():
        await listening(home)
        heard = await play_beats(home, strap, 800)
    assert home.spool.beats() == heard
    assert home.gateway.progress[STRAP].arrived == 5


@pytest.mark.parametrize("fault", ["drop", "out of range", "never answers"])
async def test_ring_lost_while_it_is_read(home: Home, fault: str) -> None:
    """Whatever is lost of an answer is read again: every slot once, with its last value."""
    ring, paired = ring_with(home)
    today = START // DAY * DAY
    truth = {}
    for days_ago in range(6, -1, -1):
        counts = [100 + days_ago, 7, 8, 9]
        ring.remember([quarter_hours(today - days_ago * DAY + 8 * HOUR, counts)])
        for slot, count in enumerate(counts):
            truth[today - days_ago * DAY + 8 * HOUR + slot * 15 * MINUTE] = count
    hosted = await home.put_on_air(ring)
    await home.open_gateway(paired)
    notify, sent = ring.notify, 0

    async def failing(characteristic: str, value: bytes) -> bool:
        nonlocal sent
        sent += 1
        if sent == 15:
            if fault == "drop":
                await hosted.drop()
            elif fault == "out of range":
                hosted.set_in_range(False)
                asyncio.get_running_loop().call_later(0.7, hosted.set_in_range, True)
            return False
        return await notify(characteristic, value)

    ring.notify = failing  # type: ignore[method-assign]
    (result,) = await home.gateway.pull_history()
    if fault == "never answers":
        assert "ring-1/step_count" not in home.spool.cursors or sent > 15
        (result,) = await home.gateway.pull_history()
    assert result.error is None
    assert samples(home.spool.observations, keep=StepCount) == truth
    # read again and equal: nothing was revised, and the key makes it one
    assert home.gateway.progress[RING].revised == 0


async def test_grown_slot_is_one_revision(home: Home) -> None:
    ring, paired = ring_with(home)
    await home.put_on_air(ring)
    await home.open_gateway(paired)
    ring.remember([quarter_hours(START - 30 * MINUTE, [10, 20])])
    await home.gateway.pull_history()
    ring.remember([quarter_hours(START - 15 * MINUTE, [35])])
    await home.gateway.pull_history()
    assert samples(home.spool.observations, keep=StepCount) == {
        START - 30 * MINUTE: 10,
        START - 15 * MINUTE: 35,
    }
    assert home.gateway.progress[RING].revised == 1


async def test_history_is_visited_in_turn(home: Home) -> None:
    """Each round begins with the next one; an absent ring does not keep the others waiting for ever."""
    pairs: list[PairedDevice] = []
    for number in range(3):
        address = f"F0:00:00:00:01:0{number}"
        await home.put_on_air(Ring(f"ring {number}", address, clock=home.clock))
        pairs.append(PairedDevice(DeviceId(f"ring-{number}"), address, "colmi_ring"))
    gateway = await home.open_gateway(*pairs)
    rounds = [[result.device_id for result in await gateway.pull_history()] for _ in range(4)]
    assert [each[0] for each in rounds] == ["ring-0", "ring-1", "ring-2", "ring-0"]
    assert all(sorted(each) == ["ring-0", "ring-1", "ring-2"] for each in rounds)


async def test_held_links_leave_one_for_visits(home: Home) -> None:
    """Three straps and a ring on an adapter of three links: two are held, the ring is read."""
    pairs: list[PairedDevice] = []
    for number in range(3):
        address = f"F0:00:00:00:02:0{number}"
        await home.put_on_air(Strap(f"strap {number}", address))
        pairs.append(PairedDevice(DeviceId(f"strap-{number}"), address, "hr_strap"))
    ring, ring_pair = ring_with(home)
    await home.put_on_air(ring)
    gateway = await home.open_gateway(*pairs, ring_pair, max_links=3)
    async with home.streaming():
        await until(lambda: sum(progress.is_listening for progress in gateway.progress.values()) == 2)
        (result,) = await asyncio.wait_for(gateway.pull_history(), 5)
        assert result.error is None
        assert sum(progress.connections for progress in gateway.progress.values()) == 3


async def test_serial_is_read_where_there_is_one(home: Home) -> None:
    strap, paired = strap_with(home)
    await home.put_on_air(strap, missing=[device_information.SERIAL])
    await home.open_gateway(replace(paired, serial=strap.address))
    async with home.streaming():
        await asyncio.sleep(0.4)
        assert not home.gateway.progress[STRAP].is_listening


@pytest.mark.parametrize("hours", [0, 1, 9, 13])
async def test_ring_set_by_another_application(home: Home, hours: int) -> None:
    """Its memory is converted by the offset it was found on; that is kept, so no two times share a stamp."""
    ring, paired = ring_with(home, offset_us=hours * HOUR)
    truth = {START - 5 * DAY: 50, START - DAY: 60, START - 15 * MINUTE: 70}
    for start, count in truth.items():
        ring.remember([quarter_hours(start, [count])])
    rates = HeartRate(device=RING, start_utc=START - DAY, source="colmi/1", period_s=300, bpm=b"\x40\x41")
    sleep = night(START - 12 * HOUR, 400)
    ring.remember([rates, sleep])
    await home.put_on_air(ring)
    gateway = await home.open_gateway(paired)
    for visit in range(3):
        home.clock.now += 45 * MINUTE
        start = home.clock.now - 15 * MINUTE
        truth[start] = 10 + visit
        ring.remember([quarter_hours(start, [10 + visit])])
        (result,) = await gateway.pull_history()
        assert result.error is None
        assert home.spool.cursors["ring-1/clock-offset-s"] == hours * 3600
        assert home.spool.cursors["ring-1/clock-offset-found-s"] == hours * 3600
    assert samples(home.spool.observations, keep=StepCount) == truth
    assert samples(home.spool.observations, keep=HeartRate) == samples([rates], keep=HeartRate)
    assert samples(home.spool.observations, keep=SleepStage) == samples([sleep], keep=SleepStage)
    assert gateway.progress[RING].revised == 0


async def test_ring_set_between_two_visits(home: Home) -> None:
    """The patient's telephone sets it to summer time: what was written before stays where it was."""
    ring, paired = ring_with(home)
    ring.remember([quarter_hours(START - HOUR, [5, 6, 7, 8])])
    await home.put_on_air(ring)
    gateway = await home.open_gateway(paired)
    await gateway.pull_history()
    ring.offset_us = 2 * HOUR
    home.clock.now += 3 * HOUR
    ring.remember([quarter_hours(START + 2 * HOUR, [1, 2, 3, 4])])
    await gateway.pull_history()
    expected = dict(zip(range(START - HOUR, START, 15 * MINUTE), (5, 6, 7, 8), strict=True))
    expected |= dict(zip(range(START + 2 * HOUR, START + 3 * HOUR, 15 * MINUTE), (1, 2, 3, 4), strict=True))
    assert samples(home.spool.observations, keep=StepCount) == expected
    assert home.spool.cursors["ring-1/clock-offset-before-s"] == 0
    assert home.spool.cursors["ring-1/clock-offset-s"] == 7200


async def test_ring_full_memory_and_midnight(home: Home) -> None:
    """Two weeks of walking, visited across midnight: all that it holds, once; what it forgot is on record."""
    ring, paired = ring_with(home)
    await home.put_on_air(ring)
    gateway = await home.open_gateway(paired)
    ring.remember([quarter_hours(START - HOUR, [9])])
    await gateway.pull_history()
    home.clock.now = START // DAY * DAY + 15 * DAY - 3 * MINUTE
    today = home.clock.now // DAY * DAY
    truth = {START - HOUR: 9}
    for days_ago in range(13, -1, -1):
        midnight = today - days_ago * DAY
        counts = [1 + days_ago] * 95
        ring.remember([quarter_hours(midnight, counts)])
        if days_ago < 7:
            truth |= {midnight + slot * 15 * MINUTE: count for slot, count in enumerate(counts)}
    await gateway.pull_history()
    assert samples(home.spool.observations, keep=StepCount) == truth
    forgotten = [gap for gap in gateway.progress[RING].gaps if "older than its memory" in gap.reason]
    assert [gap.end_utc for gap in forgotten] == [today - 6 * DAY]
    home.clock.now += 6 * MINUTE
    ring.remember([quarter_hours(today + DAY - 15 * MINUTE, [77])])
    await gateway.pull_history()
    truth[today + DAY - 15 * MINUTE] = 77
    assert samples(home.spool.observations, keep=StepCount) == truth


async def test_change_to_summer_time_changes_nothing(home: Home) -> None:
    """The ring stays at its offset while the clocks of the house are changed: days of 24 hours."""
    change = 1_711_846_800 * SECOND  # 2024-03-31 01:00 UTC, Europe
    home.clock.now = change - 6 * HOUR
    ring, paired = ring_with(home)
    await home.put_on_air(ring)
    gateway = await home.open_gateway(paired)
    truth: dict[int, int] = {}
    for _ in range(12):
        home.clock.now += HOUR
        start = home.clock.now - HOUR
        counts = [len(truth) + slot for slot in range(4)]
        ring.remember([quarter_hours(start, counts)])
        truth |= {start + slot * 15 * MINUTE: count for slot, count in enumerate(counts)}
        await gateway.pull_history()
    assert samples(home.spool.observations, keep=StepCount) == truth


async def test_what_a_stopped_gateway_missed_is_on_record(home: Home, tmp_path: Path) -> None:
    """Stopped while it heard, then while the strap was away: no time twice, each with its reason."""
    strap, paired = strap_with(home)
    hosted = await home.put_on_air(strap)
    spool = Spool(tmp_path / "spool.db", clock=home.clock)
    ledger = Ledger(tmp_path / "ledger.db", spool, clock=home.clock)
    home.spool = ledger  # type: ignore[assignment]
    found: list[tuple[int, int, str]] = []

    async def run(*, hears: bool) -> None:
        hosted.set_in_range(hears)
        gateway = await home.open_gateway(paired)
        async with home.streaming():
            if hears:
                await listening(home)
                await play_beats(home, strap, 800)
            else:
                await asyncio.sleep(0.8)
            home.clock.now += MINUTE if not hears else 0
        found.extend(
            ((gap.start_utc - START) // SECOND, (gap.end_utc - START) // SECOND, gap.reason)
            for gap in gateway.progress[STRAP].gaps
        )
        await home.adapter.set_present(False)

    try:
        for hears in (True, False, True):
            await run(hears=hears)
            home.clock.now += HOUR
    finally:
        ledger.close()
        spool.close()
        home.spool = ListSpool()
        home.told, home.gateways = [], []
    heard_s = 8
    assert found == [
        (0, 0, "not yet connected"),
        (heard_s, heard_s + 3660, "gateway was not running; strap-1 not seen within 0.6 s"),
        (heard_s + 3660, heard_s + 7260, "gateway was not running"),
    ]


async def test_failed_visits_tile_the_time(home: Home) -> None:
    """An absent ring: each time is on record once, however often it is looked for in vain."""
    ring, paired = ring_with(home)
    hosted = await home.put_on_air(ring)
    gateway = await home.open_gateway(paired, timing=replace(TIMING, scan_s=0.1))
    await gateway.pull_history()
    hosted.set_in_range(False)
    for _ in range(3):
        home.clock.now += 30 * MINUTE
        (result,) = await gateway.pull_history()
        assert gateway.reason_of_silence(RING) == result.error == "ring-1 not seen within 0.1 s"
    gaps = [
        ((gap.start_utc - START) // MINUTE, (gap.end_utc - START) // MINUTE)
        for gap in gateway.progress[RING].gaps
    ]
    assert gaps == [(0, 30), (30, 60), (60, 90)]
    hosted.set_in_range(True)
    await gateway.pull_history()
    assert len(gateway.progress[RING].gaps) == 3
    assert gateway.reason_of_silence(RING) is None


async def test_more_straps_than_links(home: Home) -> None:
    """Five links by default; who waits for one has that reason, and gets the first that is free."""
    pairs: list[PairedDevice] = []
    hosted: list[HostedWearable] = []
    for number in range(6):
        address = f"F0:00:00:00:02:0{number}"
        hosted.append(await home.put_on_air(Strap(f"strap {number}", address)))
        pairs.append(PairedDevice(DeviceId(f"strap-{number}"), address, "hr_strap"))
    gateway = await home.open_gateway(*pairs, max_links=MAX_LINKS)
    assert MAX_LINKS == 5

    def waiting() -> list[DeviceId]:
        return [name for name in gateway.progress if gateway.reason_of_silence(name) is not None]

    async with home.streaming():
        await until(lambda: len(waiting()) == 1)
        await asyncio.sleep(0.3)
        (left,) = waiting()
        assert sum(each.is_connected for each in hosted) == 5
        assert gateway.reason_of_silence(left) == NO_LINK_FREE
        for each in hosted[:3]:
            each.set_in_range(False)
        await until(lambda: gateway.reason_of_silence(left) is None)
    assert [gap.reason for gap in gateway.progress[left].gaps] == [NO_LINK_FREE]
