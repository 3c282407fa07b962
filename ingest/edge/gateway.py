"""The gateway: visits and holds its paired wearables, and spools before anything else.

One task per live wearable, one visit after another for those with a memory. What
a driver harvests is durable in the spool, cursors included, before the driver
asks for more.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from devices.clock import Clock
from devices.codec import device_information
from devices.drivers.registry import find_driver
from devices.drivers.session import Driver, UnansweredError
from devices.ids import DeviceId, GatewayId
from ingest.edge.errors import EdgeError, IdentityError, LinkError, NotSeenError, RadioError
from ingest.edge.keeper import HEARD_LOG, Keeper, RejectedCallback, SpoolWriter, cursor_name
from ingest.edge.outage import NOT_RUNNING, NOT_YET, STOPPED, Outage
from ingest.edge.progress import GapCallback, Progress
from ingest.edge.radio import Radio
from ingest.edge.session import BleSession, Timing, open_session, read_text
from ingest.errors import SpoolFullError

__all__ = ["Gateway", "PairedDevice", "Progress", "PullResult", "RejectedCallback", "SpoolWriter"]

logger = logging.getLogger(__name__)

#: Visits to a wearable with a memory before it is left for the next round.
PULL_ATTEMPTS: Final = 4
#: Until when it is on record what came from a wearable, or why nothing did (microseconds UTC).
ACCOUNTED_LOG: Final = "accounted"
#: One wording for every size and disk: gaps are counted by their reason.
SPOOL_FULL: Final = "spool full: nothing new is kept"
NO_LINK_FREE: Final = "no link is free: the adapter holds as many as it may"

#: Characters of a firmware's name that are kept.
FIRMWARE_MOST: Final = 64


@dataclass(frozen=True, slots=True)
class PairedDevice:
    """A wearable of this gateway.

    Attributes
    ----------
    device_id : DeviceId
        Its pseudonym.
    address : str
        Its identity address; the one that a bond resolves its private addresses to.
    driver : str
        Registry name of the driver that speaks to it.
    is_bonded : bool
        Whether its link is encrypted with the keys of a bond.
    serial : str, optional
        Serial number that it must state.
    """

    device_id: DeviceId
    address: str
    driver: str
    is_bonded: bool = False
    serial: str | None = None


class PullResult(NamedTuple):
    """Outcome of one history pull; `error` says in words why it ended early."""

    device_id: DeviceId
    samples: int
    error: str | None


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
    on_gap : callable, optional
        Takes each time for which nothing is known: device, gap.
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
        on_gap: GapCallback | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.gateway_id = gateway_id
        self.progress = {device.device_id: Progress(on_gap) for device in devices}
        self._radio = radio
        self._spool = spool
        self._clock = clock
        self._timing = timing or Timing()
        self._on_rejected = on_rejected
        paired = [(device, find_driver(device.driver)) for device in devices]
        self._live = [pair for pair in paired if pair[1].plan == "live"]
        self._history = [pair for pair in paired if pair[1].plan == "history"]
        # held links must leave one for the visits, or they would wait for ever
        held = radio.max_links - 1 if self._history else radio.max_links
        self._held_links = asyncio.Semaphore(max(1, held))
        self._next_visit = 0
        self._outages = {device.device_id: self._first_outage(device.device_id) for device in devices}
        self._sessions: dict[DeviceId, BleSession] = {}
        self._connections = 0
        radio.on_loss.append(self._on_radio_loss)

    def _first_outage(self, device: DeviceId) -> Outage:
        """From what is on record of the process before until this one hears it."""
        now, known = self._clock(), self._on_record_until(device)
        return Outage(now, NOT_YET) if known is None else Outage(min(known, now), NOT_RUNNING)

    def _on_record_until(self, device: DeviceId) -> int | None:
        """Until when it is known what came, or why nothing did; ``None`` for a new wearable."""
        logs = (self._spool.cursor(cursor_name(device, log)) for log in (HEARD_LOG, ACCOUNTED_LOG))
        return max((at for at in logs if at is not None), default=None)

    def _silent_since(self, device: DeviceId) -> int:
        """Since when nothing is known of a wearable that was lost just now."""
        now, heard = self._clock(), self.progress[device].heard_utc
        known = [at for at in (heard, self._on_record_until(device)) if at is not None and at <= now]
        return max(known, default=now)

    def reason_of_silence(self, device: DeviceId) -> str | None:
        """Why a wearable is not heard now, in words; ``None`` while it is."""
        return self._outages[device].reason

    def _on_radio_loss(self, reason: str) -> None:
        for session in list(self._sessions.values()):
            session.end(LinkError(f"adapter lost: {reason}"))

    async def run(self, until: asyncio.Event, *, pull_every_s: float) -> None:
        """Hold the live wearables, and visit the others every `pull_every_s` seconds, until the event."""
        visits = asyncio.create_task(self._keep_visiting(until, pull_every_s))
        try:
            await self.stream_live(until)
        finally:
            visits.cancel()
            with suppress(asyncio.CancelledError):
                await visits

    async def _keep_visiting(self, until: asyncio.Event, every_s: float) -> None:
        while not until.is_set():
            try:
                await self.pull_history()
            except BaseException:
                # an error of the spool ends the gateway, as it does for the held links
                until.set()
                raise
            with suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), every_s)

    async def pull_history(self) -> list[PullResult]:
        """Visit every wearable that has a memory, once, one after the other.

        Each round begins with the wearable after the one that the round before
        began with, so that none is always the last.

        Returns
        -------
        list of PullResult
            One per wearable; an absent wearable is a result, not an exception.
        """
        first = self._next_visit
        self._next_visit = (first + 1) % max(1, len(self._history))
        return [await self._pull(*pair) for pair in self._history[first:] + self._history[:first]]

    async def stream_live(self, until: asyncio.Event) -> None:
        """Hold the links of all live wearables until the event is set.

        What had arrived by then is in the spool on return. An error of the spool
        ends the streaming and is raised.
        """
        tasks = {asyncio.create_task(self._hold(*pair, until)): pair[0].device_id for pair in self._live}
        stop = asyncio.create_task(until.wait())
        try:
            await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            for task, device_id in tasks.items():
                if session := self._sessions.get(device_id):
                    session.end(LinkError(STOPPED))
                else:
                    task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _pull(self, device: PairedDevice, driver: Driver) -> PullResult:
        progress, outage = self.progress[device.device_id], self._outages[device.device_id]
        before, began = progress.samples, self._clock()
        error: EdgeError | str | None = None
        for attempt in range(PULL_ATTEMPTS):
            if attempt:
                await asyncio.sleep(self._pause_s(attempt))
            try:
                await self._connect_and_run(device, driver)
                # it remembers what happened meanwhile: a time without a visit is no gap
                outage.end(self._clock())
                return PullResult(device.device_id, progress.samples - before, None)
            except EdgeError as caught:
                error = caught
                logger.warning("pull failed device=%s attempt=%d error=%s", device.device_id, attempt, error)
            except SpoolFullError as caught:
                # its cursors stand where they stood: what it remembers is asked for again
                logger.error("pull ended device=%s error=%s", device.device_id, caught)
                error = SPOOL_FULL
                break
        # each failed visit puts the time since the one before on record, and no time twice
        outage.begin(self._silent_since(device.device_id), str(error))
        self._close(device.device_id, outage, began)
        outage.begin(max(began, progress.heard_utc or began), str(error))
        return PullResult(device.device_id, progress.samples - before, str(error))

    async def _hold(self, device: PairedDevice, driver: Driver, until: asyncio.Event) -> None:
        outage = self._outages[device.device_id]
        if outage.reason is None:
            # held before, and let go
            outage.begin(self._silent_since(device.device_id), NOT_RUNNING)
        try:
            await self._keep_holding(device, driver, until, outage)
        finally:
            # what is not known when the gateway ends is on record, not only when it is known again
            self._close(device.device_id, outage, self._clock())

    async def _keep_holding(
        self, device: PairedDevice, driver: Driver, until: asyncio.Event, outage: Outage
    ) -> None:
        failures = 0
        progress = self.progress[device.device_id]
        while not until.is_set():
            before = progress.samples
            if self._held_links.locked():
                outage.note(NO_LINK_FREE)
            try:
                async with self._held_links:
                    await self._connect_and_run(device, driver, outage)
            except EdgeError as error:
                # a link that brought something was a good one: try again at once
                failures = 1 if progress.samples > before else failures + 1
                if until.is_set():
                    return
                outage.begin(self._silent_since(device.device_id), str(error))
                logger.info("link ended device=%s failures=%d error=%s", device.device_id, failures, error)
                # looking for an absent wearable is waiting already
                if isinstance(error, NotSeenError):
                    failures = 1
            except SpoolFullError as error:
                # what a stream said is gone: on record at once, for the box may be stopped while it is full
                failures = 1 if progress.samples > before else failures + 1
                logger.error("observations_not_kept device=%s error=%s", device.device_id, error)
                outage.begin(self._silent_since(device.device_id), SPOOL_FULL)
                self._close(device.device_id, outage, self._clock())
                outage.begin(self._clock(), SPOOL_FULL)
            with suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), self._pause_s(max(1, failures)))

    def _close(self, device: DeviceId, outage: Outage, at_utc: int) -> None:
        """Put an outage on record; the next gap begins where it ends."""
        gap = outage.end(at_utc)
        if gap is None:
            return
        self.progress[device].on_gap(device, gap)
        # a full spool takes no cursor: after a restart the time is on record twice
        with suppress(SpoolFullError):
            self._spool.append((), cursors={cursor_name(device, ACCOUNTED_LOG): gap.end_utc})

    def _pause_s(self, failures: int) -> float:
        """Back-off, doubled with each failure; jittered so that a ward does not reconnect in step."""
        whole = min(self._timing.backoff_most_s, self._timing.backoff_first_s * 2 ** min(failures - 1, 16))
        return whole * random.uniform(0.5, 1.0)

    async def _connect_and_run(
        self, device: PairedDevice, driver: Driver, outage: Outage | None = None
    ) -> None:
        progress = self.progress[device.device_id]
        async with self._open(device) as session:
            progress.connections += 1
            self._sessions[device.device_id] = session
            watch = asyncio.create_task(self._watch_silence(session, driver, progress))
            try:
                async with aclosing(driver.run(session)) as harvests:
                    keeper = Keeper(session, self._spool, progress, self._on_rejected)
                    is_first = True
                    async for harvest in harvests:
                        keeper.keep(harvest)
                        if is_first:
                            # only now: a beat that comes meanwhile waits in the stream
                            is_first = False
                            await self._note_firmware(session)
                        if outage is not None:
                            self._close(device.device_id, outage, session.subscribed_utc)
            finally:
                watch.cancel()
                del self._sessions[device.device_id]

    async def _note_firmware(self, session: BleSession) -> None:
        """By which firmware something was measured can be asked years later; it must cost no observation."""
        # of a link that is lost meanwhile the driver hears when it has taken what came
        with suppress(UnansweredError, EdgeError, SpoolFullError):
            if version := await read_text(session, device_information.FIRMWARE):
                self._spool.note_firmware(session.device, version[:FIRMWARE_MOST])

    @asynccontextmanager
    async def _open(self, device: PairedDevice) -> AsyncGenerator[BleSession]:
        progress = self.progress[device.device_id]
        self._connections += 1
        try:
            async with open_session(
                self._radio,
                device.address,
                device.device_id,
                f"{self._clock():x}-{self._connections}",
                clock=self._clock,
                cursor=lambda log: self._spool.cursor(cursor_name(device.device_id, log)),
                on_arrival=progress.on_arrival,
                on_listening=progress.on_listening,
                timing=self._timing,
                is_bonded=device.is_bonded,
                serial=device.serial,
            ) as session:
                yield session
        except RadioError as error:
            self._radio.lose_host(str(error))
            raise
        except IdentityError:
            logger.error("another wearable answers device=%s", device.device_id)
            raise

    async def _watch_silence(self, session: BleSession, driver: Driver, progress: Progress) -> None:
        """End the link of a live wearable that no longer says anything, however well it looks."""
        if driver.plan != "live":
            return
        silence_s = getattr(driver, "silence_s", self._timing.silence_s)
        arrived = -1
        while arrived != progress.arrived:
            arrived = progress.arrived
            await asyncio.sleep(silence_s)
        session.end(LinkError(f"link silent for {silence_s:g} s"))
