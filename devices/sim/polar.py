"""Simulated Polar optical sensor: starts on command, says intervals with its doubts, stamps its frames."""

from collections.abc import Iterable, Sequence

from devices.clock import SECOND, Clock
from devices.codec import polar_pmd
from devices.codec.polar_pmd import Answer, Frame, Sample
from devices.errors import DecodeError
from devices.sim.wearable import (
    Characteristic,
    Property,
    Service,
    Wearable,
    battery_service,
    information_service,
)

#: From the start of the stream to its first intervals.
WARM_UP_S = 25
_MINUTE_MS = 60_000


class PolarSensor(Wearable):
    """Verity Sense and its kind: PMD with PPI, Battery, Device Information.

    Parameters
    ----------
    clock : Clock
        True time, microseconds UTC.
    offset_us : int
        Error of its clock; ``reset_clock`` makes it begin 2019 again.
    has_time : bool
        Without it frames carry no time, as on old firmware.
    """

    def __init__(
        self, name: str, address: str, *, clock: Clock, offset_us: int = 0, has_time: bool = True
    ) -> None:
        self.offset_us = offset_us
        self.has_time = has_time
        self.battery_pct = 71
        #: On the charger it refuses to measure.
        self.is_charging = False
        #: How often it was asked to start.
        self.starts = 0
        self._clock = clock
        self._started_utc: int | None = None
        control = Characteristic(
            polar_pmd.CONTROL,
            Property.READ | Property.WRITE | Property.NOTIFY,
            read=lambda: polar_pmd.encode_features([polar_pmd.PPG, polar_pmd.PPI]),
            write=self._on_command,
        )
        services = (
            Service(polar_pmd.SERVICE, (control, Characteristic(polar_pmd.DATA, Property.NOTIFY))),
            battery_service(lambda: self.battery_pct),
            information_service(maker="flarecast", model="sim-optical", serial=address, firmware="1.0"),
        )
        super().__init__(name, address, services, (polar_pmd.SERVICE,))

    async def _on_command(self, payload: bytes) -> None:
        try:
            op, measurement = polar_pmd.decode_command(payload)
        except DecodeError:
            return
        error = self._obey(op) if measurement == polar_pmd.PPI else 3
        await self.notify(polar_pmd.CONTROL, polar_pmd.encode_answer(Answer(op, measurement, error)))

    def _obey(self, op: int) -> int:
        if op == polar_pmd.START:
            self.starts += 1
            if self.is_charging:
                return polar_pmd.ON_CHARGER
            self._started_utc = self._clock()
        elif op == polar_pmd.STOP:
            self._started_utc = None
        return polar_pmd.OK

    def reset_clock(self) -> None:
        """Lose power: its time is the first of January 2019."""
        self.offset_us = polar_pmd.RESET_UTC - self._clock()

    @property
    def is_measuring(self) -> bool:
        """Whether the stream was started and has warmed up."""
        return self._started_utc is not None and self._clock() - self._started_utc >= WARM_UP_S * SECOND

    async def send_pulses(self, intervals_ms: Iterable[int]) -> bool:
        """Notify exact intervals; False when they went nowhere."""
        return await self.send_samples(
            [Sample(_MINUTE_MS // max(ms, 240), ms, 5, has_contact=True) for ms in intervals_ms]
        )

    async def send_samples(self, samples: Sequence[Sample]) -> bool:
        """Notify samples of which the last is now; False when nobody listens or it does not measure yet."""
        if not self.is_measuring:
            return False
        now = self._clock() + self.offset_us
        stamp = (now - polar_pmd.EPOCH_UTC) * 1000 if self.has_time else None
        return await self.send_frame(polar_pmd.encode_ppi(Frame(stamp, tuple(samples))))

    async def send_frame(self, frame: bytes) -> bool:
        """Notify any bytes, for faults; False when nobody listens."""
        return await self.notify(polar_pmd.DATA, frame)
