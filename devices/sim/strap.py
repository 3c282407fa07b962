"""Simulated heart-rate strap: it says the RR intervals it is given, and forgets them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from devices.codec import heart_rate
from devices.sim.wearable import (
    Characteristic,
    Property,
    Service,
    Wearable,
    battery_service,
    information_service,
    readable,
)
from devices.units import RR_MAX_MS

_CHEST = b"\x01"
_MINUTE_MS = 60_000


class Step(NamedTuple):
    """One notification to come: how much time passes before it (ms), and the RR intervals in it (ms)."""

    elapsed_ms: int
    rr_ms: tuple[int, ...]


def plan_stream(intervals_ms: Iterable[int], per_notification: int) -> Iterator[Step]:
    """Notifications of a recording, `per_notification` intervals each.

    An interval longer than a frame can say (63,999 ms) is silence: nothing is
    sent for its length, and the intervals before it go out first.
    """
    silence, group = 0, list[int]()
    for interval in intervals_ms:
        if interval > RR_MAX_MS:
            if group:
                yield Step(silence + sum(group), tuple(group))
                silence, group = 0, []
            silence += interval
            continue
        group.append(interval)
        if len(group) == per_notification:
            yield Step(silence + sum(group), tuple(group))
            silence, group = 0, []
    if group:
        yield Step(silence + sum(group), tuple(group))


class Strap(Wearable):
    """Chest strap: Heart Rate with RR intervals, Battery, Device Information."""

    def __init__(self, name: str, address: str, *, battery_pct: int = 87) -> None:
        self.battery_pct = battery_pct
        #: How often its battery was asked: observations this strap has made beside its beats.
        self.battery_reads = 0
        measurement = Characteristic(heart_rate.MEASUREMENT, Property.NOTIFY)
        services = (
            Service(heart_rate.SERVICE, (measurement, readable(heart_rate.BODY_LOCATION, _CHEST))),
            battery_service(self._read_battery),
            information_service(maker="flarecast", model="sim-strap", serial=address, firmware="1.0"),
        )
        super().__init__(name, address, services, (heart_rate.SERVICE,))

    def _read_battery(self) -> int:
        self.battery_reads += 1
        return self.battery_pct

    async def send_beats(self, rr_ms: tuple[int, ...]) -> bool:
        """Notify RR intervals (ms, none longer than 63,999); False when nobody listens."""
        bpm = min(255, round(_MINUTE_MS * len(rr_ms) / max(1, sum(rr_ms))))
        return await self.send_frame(heart_rate.encode_beats(bpm, rr_ms))

    async def send_frame(self, frame: bytes) -> bool:
        """Notify any bytes, for faults; False when nobody listens."""
        return await self.notify(heart_rate.MEASUREMENT, frame)
