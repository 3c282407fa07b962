"""A Polar sensor: what is told while nobody listens is gone, as on the real one."""

from devices.clock import MINUTE, SECOND
from devices.codec import polar_pmd
from devices.sim.polar import WARM_UP_S, PolarSensor
from tests.fixtures_ble import Home, until
from tests.wearers import wearer


class Worn(wearer.Wearer):
    driver = "polar_ppi"
    needed = frozenset({polar_pmd.CONTROL, polar_pmd.DATA})
    broken = ((polar_pmd.DATA, b"\x03" + bytes(12)), (polar_pmd.DATA, b"\x09"))

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self._told: list[int] = []
        # connections and starts when it was last worn: every connection begins with a start
        self._seen = (0, 0)
        self.wearable = self._sensor = PolarSensor("sim polar", wearer.ADDRESS, clock=home.clock)

    async def live(self) -> None:
        await self.listened_to()
        await until(lambda: self._has_started() and self.progress.appended == self.progress.arrived)
        self._seen = (self.progress.connections, self._sensor.starts)
        if not self._sensor.is_measuring:
            self.home.clock.now += WARM_UP_S * SECOND
        for _ in range(3):
            first = 700 + len(self._told) % 400
            pulses = [first, first + 5]
            self.home.clock.now += 1000 * sum(pulses)
            await self.told(self._sensor.send_pulses(pulses))
            self._told += pulses

    def _has_started(self) -> bool:
        connections, starts = self._seen
        return self.progress.connections == connections or self._sensor.starts > starts

    def away(self) -> None:
        self.home.clock.now += 3 * MINUTE

    def check(self) -> None:
        assert self.home.spool.beats() == self._told
        wearer.check_beats(self.home, "ppg")
