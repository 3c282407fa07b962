"""A physical activity monitor: sums of a session, told while listened to."""

from devices.clock import MINUTE
from devices.codec import physical_activity
from devices.sim.activity_monitor import Monitor
from tests.fixtures_ble import Home
from tests.wearers import wearer


class Worn(wearer.Wearer):
    driver = "activity_monitor"
    needed = frozenset()
    spoken = frozenset({physical_activity.STEP_SUMMARY})
    broken = ((physical_activity.STEP_SUMMARY, b"\x80\x11"), (physical_activity.SLEEP_INSTANT, b"\x80"))

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self._walked = 0
        self.wearable = self._monitor = Monitor("sim monitor", wearer.ADDRESS, clock=home.clock)

    async def live(self) -> None:
        await self.listened_to()
        for steps in (30, 41, 52):
            self.home.clock.now += MINUTE
            await self.told(self._monitor.walk(steps, 60))
            self._walked += steps

    def check(self) -> None:
        assert sum(wearer.step_intervals(self.home)) == self._walked
