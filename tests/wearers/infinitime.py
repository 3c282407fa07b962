"""A PineTime: the counter goes on out of reach, and comes as one interval."""

from devices.clock import HOUR, MINUTE, SECOND
from devices.codec import infinitime
from devices.sim.watch import Watch
from tests.fixtures_ble import Home, until
from tests.wearers import wearer


class Worn(wearer.Wearer):
    driver = "infinitime"
    needed = frozenset({infinitime.STEPS})
    broken = ((infinitime.STEPS, b"\x01"), (infinitime.STEPS, bytes(5)))

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self._walked = 0
        self.wearable = self._watch = Watch("sim pinetime", wearer.ADDRESS, clock=home.clock)

    async def live(self) -> None:
        await self.listened_to()
        for steps in (30, 41, 52):
            self.home.clock.now += 30 * SECOND
            await self.told(self._watch.walk(steps))
            self._walked += steps
        self.home.clock.now += 2 * MINUTE
        await until(lambda: sum(wearer.step_intervals(self.home)) == self._walked)

    def away(self) -> None:
        self.home.clock.now += 2 * HOUR

    def check(self) -> None:
        assert sum(wearer.step_intervals(self.home)) == self._walked
