"""Polar optical sensor (OH1, Verity Sense): pulse-to-pulse intervals, streamed live.

The sensor computes intervals only at rest and says how far each can be trusted.
What it marks as moved, off the skin or inexact is not stored and not bridged: the
run ends there, and the next says how long the silence was.
"""

from collections import deque
from collections.abc import AsyncGenerator
from itertools import groupby
from typing import Final

from devices.clock import SECOND
from devices.codec import polar_pmd
from devices.codec.polar_pmd import Frame, Sample
from devices.drivers.readings import read_battery
from devices.drivers.session import Beats, Harvest, Item, Notification, Plan, Rejected, Session, Stream
from devices.errors import DecodeError
from devices.observations import RrInterval

#: Seconds the sensor's clock is ahead of UTC when it states a time; years behind after a loss of power.
OFFSET_LOG: Final = "clock-offset-s"
#: Polar: above it movement or a loose strap must be suspected; below 10 ms an interval is exact.
MOST_ERROR_MS: Final = 30
ANSWER_TIMEOUT_S: Final = 5.0
#: A sensor on its charger refuses to start: it is asked again after this time.
RETRY_S: Final = 30.0
#: Stamps and arrival that part by more are not two crystals: the sensor's clock was set, or reset.
CLOCK_STEP_US: Final = 10 * SECOND
#: Frames in which the least delayed is looked for: minutes, so that crystals may differ.
DELAYS_KEPT: Final = 64
NOT_ANSWERED: Final = "polar: start not answered"
COPY: Final = "polar: copy of the frame before it"
#: Kind of a refused frame in which no interval was: the run goes on.
FRAME_KIND: Final = "ppi_frame"
_GATHER_S: Final = 0.05


class PolarPpi:
    """Starts the PPI stream and takes the intervals that the sensor vouches for; and the battery, once."""

    name: str = "polar_ppi"
    plan: Plan = "live"
    services: tuple[str, ...] = (polar_pmd.SERVICE,)
    #: The first intervals come about 25 s after the start, whatever the gateway thinks of silence.
    silence_s: float = 60.0
    #: By the Battery Service.
    read_battery = staticmethod(read_battery)

    async def run(self, session: Session) -> AsyncGenerator[Harvest]:
        """Stream until the link ends."""
        # before subscribing: BlueZ echoes what is read of a subscribed characteristic
        yield await _check_features(session)
        async with (
            session.notifications(polar_pmd.DATA) as stream,
            session.notifications(polar_pmd.CONTROL) as control,
        ):
            yield await read_battery(session)
            while True:
                started = await _start(session, control)
                yield started
                if not started.items:
                    break
                yield Harvest((), notifications=await _wait(control))
            reader = FrameReader()
            while True:
                batch = await stream.take(gather_s=_GATHER_S)
                items = tuple(item for frame in batch for item in reader.read(frame))
                offset = reader.offset_s
                cursors = {} if offset in (None, session.cursor(OFFSET_LOG)) else {OFFSET_LOG: offset}
                yield Harvest(items, cursors, notifications=len(batch))


async def _check_features(session: Session) -> Harvest:
    """Whether it has intervals at all; a sensor that wants a bond first refuses here, and the link ends."""
    payload = await session.read(polar_pmd.CONTROL)
    try:
        if polar_pmd.PPI in polar_pmd.decode_features(payload):
            return Harvest(())
        reason = "polar: sensor without pulse intervals"
    except DecodeError as error:
        reason = str(error)
    return Harvest((Rejected(RrInterval.kind, reason, payload),))


async def _start(session: Session, control: Stream) -> Harvest:
    """Start the stream; holds what was answered instead when it was refused."""
    await session.write(polar_pmd.CONTROL, polar_pmd.encode_command(polar_pmd.START))
    answers = 0
    try:
        while True:
            batch = await control.take(ANSWER_TIMEOUT_S)
            answers += len(batch)
            for frame in batch:
                try:
                    if is_started(frame.payload):
                        return Harvest((), notifications=answers)
                except DecodeError as error:
                    refusal = Rejected(RrInterval.kind, str(error), frame.payload)
                    return Harvest((refusal,), notifications=answers)
    except TimeoutError:
        return Harvest((Rejected(RrInterval.kind, NOT_ANSWERED, b""),), notifications=answers)


def is_started(payload: bytes) -> bool:
    """Whether it says that the PPI stream runs; False when it is about something else.

    Raises
    ------
    DecodeError
        When it says that the stream does not run, and why; or is not an answer.
    """
    answer = polar_pmd.decode_answer(payload)
    if (answer.op, answer.measurement) != (polar_pmd.START, polar_pmd.PPI):
        return False
    if answer.error in (polar_pmd.OK, polar_pmd.ALREADY_STARTED):
        return True
    raise DecodeError(f"polar: not started, {answer.reason}")


async def _wait(control: Stream) -> int:
    """Notifications that came until it is time to ask again."""
    try:
        return len(await control.take(RETRY_S))
    except TimeoutError:
        return 0


class FrameReader:
    """Reads the frames of one connection, and turns their stamps into the gateway's time.

    The radio delays, it never hastens: the smallest difference between arrival and
    stamp is the offset of the clocks. A stamp of 0 says nothing, and its frame
    counts from arrival.
    """

    def __init__(self) -> None:
        self._delays: deque[int] = deque(maxlen=DELAYS_KEPT)
        self._latest = 0
        self._before = Notification(b"", 0)
        #: Seconds the sensor is ahead of the gateway; ``None`` while it states no time.
        self.offset_s: int | None = None

    def read(self, frame: Notification) -> list[Item]:
        """Runs of trusted intervals in one notification, and what lies between them."""
        try:
            decoded = polar_pmd.decode_ppi(frame.payload)
        except DecodeError as error:
            return [Rejected(RrInterval.kind, str(error), frame.payload)]
        if self._is_copy(frame, decoded):
            return [Rejected(FRAME_KIND, COPY, frame.payload)]
        end_utc = self._utc(decoded.stamp_utc, frame.arrival_utc)
        left = sum(sample.interval_ms for sample in decoded.samples)
        items: list[Item] = []
        for is_good, group in groupby(decoded.samples, lambda sample: doubt(sample) is None):
            samples = list(group)
            left -= sum(sample.interval_ms for sample in samples)
            payload = polar_pmd.encode_samples(samples)
            if is_good:
                rr_ms = tuple(sample.interval_ms for sample in samples)
                last_utc = self._forward(end_utc - left * 1000, frame.arrival_utc)
                items.append(Beats(last_utc, rr_ms, "ppg", polar_pmd.SOURCE, payload))
            else:
                items.append(Rejected(RrInterval.kind, doubt(samples[0]) or "", payload))
        return items

    def _is_copy(self, frame: Notification, decoded: Frame) -> bool:
        """Whether the frame before came again; the beat clock cannot tell once a doubt has cut it in runs."""
        before, self._before = self._before, frame
        if frame.payload != before.payload or not decoded.samples:
            return False
        if decoded.stamp_ns is not None:
            return True
        # without a time: several intervals do not repeat to the millisecond before they are over
        heart_us = 1000 * sum(sample.interval_ms for sample in decoded.samples)
        return len(decoded.samples) > 1 and frame.arrival_utc - before.arrival_utc < heart_us // 2

    def _utc(self, stamp_utc: int | None, arrival_utc: int) -> int:
        """Time of the last sample by the gateway's clock, microseconds UTC; never after arrival."""
        if stamp_utc is None:
            return arrival_utc
        delay = arrival_utc - stamp_utc
        if not self._delays or abs(delay - self._delays[-1]) > CLOCK_STEP_US:
            self._delays.clear()
            self.offset_s = round(-delay / SECOND)
        self._delays.append(delay)
        return stamp_utc + min(self._delays)

    def _forward(self, end_utc: int, arrival_utc: int) -> int:
        """`end_utc`, or the latest before it: an estimate that got better turns no time back."""
        if arrival_utc < self._latest:
            # the gateway's own clock was set back, and the beat clock puts that on record
            self._latest = 0
        self._latest = max(self._latest, end_utc)
        return self._latest


def doubt(sample: Sample) -> str | None:
    """Why an interval is not to be stored; ``None`` when it is."""
    if sample.is_blocked:
        return "polar: movement"
    # a sensor that cannot tell contact says "no" beside "not supported"
    if sample.has_contact is False:
        return "polar: no skin contact"
    if sample.error_ms > MOST_ERROR_MS:
        return f"polar: error estimate above {MOST_ERROR_MS} ms"
    if sample.interval_ms == 0:
        return "polar: interval of 0"
    return None
