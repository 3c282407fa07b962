"""A strap: what is told while nobody listens is gone, as on the real one."""

from devices.codec import heart_rate
from devices.sim.strap import Strap
from tests.fixtures_ble import Home
from tests.wearers import wearer


class Worn(wearer.Wearer):
    driver = "hr_strap"
    needed = frozenset({heart_rate.MEASUREMENT})
    broken = ((heart_rate.MEASUREMENT, b"\x10\x40\xc0"), (heart_rate.MEASUREMENT, b"\x10\x40\x00\x00"))

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self._told: list[int] = []
        self.wearable = self._strap = Strap("sim strap", wearer.ADDRESS)

    async def live(self) -> None:
        await self.listened_to()
        for _ in range(3):
            first = 700 + len(self._told) % 400
            beats = (first, first + 5)
            self.home.clock.now += 1000 * sum(beats)
            await self.told(self._strap.send_beats(beats))
            self._told += beats

    def check(self) -> None:
        assert self.home.spool.beats() == self._told
        wearer.check_beats(self.home, "ecg")
