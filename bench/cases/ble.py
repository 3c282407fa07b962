"""The BLE edge: many wearables on many adapters, and what the gateway costs on top of the bare radio."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack

from bench.harness import Bench, Result, case
from devices.clock import SECOND
from devices.codec import heart_rate
from devices.ids import DeviceId, GatewayId
from devices.observations import Observation, RrInterval
from devices.sim.strap import Strap
from ingest.edge.gateway import Gateway, PairedDevice
from ingest.edge.virtual_radio import virtual_radio
from ingest.edge.virtual_radio_adapter import VirtualAdapter
from ingest.edge.virtual_radio_air import Air, HostedWearable

WEARABLES, ADAPTERS, SECONDS = 100, 20, 20
FLOOD = 2_000
START = 1_705_320_000 * SECOND
_LOOK_S = 60.0


class _Counting:
    """A spool that counts beats; what a disk costs is another benchmark's."""

    def __init__(self) -> None:
        self.beats = 0

    def append(self, observations: Iterable[Observation], *, cursors: Mapping[str, int] | None = None) -> int:
        samples = sum(each.sample_count for each in observations if isinstance(each, RrInterval))
        self.beats += samples
        return samples

    def note_firmware(self, device: str, version: str) -> None:
        del device, version

    def cursor(self, name: str) -> int | None:
        del name
        return None


class _Ward:
    """Straps and gateways of a whole ward in one process; each adapter has its share of the straps."""

    def __init__(self, wearables: int, adapters: int) -> None:
        self.straps = [Strap(f"s{n}", f"F0:00:00:00:{n // 256:02X}:{n % 256:02X}") for n in range(wearables)]
        self.spool = _Counting()
        self.now = START
        self._adapters = adapters
        self._stack = AsyncExitStack()
        self._until = asyncio.Event()
        self._streams: list[asyncio.Task[None]] = []
        self.gateways: list[Gateway] = []
        self.radios: list[VirtualAdapter] = []

    async def open(self) -> None:
        air = Air()
        for strap in self.straps:
            hosted = HostedWearable(air, strap)
            await hosted.start()
            self._stack.push_async_callback(hosted.aclose)
        for number in range(self._adapters):
            address = f"C0:FF:EE:00:01:{number:02X}"
            self.radios.append(await self._stack.enter_async_context(VirtualAdapter.open(air, address)))

    async def listen(self) -> None:
        """Every gateway holds its straps' links."""
        for number, radio in enumerate(self.radios):
            share = self.straps[number :: self._adapters]
            devices = [PairedDevice(DeviceId(strap.name), strap.address, "hr_strap") for strap in share]
            gateway = Gateway(
                GatewayId(f"gw-{number}"),
                virtual_radio(radio),
                self.spool,
                clock=lambda: self.now,
                devices=devices,
            )
            self.gateways.append(gateway)
            self._streams.append(asyncio.create_task(gateway.stream_live(self._until)))
        async with asyncio.timeout(_LOOK_S):
            for gateway in self.gateways:
                for progress in gateway.progress.values():
                    await progress.until_listening()

    async def until_kept(self, notifications: int) -> None:
        async with asyncio.timeout(_LOOK_S):
            for gateway in self.gateways:
                for progress in gateway.progress.values():
                    await progress.until_appended(notifications)

    async def aclose(self) -> None:
        self._until.set()
        await asyncio.gather(*self._streams)
        await self._stack.aclose()


async def _ward() -> tuple[int, int]:
    """Notifications sent and beats kept: every strap once a second, each at its own moment of it."""
    ward = _Ward(WEARABLES, ADAPTERS)
    await ward.open()
    try:
        await ward.listen()
        sent = 0
        began = time.monotonic()
        for second in range(SECONDS):
            ward.now = START + (second + 1) * SECOND
            for number, strap in enumerate(ward.straps):
                due = began + second + number / WEARABLES
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                sent += await strap.send_beats((1000 + second % 2,))
        await ward.until_kept(SECONDS)
        return sent, ward.spool.beats
    finally:
        await ward.aclose()


async def _flood(*, is_bare: bool) -> None:
    """As many notifications as the virtual radio carries; bare, a bleak client only counts them."""
    ward = _Ward(1, 1)
    await ward.open()
    try:
        (strap,) = ward.straps
        if is_bare:
            await _flood_bare(ward, strap)
        else:
            await ward.listen()
            for number in range(FLOOD):
                ward.now += SECOND
                await strap.send_beats((1000 + number % 2,))
            await ward.until_kept(FLOOD)
            assert ward.spool.beats == FLOOD
    finally:
        await ward.aclose()


async def _flood_bare(ward: _Ward, strap: Strap) -> None:
    radio = virtual_radio(ward.radios[0])
    device = await radio.find(strap.address, _LOOK_S)
    assert device is not None
    client = radio.client(device, lambda: None, _LOOK_S)
    await client.connect()
    got = 0
    done = asyncio.Event()

    def count(_: object, value: bytearray) -> None:
        nonlocal got
        del value
        got += 1
        if got == FLOOD:
            done.set()

    await client.start_notify(heart_rate.MEASUREMENT, count)
    for number in range(FLOOD):
        await strap.send_beats((1000 + number % 2,))
    async with asyncio.timeout(_LOOK_S):
        await done.wait()
    await client.disconnect()


@case
def ble_ward(bench: Bench) -> list[Result]:
    """100 straps on 20 adapters in one process at 1 Hz each: what was sent and what was kept."""
    del bench
    sent, kept = asyncio.run(_ward())
    if sent != WEARABLES * SECONDS or kept != sent:
        raise AssertionError(f"{sent} notifications of {WEARABLES * SECONDS} sent, {kept} beats kept")
    against = f"{WEARABLES} wearables, {ADAPTERS} adapters, {SECONDS} s: beats sent"
    return [Result("ble_ward.kept", kept, "beats", kept / sent, against, 1)]


@case
def ble_notifications(bench: Bench) -> list[Result]:
    """Notifications a second from scan to spool against a bare bleak client on the same virtual radio."""
    timing = bench.paired(
        lambda: asyncio.run(_flood(is_bare=False)), lambda: asyncio.run(_flood(is_bare=True)), repeats=5
    )
    return [timing.throughput("ble_notifications", FLOOD, "notifications/s", "bare bleak client")]
