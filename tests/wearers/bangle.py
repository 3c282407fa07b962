"""A Bangle.js: blocks of ten minutes, remembered for months."""

from devices.clock import MINUTE
from devices.codec import banglejs
from devices.codec.banglejs import Block
from devices.observations import StepCount
from devices.sim.bangle import BangleWatch
from tests.fixtures_ble import Home, samples
from tests.wearers import wearer

BLOCK = 10 * MINUTE


class Worn(wearer.Wearer):
    driver = "bangle"
    needed = frozenset({banglejs.WRITE, banglejs.NOTIFY})
    broken = ((banglejs.NOTIFY, b'{"t":"act","ts":17053\n'), (banglejs.NOTIFY, b"\xff\xfe{\n"))

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self._truth: dict[int, int] = {}
        self.wearable = self._watch = BangleWatch("sim bangle", wearer.ADDRESS, clock=home.clock, chunk=60)

    async def live(self) -> None:
        for steps in (30, 41, 52):
            start = self.home.clock.now // BLOCK * BLOCK
            self.home.clock.now = start + BLOCK
            self._truth[start] = steps
            end_ms = (start + BLOCK + self._watch.offset_us) // 1000
            self._watch.remember([Block(end_ms, steps, 60, 10, "WALKING")])

    def check(self) -> None:
        found = samples(self.home.spool.observations, keep=StepCount)
        if self.home.was_wrong:
            # what the watch wrote by a wrong clock keeps that time
            assert sorted(found.values()) == sorted(self._truth.values())
        else:
            assert found == self._truth
