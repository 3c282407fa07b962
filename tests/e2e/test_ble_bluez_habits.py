"""One connect at a time, and what BlueZ does otherwise: echoes, the small MTU, the hidden service."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from bleak import BleakClient

from devices.clock import HOUR
from devices.codec import infinitime
from devices.ids import DeviceId
from devices.observations import SleepStage
from devices.sim.strap import Strap
from devices.sim.watch import Watch
from devices.sim.wearable import Wearable
from ingest.edge.errors import LinkError
from ingest.edge.gateway import PairedDevice
from ingest.edge.session import BleSession, open_session
from ingest.edge.virtual_radio_client import VirtualClient
from ingest.edge.virtual_radio_quirks import BLUEZ, Quirks
from tests.fixtures_ble import (
    START,
    TIMING,
    Home,
    a_home,
    assert_account,
    listening,
    night,
    play,
    ring_with,
    samples,
    strap_with,
    until,
)

WATCH = "F0:00:00:00:00:07"
GENERIC_ACCESS = "00001800-0000-1000-8000-00805f9b34fb"
QUIRKS = pytest.mark.parametrize("quirks", [Quirks(), BLUEZ], ids=["plain", "bluez"])


@pytest.fixture
async def home() -> AsyncGenerator[Home]:
    async with a_home() as home:
        yield home
        assert_account(home)


@asynccontextmanager
async def connected(home: Home, wearable: Wearable, quirks: Quirks) -> AsyncGenerator[BleakClient]:
    await home.put_on_air(wearable)
    await home.open_gateway(quirks=quirks)
    device = await home.radio.find(wearable.address, 1)
    assert device is not None
    client = home.radio.client(device, lambda: None, 1)
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


@asynccontextmanager
async def session_with(home: Home) -> AsyncGenerator[BleSession]:
    """A session with the watch, over the radio of the home's gateway."""
    async with open_session(
        home.radio,
        WATCH,
        DeviceId("watch-1"),
        "c1",
        clock=home.clock,
        cursor=lambda _: None,
        on_arrival=lambda: None,
        on_listening=lambda _: None,
        timing=TIMING,
    ) as session:
        yield session


async def test_connects_never_overlap(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four straps are seen at once; the adapter has one attempt at a time, through drops too."""
    pairs: list[PairedDevice] = []
    hosted = []
    for number in range(4):
        address = f"F0:00:00:00:02:0{number}"
        hosted.append(await home.put_on_air(Strap(f"strap {number}", address)))
        pairs.append(PairedDevice(DeviceId(f"strap-{number}"), address, "hr_strap"))
    connect = VirtualClient.connect
    now = most = attempts = 0

    async def watched(client: VirtualClient, pair: bool, **how: object) -> None:
        nonlocal now, most, attempts
        now, attempts = now + 1, attempts + 1
        most = max(most, now)
        try:
            # as long as a real one: long enough to meet the others
            await asyncio.sleep(0.05)
            await connect(client, pair, **how)
        finally:
            now -= 1

    monkeypatch.setattr(VirtualClient, "connect", watched)
    gateway = await home.open_gateway(*pairs)
    async with home.streaming():
        for _ in range(2):
            await until(lambda: all(progress.is_listening for progress in gateway.progress.values()))
            for each in hosted:
                await each.drop()
            await until(lambda: not any(progress.is_listening for progress in gateway.progress.values()))
        await until(lambda: all(progress.is_listening for progress in gateway.progress.values()))
    assert attempts >= 12
    assert most == 1


@QUIRKS
async def test_echo_of_what_is_read_and_notified(home: Home, quirks: Quirks) -> None:
    """BlueZ: each of five reads comes as a notification too (5 of 5 on the real one)."""
    got: list[bytes] = []
    async with connected(
        home, Watch("sim pinetime", "F0:00:00:00:00:07", clock=home.clock), quirks
    ) as client:
        await client.start_notify(infinitime.STEPS, lambda _, value: got.append(bytes(value)))
        for _ in range(5):
            await client.read_gatt_char(infinitime.STEPS)
        await asyncio.sleep(0.05)
    assert len(got) == (5 if quirks.echoes_reads else 0)


@QUIRKS
async def test_a_session_does_not_hear_what_it_reads(home: Home, quirks: Quirks) -> None:
    """A characteristic that is read and notified: the stream has what was notified, once."""
    watch = Watch("sim pinetime", WATCH, clock=home.clock)
    await home.put_on_air(watch)
    await home.open_gateway(quirks=quirks)
    async with session_with(home) as session, session.notifications(infinitime.STEPS) as stream:
        for count in range(5):
            await session.read(infinitime.STEPS)
            await watch.notify(infinitime.STEPS, bytes([count, 0, 0, 0]))
        await asyncio.sleep(0.05)
        heard = [notification.payload for notification in await stream.take(1)]
    assert heard == [bytes([count, 0, 0, 0]) for count in range(5)]


async def test_a_wearable_that_loses_its_link_by_socket_is_asked_otherwise(home: Home) -> None:
    """Its first connection ends with the subscription (hbldh/bleak#1885), every later one stands."""
    watch = Watch("sim pinetime", WATCH, clock=home.clock)
    await home.put_on_air(watch)
    await home.open_gateway(quirks=Quirks(loses_sockets=True))
    with pytest.raises(LinkError):
        async with session_with(home) as session, session.notifications(infinitime.STEPS):
            pass
    for _ in range(2):
        async with session_with(home) as session, session.notifications(infinitime.STEPS) as stream:
            await watch.notify(infinitime.STEPS, b"\x07\0\0\0")
            assert [notification.payload for notification in await stream.take(1)] == [b"\x07\0\0\0"]


@QUIRKS
async def test_mtu_and_services_as_bluez_shows_them(home: Home, quirks: Quirks) -> None:
    async with connected(home, Strap("sim strap", "F0:00:00:00:00:01"), quirks) as client:
        is_bluez = quirks.has_small_mtu
        assert (client.mtu_size == 23) == is_bluez
        assert (client.services.get_service(GENERIC_ACCESS) is None) == is_bluez


@QUIRKS
async def test_long_answers_in_the_smallest_notifications(home: Home, quirks: Quirks) -> None:
    """MTU 23: a night of sleep in 20 bytes at a time, nine intervals in a heart-rate frame."""
    ring, ring_pair = ring_with(home, chunk=20)
    sleep = night(START - 12 * HOUR, 480)
    ring.remember([sleep])
    strap, paired = strap_with(home)
    await home.put_on_air(ring)
    await home.put_on_air(strap)
    gateway = await home.open_gateway(paired, ring_pair, quirks=quirks)
    async with home.streaming():
        await listening(home)
        await play(home, strap, range(700, 745), 9)
        (result,) = await gateway.pull_history()
    assert result.error is None
    assert samples(home.spool.observations, keep=SleepStage) == samples([sleep], keep=SleepStage)


@pytest.mark.parametrize("held_s", [0.3, 1.4])
async def test_a_link_that_is_held_after_disconnecting(home: Home, held_s: float) -> None:
    """Shorter and longer than an operation may take: the next visits read what there is, once."""
    assert TIMING.operation_s == 1.0
    ring, paired = ring_with(home)
    ring.remember([night(START - 8 * HOUR, 400)])
    hosted = await home.put_on_air(ring)
    await home.open_gateway(paired, quirks=replace(BLUEZ, holds_link_s=held_s))
    for _ in range(2):
        home.spool.observations.clear()
        (result,) = await home.gateway.pull_history()
        if result.error is not None:
            # still held when it was looked for: a wearable with a link does not advertise
            await until(lambda: not hosted.is_connected)
            (result,) = await home.gateway.pull_history()
        assert result.error is None
        told = samples([night(START - 8 * HOUR, 400)], keep=SleepStage)
        assert samples(home.spool.observations, keep=SleepStage) == told
    await until(lambda: not hosted.is_connected)
