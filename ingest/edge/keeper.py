"""From what a driver harvests to what the spool keeps: beats get their time, doubts are set aside."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final, Protocol

from devices.blobs import pack_u16
from devices.drivers.session import Beats, Harvest, Item, Rejected
from devices.ids import DeviceId
from devices.observations import Observation, RrInterval
from ingest.edge.beats import BeatClock, Refusal
from ingest.edge.progress import Progress
from ingest.edge.session import BleSession

logger = logging.getLogger(__name__)

#: Cursors that tell of a wearable's clock: how far it was off, and when it was set.
CLOCK_PREFIX: Final = "clock-"
#: Cursor of when something last came, microseconds UTC.
HEARD_LOG: Final = "heard"
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

    def note_firmware(self, device: str, version: str) -> None:
        """Keep the firmware a wearable states."""
        ...


def cursor_name(device: DeviceId, log: str) -> str:
    """Name of a device's cursor in the spool."""
    return f"{device}/{log}"


class Keeper:
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
        observations = self._accept(harvest.items)
        device = self._session.device
        cursors = {cursor_name(device, log): at for log, at in harvest.cursors.items()}
        for log, at in harvest.cursors.items():
            if log.startswith(CLOCK_PREFIX):
                logger.info("clock device=%s %s=%d", device, log, at)
        samples = 0
        if observations or cursors:
            samples = self._spool.append(observations, cursors=cursors)
            if cursors:
                self._progress.revised += self._progress.said.note(observations)
        for gap in harvest.gaps:
            self._progress.on_gap(device, gap)
        if observations:
            self._progress.heard_utc = self._session.now()
        self._progress.on_append(harvest.notifications, samples)

    def _accept(self, items: Sequence[Item]) -> list[Observation]:
        kept: list[Observation] = []
        # beats that came together are judged together
        for is_beats, group in groupby(items, lambda item: isinstance(item, Beats)):
            if is_beats:
                kept += self._place([item for item in group if isinstance(item, Beats)])
                continue
            for item in group:
                if isinstance(item, Observation):
                    kept.append(item)
                elif isinstance(item, Rejected):
                    if item.kind == RrInterval.kind:
                        # beats may have been in what was refused
                        self._beats().lose()
                    self._reject(item)
        return kept

    def _place(self, together: Sequence[Beats]) -> list[RrInterval]:
        clock = self._beats()
        runs: list[RrInterval] = []
        for placed in clock.place(together):
            if isinstance(placed, Refusal):
                beats = placed.beats
                payload = beats.payload or pack_u16(beats.rr_ms)
                self._reject(Rejected(RrInterval.kind, placed.reason, payload))
            else:
                runs.append(placed)
        gaps, clock.gaps = clock.gaps, []
        for gap in gaps:
            self._progress.on_gap(self._session.device, gap)
        return runs

    def _reject(self, item: Rejected) -> None:
        self._progress.rejected[item.reason] += 1
        device = self._session.device
        logger.warning("frame rejected device=%s kind=%s reason=%s", device, item.kind, item.reason)
        if self._on_rejected is not None:
            self._on_rejected(device, item.kind, item.reason, item.payload)

    def _beats(self) -> BeatClock:
        if self._beat_clock is None:
            session = self._session
            self._beat_clock = BeatClock(session.device, session.connection, session.subscribed_utc)
        return self._beat_clock
