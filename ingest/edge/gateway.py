"""The gateway: visits and holds its paired wearables, and spools before anything else.

One task per live wearable, one visit after another for those with a memory. What
a driver harvests is durable in the spool, cursors included, before the driver
asks for more.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from devices.clock import Clock
from devices.drivers.registry import find_driver
from devices.drivers.session import Beats, Driver, Harvest, Rejected
from devices.ids import DeviceId, GatewayId
from devices.observations import Observation
from ingest.edge.beats import BeatClock
from ingest.edge.errors import EdgeError, LinkError
from ingest.edge.radio import Radio
from ingest.edge.session import BleSession, Timing, open_session

logger = logging.getLogger(__name__)

#: Visits to a wearable with a memory before it is left for the next round.
PULL_ATTEMPTS = 4

#: Called with device, kind, reason and the refused bytes.
RejectedCallback = Callable[[DeviceId, str, str, bytes], None]


class SpoolWriter(Protocol):
    """The part of the spool that the gateway needs."""

    def append(self, observations: Iterable[Observation], *, cursors: Mapping[str, int] | None = None) -> int:
        """Make observations and cursors durable in one transaction; number of samples."""
        ...

    def cursor(self, name: str) -> int | None:
        """Value of a cursor; ``None`` when it was never set."""
        ...


@dataclass(frozen=True, slots=True)
class PairedDevice:
    """A wearable of this gateway: its pseudonym, its address, and the driver that speaks to it."""

    device_id: DeviceId
    address: str
    driver: str


class PullResult(NamedTuple):
    """Outcome of one history pull; `error` says in words why it ended early."""

    device_id: DeviceId
    samples: int
    error: str | None


class Progress:
    """How far one wearable has come.

    Attributes
    ----------
    arrived, appended : int
        Streamed notifications: stamped on arrival; accounted for in the spool
        (or rejected).
    samples : int
        Samples appended to the spool.
    rejected : Counter
        Refused frames by reason.
    connections : int
        Connections made.
    is_listening : bool
        Whether a subscription stands: what is notified now is heard.
    """

    def __init__(self) -> None:
        self.arrived = 0
        self.appended = 0
        self.samples = 0
        self.rejected: Counter[str] = Counter()
        self.connections = 0
        self.is_listening = False
        self._change: asyncio.Future[None] | None = None

    def on_listening(self, is_listening: bool) -> None:
        """Note that a subscription stands, or is gone."""
        self.is_listening = is_listening
        self._tell()

    def on_arrival(self) -> None:
        """Count a notification."""
        self.arrived += 1
        self._tell()

    def on_append(self, notifications: int, samples: int) -> None:
        """Count what a harvest brought into the spool."""
        self.appended += notifications
        self.samples += samples
        self._tell()

    async def until_listening(self) -> None:
        """Wait until a subscription stands."""
        while not self.is_listening:
            await self._next_change()

    async def until_arrived(self, count: int) -> None:
        """Wait until `count` notifications have been stamped by the gateway's clock."""
        while self.arrived < count:
            await self._next_change()

    async def until_appended(self, count: int) -> None:
        """Wait until `count` notifications are accounted for in the spool."""
        while self.appended < count:
            await self._next_change()

    def _tell(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    async def _next_change(self) -> None:
        if self._change is None or self._change.done():
            self._change = asyncio.get_running_loop().create_future()
        # shielded: one waiter that gives up must not take the future from the others
        await asyncio.shield(self._change)


class Gateway:
    """A home box with one adapter.

    Parameters
    ----------
    gateway_id : GatewayId
        Name of this gateway, for its log lines.
    radio : Radio
        Adapter.
    spool : SpoolWriter
        Where every observation goes first.
    clock : Clock
        Microseconds UTC; stamps arrivals.
    devices : sequence of PairedDevice
        Wearables it may talk to; no others are ever connected.
    on_rejected : callable, optional
        Takes what had to be refused: device, kind, reason, bytes.
    timing : Timing
        Time limits and back-off.
    """

    def __init__(
        self,
        gateway_id: GatewayId,
        radio: Radio,
        spool: SpoolWriter,
        *,
        clock: Clock,
        devices: Sequence[PairedDevice],
        on_rejected: RejectedCallback | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.gateway_id = gateway_id
        self.progress = {device.device_id: Progress() for device in devices}
        self._radio = radio
        self._spool = spool
        self._clock = clock
        self._timing = timing or Timing()
        self._on_rejected = on_rejected
        self._paired = [(device, find_driver(device.driver)) for device in devices]
        self._sessions: dict[DeviceId, BleSession] = {}
        self._connections = 0

    async def pull_history(self) -> list[PullResult]:
        """Visit every wearable that has a memory, once, one after the other.

        Returns
        -------
        list of PullResult
            One per wearable; an absent wearable is a result, not an exception.
        """
        return [
            await self._pull(device, driver) for device, driver in self._paired if driver.plan == "history"
        ]

    async def stream_live(self, until: asyncio.Event) -> None:
        """Hold the links of all live wearables until the event is set.

        What had arrived by then is in the spool on return. An error of the spool
        ends the streaming and is raised.
        """
        live = [pair for pair in self._paired if pair[1].plan == "live"]
        tasks = {asyncio.create_task(self._hold(*pair, until)): pair[0].device_id for pair in live}
        stop = asyncio.create_task(until.wait())
        try:
            await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            for task, device_id in tasks.items():
                if session := self._sessions.get(device_id):
                    session.end(LinkError("stopped"))
                else:
                    task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _pull(self, device: PairedDevice, driver: Driver) -> PullResult:
        progress = self.progress[device.device_id]
        before = progress.samples
        error: EdgeError | None = None
        for attempt in range(PULL_ATTEMPTS):
            if attempt:
                await asyncio.sleep(self._pause_s(attempt))
            try:
                await self._connect_and_run(device, driver)
                return PullResult(device.device_id, progress.samples - before, None)
            except EdgeError as caught:
                error = caught
                logger.warning("pull failed device=%s attempt=%d error=%s", device.device_id, attempt, error)
        return PullResult(device.device_id, progress.samples - before, str(error))

    async def _hold(self, device: PairedDevice, driver: Driver, until: asyncio.Event) -> None:
        failures = 0
        progress = self.progress[device.device_id]
        while not until.is_set():
            before = progress.samples
            try:
                await self._connect_and_run(device, driver)
            except EdgeError as error:
                if until.is_set():
                    return
                # a link that brought something was a good one: try again at once
                failures = 1 if progress.samples > before else failures + 1
                logger.info("link ended device=%s failures=%d error=%s", device.device_id, failures, error)
            with suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), self._pause_s(failures))

    def _pause_s(self, failures: int) -> float:
        """Back-off, doubled with each failure; jittered so that a ward does not reconnect in step."""
        whole = min(self._timing.backoff_most_s, self._timing.backoff_first_s * 2 ** min(failures - 1, 16))
        return whole * random.uniform(0.5, 1.0)

    async def _connect_and_run(self, device: PairedDevice, driver: Driver) -> None:
        progress = self.progress[device.device_id]
        self._connections += 1
        async with open_session(
            self._radio,
            device.address,
            device.device_id,
            f"{self._clock():x}-{self._connections}",
            clock=self._clock,
            cursor=lambda log: self._spool.cursor(_cursor_name(device.device_id, log)),
            on_arrival=progress.on_arrival,
            on_listening=progress.on_listening,
            timing=self._timing,
        ) as session:
            progress.connections += 1
            self._sessions[device.device_id] = session
            try:
                async with aclosing(driver.run(session)) as harvests:
                    keeper = _Keeper(session, self._spool, progress, self._on_rejected)
                    async for harvest in harvests:
                        keeper.keep(harvest)
            finally:
                del self._sessions[device.device_id]


def _cursor_name(device: DeviceId, log: str) -> str:
    return f"{device}/{log}"


class _Keeper:
    """Brings the harvests of one connection into the spool."""

    def __init__(
        self,
        session: BleSession,
        spool: SpoolWriter,
        progress: Progress,
        on_rejected: RejectedCallback | None,
    ) -> None:
        self._session = session
        self._spool = spool
        self._progress = progress
        self._on_rejected = on_rejected
        self._beat_clock: BeatClock | None = None

    def keep(self, harvest: Harvest) -> None:
        """Durable on return: observations, cursors, and the count of both."""
        observations = [kept for item in harvest.items if (kept := self._accept(item)) is not None]
        cursors = {_cursor_name(self._session.device, log): at for log, at in harvest.cursors.items()}
        samples = 0
        if observations or cursors:
            samples = self._spool.append(observations, cursors=cursors)
        self._progress.on_append(harvest.notifications, samples)

    def _accept(self, item: Observation | Beats | Rejected) -> Observation | None:
        if isinstance(item, Observation):
            return item
        clock = self._beats()
        if isinstance(item, Beats):
            return clock.place(item)
        # beats may have been in what was refused
        clock.lose()
        self._progress.rejected[item.reason] += 1
        device = self._session.device
        logger.warning("frame rejected device=%s kind=%s reason=%s", device, item.kind, item.reason)
        if self._on_rejected is not None:
            self._on_rejected(device, item.kind, item.reason, item.payload)
        return None

    def _beats(self) -> BeatClock:
        if self._beat_clock is None:
            session = self._session
            self._beat_clock = BeatClock(session.device, session.connection, session.subscribed_utc)
        return self._beat_clock
