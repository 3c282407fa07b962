"""Simulated wearables on a virtual radio, read by the real gateway code: for demo and replay.

Time is simulated. It advances by what a strap is about to say, and only after
the gateway has stamped what was said before; so every beat gets the time it
would have had, at whatever speed the machine manages.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from devices.ids import DeviceId, GatewayId
from devices.observations import Observation
from devices.sim.clock import SteppedClock
from devices.sim.ring import Ring
from devices.sim.strap import Strap, plan_stream
from devices.sim.wearable import Wearable
from flows.errors import UserError
from ingest.edge.gateway import Gateway, PairedDevice, RejectedCallback
from ingest.edge.spool import Spool
from ingest.edge.virtual_radio import virtual_radio
from ingest.edge.virtual_radio_adapter import VirtualAdapter
from ingest.edge.virtual_radio_air import Air, HostedWearable

#: A notification that has not arrived by then never will: better an error than a demo that hangs.
STALLED_S = 30.0


@dataclass(frozen=True)
class StrapStream:
    """A strap, what it will say, and when it begins."""

    device: DeviceId
    start_utc: int
    rr_ms: Iterable[int]
    per_notification: int


async def stream_strap(
    gateway: GatewayId,
    spool: Spool,
    strap: StrapStream,
    *,
    on_rejected: RejectedCallback | None = None,
    on_beats: Callable[[int], None] | None = None,
) -> int:
    """Send RR intervals over the virtual radio into the spool; returns how often the battery was read.

    Parameters
    ----------
    gateway : GatewayId
        The home box that listens.
    spool : Spool
        Its spool.
    strap : StrapStream
        What is said; intervals longer than a frame can say are silence.
    on_beats : callable, optional
        Told the number of intervals of each notification once it is spooled.
    """
    clock = SteppedClock(strap.start_utc)
    wearable = Strap("Strap", "F0:00:00:00:00:01")
    paired = PairedDevice(strap.device, wearable.address, "hr_strap")
    sent = 0
    async with AsyncExitStack() as stack:
        home = await _home(stack, gateway, spool, clock, {paired: wearable}, on_rejected)
        stop = asyncio.Event()
        listening = asyncio.create_task(home.stream_live(stop))
        progress = home.progress[strap.device]
        await progress.until_listening()
        for count, step in enumerate(plan_stream(strap.rr_ms, strap.per_notification), start=1):
            clock.advance_ms(step.elapsed_ms)
            if not await wearable.send_beats(step.rr_ms):
                raise UserError(f"the strap of {gateway} lost its link after {sent} RR intervals")
            # stamped with this step's time before the next one begins
            async with asyncio.timeout(STALLED_S):
                await progress.until_arrived(count)
            sent += len(step.rr_ms)
            if on_beats is not None:
                on_beats(len(step.rr_ms))
        await progress.until_appended(progress.arrived)
        stop.set()
        await listening
    return wearable.battery_reads


async def pull_ring(
    gateway: GatewayId,
    spool: Spool,
    device: DeviceId,
    memory: Iterable[Observation],
    now_utc: int,
) -> int:
    """Let the gateway visit a ring that remembers `memory`; returns how often its battery was read.

    Raises
    ------
    UserError
        When the ring could not be read.
    """
    clock = SteppedClock(now_utc)
    ring = Ring("Ring", "F0:00:00:00:00:02", clock=clock)
    ring.remember(memory)
    paired = PairedDevice(device, ring.address, "colmi_ring")
    async with AsyncExitStack() as stack:
        home = await _home(stack, gateway, spool, clock, {paired: ring}, None)
        (result,) = await home.pull_history()
    if result.error:
        raise UserError(f"the ring of {gateway} could not be read: {result.error}")
    return ring.battery_reads


async def _home(
    stack: AsyncExitStack,
    gateway: GatewayId,
    spool: Spool,
    clock: SteppedClock,
    wearables: dict[PairedDevice, Wearable],
    on_rejected: RejectedCallback | None,
) -> Gateway:
    """A home with an air of its own, its wearables switched on, and its gateway."""
    air = Air()
    for wearable in wearables.values():
        hosted = HostedWearable(air, wearable)
        stack.push_async_callback(hosted.aclose)
        await hosted.start()
    adapter = await stack.enter_async_context(VirtualAdapter.open(air))
    devices = list(wearables)
    return Gateway(
        gateway, virtual_radio(adapter), spool, clock=clock, devices=devices, on_rejected=on_rejected
    )
