"""Simulated PineTime with InfiniTime: a step counter that begins anew at its own midnight, and a clock."""

from devices.clock import DAY, Clock, from_utc, to_utc
from devices.codec import current_time, heart_rate, infinitime
from devices.codec.current_time import WallTime
from devices.codec.heart_rate import Measurement
from devices.errors import DecodeError
from devices.sim.wearable import (
    Characteristic,
    Property,
    Service,
    Wearable,
    battery_service,
    information_service,
)


class Watch(Wearable):
    """PineTime: motion service, Heart Rate without RR, Current Time as server.

    Parameters
    ----------
    clock : Clock
        True time, microseconds UTC.
    offset_us : int
        How far its wall time is ahead of UTC: zone and drift.
    """

    def __init__(self, name: str, address: str, *, clock: Clock, offset_us: int = 0) -> None:
        self.offset_us = offset_us
        self.battery_pct = 55
        self._clock = clock
        self._steps = 0
        self._day = self._wall // DAY
        time = Characteristic(
            current_time.CURRENT_TIME,
            Property.READ | Property.WRITE,
            read=self._read_time,
            write=self._set_time,
        )
        motion = Characteristic(
            infinitime.STEPS,
            Property.READ | Property.NOTIFY,
            read=lambda: infinitime.encode_steps(self.steps),
        )
        rate = Characteristic(heart_rate.MEASUREMENT, Property.NOTIFY)
        services = (
            Service(infinitime.SERVICE, (motion,)),
            Service(heart_rate.SERVICE, (rate,)),
            Service(current_time.SERVICE, (time,)),
            battery_service(lambda: self.battery_pct),
            information_service(maker="flarecast", model="sim-pinetime", serial=address, firmware="1.15.0"),
        )
        super().__init__(name, address, services, (infinitime.SERVICE,))

    @property
    def _wall(self) -> int:
        return self._clock() + self.offset_us

    @property
    def steps(self) -> int:
        """Steps of its day so far."""
        if self._wall // DAY != self._day:
            self._steps, self._day = 0, self._wall // DAY
        return self._steps

    def _read_time(self) -> bytes:
        return current_time.encode(WallTime(from_utc(self._wall)))

    async def _set_time(self, payload: bytes) -> None:
        try:
            moment = current_time.decode(payload).moment
        except DecodeError:
            return
        self.offset_us = to_utc(moment) - self._clock()

    async def walk(self, steps: int) -> bool:
        """Make steps; the counter is notified; False when nobody listens."""
        self._steps = self.steps + steps
        return await self._say_steps()

    async def pass_midnight(self) -> None:
        """Notify the counter of the new day, as the watch does of its own accord."""
        assert self.steps == 0
        await self._say_steps()

    def restart(self) -> None:
        """Lose the counter, and the time: it is 1970 again."""
        self._steps = self._day = 0
        self.offset_us = -self._clock()

    async def beat(self, bpm: int) -> None:
        """Notify a heart rate."""
        await self.notify(heart_rate.MEASUREMENT, heart_rate.encode(Measurement(bpm)))

    async def _say_steps(self) -> bool:
        return await self.notify(infinitime.STEPS, infinitime.encode_steps(self._steps))
