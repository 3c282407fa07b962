"""The bench of these scenarios: the virtual air behind a real kernel, a gateway with bleak's backend."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from bumble import hci
from bumble.transport import open_transport

from devices.codec import heart_rate
from devices.ids import DeviceId, GatewayId
from devices.sim.ring import Ring
from devices.sim.strap import Strap, plan_stream
from devices.sim.wearable import Wearable
from ingest.edge import bluez
from ingest.edge.gateway import Gateway, PairedDevice
from ingest.edge.radio import Radio
from ingest.edge.session import BleSession, Timing, open_session
from ingest.edge.virtual_radio_air import SUPERVISION_TIMEOUT_S, Air, HostedWearable, SimController
from tests.fixtures_ble import ListSpool, SimulatedClock

#: An emulated machine is slow.
TIMING: Final = Timing(scan_s=8, connect_s=8, operation_s=6, backoff_first_s=0.1, backoff_most_s=0.5)
PATIENCE_S: Final = 30.0
#: Long enough for a copy of a notification to come as well, if there is one.
COPY_S: Final = 1.0

Scenario = Callable[["Bench"], Coroutine[Any, Any, str]]
SCENARIOS: Final[list[Scenario]] = []


def scenario(function: Scenario) -> Scenario:
    """Register a scenario; what it returns is printed beside PASS."""
    SCENARIOS.append(function)
    return function


class Adapter:
    """The kernel's Bluetooth adapter, whose other side is a controller on the virtual air."""

    def __init__(self, air: Air) -> None:
        self._air = air
        self._stack = AsyncExitStack()

    async def plug(self) -> None:
        """Put it in; the kernel names it."""
        transport = await self._stack.enter_async_context(await open_transport("vhci"))
        controller = SimController(
            "adapter",
            host_source=transport.source,
            host_sink=transport.sink,
            link=self._air,
            public_address="AA:BB:CC:00:00:01",
        )
        # with these the kernel waits for an event that bumble never sends (google/bumble#841)
        controller.le_features &= ~(hci.LeFeatureMask.LL_PRIVACY | hci.LeFeatureMask.LE_EXTENDED_ADVERTISING)
        self._stack.callback(self._air.remove_controller, controller)
        self._stack.push_async_callback(self._lose_links, controller)
        # bluetoothd sees it a moment later
        async with asyncio.timeout(PATIENCE_S):
            while await bluez.adapter_state() in (bluez.AdapterState.ABSENT, bluez.AdapterState.NO_SERVICE):
                await asyncio.sleep(0.2)

    async def _lose_links(self, controller: SimController) -> None:
        # the other ends notice as they do with any adapter that falls silent
        self._air.set_in_range(controller, False)
        await asyncio.sleep(2 * SUPERVISION_TIMEOUT_S)

    async def unplug(self) -> None:
        """Pull it out."""
        await self._stack.aclose()


class Bench:
    """One scenario's wearables, clock, spool and gateway."""

    def __init__(self, air: Air, adapter: Adapter, number: int) -> None:
        self.air = air
        self.adapter = adapter
        self.clock = SimulatedClock()
        self.spool = ListSpool()
        self.rejected: list[tuple[str, str, str, bytes]] = []
        self.losses: list[str] = []
        self.host = bluez.BluezHost(on_loss=self.losses.append)
        self.radio = Radio(host=self.host)
        self.gateway: Gateway
        self._number = number
        self._count = 0
        self._addresses: list[str] = []
        self._stack = AsyncExitStack()

    def next_address(self) -> str:
        """Address that no other scenario uses: BlueZ remembers what it has seen."""
        self._count += 1
        address = f"F0:00:00:00:{self._number:02X}:{self._count:02X}"
        self._addresses.append(address)
        return address

    async def put_on_air(self, wearable: Wearable, **how: Any) -> HostedWearable:
        """Wearable that can be heard."""
        hosted = HostedWearable(self.air, wearable, **how)
        await hosted.start()
        self._stack.push_async_callback(hosted.aclose)
        return hosted

    async def strap(self, **how: Any) -> tuple[Strap, HostedWearable, PairedDevice]:
        """A strap on the air, and its pairing."""
        address = self.next_address()
        strap = Strap(f"strap {self._count}", address)
        hosted = await self.put_on_air(strap, **how)
        return strap, hosted, PairedDevice(DeviceId(f"strap-{self._count}"), address, "hr_strap")

    async def ring(self, **how: Any) -> tuple[Ring, HostedWearable, PairedDevice]:
        """A ring on the air, and its pairing."""
        address = self.next_address()
        ring = Ring("ring", address, clock=self.clock, **how)
        hosted = await self.put_on_air(ring)
        return ring, hosted, PairedDevice(DeviceId("ring-1"), address, "colmi_ring")

    def open_gateway(
        self, *devices: PairedDevice, radio: Radio | None = None, timing: Timing = TIMING
    ) -> Gateway:
        """Gateway of these wearables."""
        self.gateway = Gateway(
            GatewayId("gw-1"),
            radio or self.radio,
            self.spool,
            clock=self.clock,
            devices=devices,
            on_rejected=lambda *what: self.rejected.append(what),
            timing=timing,
        )
        return self.gateway

    @asynccontextmanager
    async def streaming(self) -> AsyncGenerator[None]:
        """Live wearables are held for the time of the context."""
        until = asyncio.Event()
        task = asyncio.create_task(self.gateway.stream_live(until))
        try:
            yield
        finally:
            until.set()
            await asyncio.wait_for(task, PATIENCE_S)

    @asynccontextmanager
    async def session(
        self, device: PairedDevice, *, radio: Radio | None = None, timing: Timing = TIMING
    ) -> AsyncGenerator[BleSession]:
        """One connection, without a gateway."""
        async with open_session(
            radio or self.radio,
            device.address,
            device.device_id,
            "c-1",
            clock=self.clock,
            cursor=lambda _: None,
            on_arrival=lambda: None,
            on_listening=lambda _: None,
            timing=timing,
            is_bonded=device.is_bonded,
            serial=device.serial,
        ) as session:
            yield session

    async def listening(self, device: PairedDevice) -> None:
        """Until the gateway has subscribed."""
        progress = self.gateway.progress[device.device_id]
        await asyncio.wait_for(progress.until_listening(), PATIENCE_S)

    async def deaf(self, device: PairedDevice) -> None:
        """Until the gateway knows that the link is gone."""
        progress = self.gateway.progress[device.device_id]
        await until(lambda: not progress.is_listening)

    async def play(self, device: PairedDevice, strap: Strap, intervals: Iterable[int]) -> None:
        """Notifications of two beats each, one after the other has come."""
        progress = self.gateway.progress[device.device_id]
        for step in plan_stream(intervals, 2):
            self.clock.now += step.elapsed_ms * 1000
            expected = progress.arrived + 1
            assert await strap.send_beats(step.rr_ms), "nobody listens"
            await asyncio.wait_for(progress.until_arrived(expected), PATIENCE_S)
        await asyncio.wait_for(progress.until_appended(progress.arrived), PATIENCE_S)

    async def aclose(self) -> None:
        """Off the air and out of BlueZ's memory."""
        await self._stack.aclose()
        await self.host.aclose()
        for address in self._addresses:
            await bluez.remove_device(address)


async def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Until `condition()` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


MEASUREMENT: Final = heart_rate.MEASUREMENT
