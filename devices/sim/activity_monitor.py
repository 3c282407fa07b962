"""Simulated wearable with the Physical Activity Monitor Service, as its draft says."""

from devices.clock import SECOND, Clock
from devices.codec import physical_activity as pams
from devices.codec.physical_activity import Head, SleepInstant, StepSummary
from devices.sim.wearable import (
    Characteristic,
    Property,
    Service,
    Wearable,
    battery_service,
    information_service,
)


class Monitor(Wearable):
    """The reference wearable of a service that no shipping one has.

    Parameters
    ----------
    clock : Clock
        True time, microseconds UTC; the session begins now.
    """

    def __init__(self, name: str, address: str, *, clock: Clock) -> None:
        self.battery_pct = 90
        self._clock = clock
        self._session, self._sub_session, self._sequence = 1, 1, 0
        self._began = clock()
        self._steps = self._worn_s = 0
        # real ones indicate these two; to a central it is the same
        services = (
            Service(
                pams.SERVICE,
                (
                    Characteristic(pams.STEP_SUMMARY, Property.NOTIFY),
                    Characteristic(pams.SLEEP_INSTANT, Property.NOTIFY),
                ),
            ),
            battery_service(lambda: self.battery_pct),
            information_service(maker="flarecast", model="sim-monitor", serial=address, firmware="1.0"),
        )
        super().__init__(name, address, services, (pams.SERVICE,))

    def begin_session(self) -> None:
        """Begin the next session; sums and time begin at 0."""
        self._session, self._sub_session, self._began = self._session + 1, 1, self._clock()
        self._steps = self._worn_s = 0

    def begin_sub_session(self) -> None:
        """Begin the next sub-session; sums begin at 0."""
        self._sub_session += 1
        self._steps = self._worn_s = 0

    async def walk(self, steps: int, worn_s: int) -> bool:
        """Add steps and worn seconds, and say the sums; False when nobody listens."""
        self._steps += steps
        self._worn_s += worn_s
        summary = StepSummary(head=self._head(), walking_steps=self._steps, worn_s=self._worn_s)
        return await self.notify(pams.STEP_SUMMARY, pams.encode_step_summary(summary))

    async def sleep(self, stage: int, bpm: int) -> bool:
        """Say the stage (bit number) and heart rate of now; False when nobody listens."""
        instant = SleepInstant(head=self._head(), stage_bits=1 << stage, bpm=bpm)
        return await self.notify(pams.SLEEP_INSTANT, pams.encode_sleep_instant(instant))

    def _head(self) -> Head:
        self._sequence += 1
        return Head(self._session, self._sub_session, (self._clock() - self._began) // SECOND, self._sequence)
