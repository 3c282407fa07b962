"""A ring: quarter hours, remembered for a week; one that was read may grow."""

from devices.clock import MINUTE
from devices.codec import colmi
from devices.observations import StepCount
from devices.sim.ring import Ring
from tests.fixtures_ble import Home, quarter_hours, samples
from tests.wearers import wearer

QUARTER = 15 * MINUTE


class Worn(wearer.Wearer):
    driver = "colmi_ring"
    needed = frozenset({colmi.WRITE, colmi.NOTIFY})
    broken = ((colmi.NOTIFY, bytes(15) + b"\x07"), (colmi.BIG_NOTIFY, b"\xbc\x27\x01\x00\x00\x00\xff"))

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self._truth: dict[int, int] = {}
        self.wearable = self._ring = Ring("sim ring", wearer.ADDRESS, clock=home.clock)

    async def live(self) -> None:
        """The quarter hour that runs gets more, and three are walked."""
        for steps in (30, 41, 52):
            start = self.home.clock.now // QUARTER * QUARTER
            self._truth[start] = self._truth.get(start, 0) + steps
            self._ring.remember([quarter_hours(start, [self._truth[start]])])
            self.home.clock.now += QUARTER

    def check(self) -> None:
        found = samples(self.home.spool.observations, keep=StepCount)
        if self.home.was_wrong:
            # what the gateway said at the wrong time stays there; the order does too
            assert [found[at] for at in sorted(found)] == list(self._truth.values())
        else:
            assert found == self._truth
