"""Heart-rate strap: Heart Rate Service with RR intervals, streamed live."""

from collections.abc import AsyncGenerator
from typing import Final

from devices.clock import SECOND
from devices.codec import heart_rate
from devices.drivers.readings import read_battery
from devices.drivers.session import (
    Beats,
    Harvest,
    Item,
    Notification,
    Plan,
    Rejected,
    Session,
)
from devices.errors import DecodeError
from devices.ids import DeviceId
from devices.observations import HeartRate, RrInterval

_MAX_RATE: Final = 255
#: One transaction, one fsync, for what comes within this time; a strap notifies once a second.
_GATHER_S: Final = 0.05


class HrStrap:
    """Chest strap (ECG): every RR interval, and the battery at the start of a connection.

    A frame without RR intervals gives its heart rate for the second before it
    came, so that a strap (or an optical band) that sends no RR is not silent.
    """

    name: str = "hr_strap"
    plan: Plan = "live"
    services: tuple[str, ...] = (heart_rate.SERVICE,)
    #: By the Battery Service.
    read_battery = staticmethod(read_battery)

    async def run(self, session: Session) -> AsyncGenerator[Harvest]:
        """Stream until the link ends."""
        # subscribe first: a beat during the battery reading is a beat too
        async with session.notifications(heart_rate.MEASUREMENT) as stream:
            yield await read_battery(session)
            while True:
                batch = await stream.take(gather_s=_GATHER_S)
                items = tuple(item for frame in batch for item in read_frame(session.device, frame))
                yield Harvest(items, notifications=len(batch))


def read_frame(device: DeviceId, frame: Notification) -> tuple[Item, ...]:
    """What one Heart Rate Measurement says: beats, or a rate, or nothing, or a reason to reject it."""
    try:
        measurement = heart_rate.decode(frame.payload)
    except DecodeError as error:
        return (Rejected(RrInterval.kind, str(error), frame.payload),)
    if measurement.rr_ticks:
        # all or nothing: which of the beats is false is not known
        if 0 in measurement.rr_ticks:
            return (Rejected(RrInterval.kind, "heart rate: RR interval of 0", frame.payload),)
        return (Beats(frame.arrival_utc, measurement.rr_ms, "ecg", heart_rate.SOURCE, frame.payload),)
    if not measurement.bpm:
        return ()
    if measurement.bpm > _MAX_RATE:
        reason = f"heart rate: {measurement.bpm} beats per minute"
        return (Rejected(HeartRate.kind, reason, frame.payload),)
    rate = HeartRate(
        device=device,
        start_utc=frame.arrival_utc - SECOND,
        source=heart_rate.SOURCE,
        period_s=1,
        bpm=bytes([measurement.bpm]),
    )
    return (rate,)
