"""The ring's clock, which nobody can read: set ahead, set back, in zones of half an hour, or lost."""

from collections.abc import AsyncGenerator

import pytest

from devices.clock import DAY, HOUR, MINUTE, SECOND
from devices.drivers.colmi_clock import ZONES_S, RingClock, zone_above
from devices.drivers.colmi_ring import LOST_CLOCK, SET_BACK
from devices.observations import HeartRate, StepCount
from devices.sim.ring import Ring
from tests.fixtures_ble import RING, START, Home, a_home, quarter_hours, ring_with, samples

QUARTER = 15 * MINUTE


@pytest.fixture
async def home() -> AsyncGenerator[Home]:
    async with a_home() as home:
        yield home


def walk(home: Home, ring: Ring, truth: dict[int, int], quarters: int) -> None:
    """Steps in each of the next quarter hours."""
    for _ in range(quarters):
        start, steps = home.clock.now, 100 + len(truth)
        home.clock.now += QUARTER
        ring.remember([quarter_hours(start, [steps])])
        truth[start] = steps


async def visit(home: Home) -> None:
    (result,) = await home.gateway.pull_history()
    assert result.error is None


def reasons(home: Home) -> list[str]:
    return [gap.reason for gap in home.gateway.progress[RING].gaps]


def cursor(home: Home, name: str) -> int:
    return home.spool.cursors[f"ring-1/{name}"]


@pytest.mark.parametrize(
    "zone", [5 * HOUR + 30 * MINUTE, 5 * HOUR + 45 * MINUTE, 3 * HOUR + 30 * MINUTE, 9 * HOUR]
)
@pytest.mark.parametrize("minutes_ago", [1, 10])
async def test_zones_of_half_an_hour(home: Home, zone: int, minutes_ago: int) -> None:
    """Found in India, read in UTC: steps and rates."""
    ring, paired = ring_with(home, offset_us=zone)
    truth: dict[int, int] = {}
    walk(home, ring, truth, 8)
    rates = HeartRate(
        device=RING, start_utc=home.clock.now - HOUR, source="colmi/1", period_s=300, bpm=bytes([70] * 12)
    )
    ring.remember([rates])
    home.clock.now += minutes_ago * MINUTE
    await home.put_on_air(ring)
    await home.open_gateway(paired)
    await visit(home)
    assert cursor(home, "clock-offset-s") == cursor(home, "clock-offset-found-s") == zone // SECOND
    home.clock.now += QUARTER - minutes_ago * MINUTE
    walk(home, ring, truth, 4)
    await visit(home)
    assert samples(home.spool.observations, keep=StepCount) == truth
    assert samples(home.spool.observations, keep=HeartRate) == samples([rates], keep=HeartRate)
    assert home.gateway.progress[RING].revised == 0


@pytest.mark.parametrize("hours", [1, 2, 5])
@pytest.mark.parametrize("begin", [8, 20])
async def test_ring_set_back_between_two_visits(home: Home, hours: int, begin: int) -> None:
    """Noticed by what it writes over; from then on converted, and the time that was written over is a gap."""
    home.clock.now = START // DAY * DAY + begin * HOUR
    ring, paired = ring_with(home)
    await home.put_on_air(ring)
    await home.open_gateway(paired)
    truth: dict[int, int] = {}
    walk(home, ring, truth, 16)
    await visit(home)
    set_back = home.clock.now
    ring.offset_us = -hours * HOUR
    walk(home, ring, truth, 4 * hours + 4)
    # a quarter hour has begun
    home.clock.now += 2 * MINUTE
    await visit(home)
    assert cursor(home, "clock-offset-s") == cursor(home, "clock-offset-found-s") == -hours * 3600
    assert cursor(home, "clock-offset-before-s") == 0
    lost = [gap for gap in home.gateway.progress[RING].gaps if gap.reason == SET_BACK]
    assert [(gap.start_utc, gap.end_utc) for gap in lost] == [(set_back, set_back + hours * HOUR)]
    known = {at: steps for at, steps in truth.items() if not set_back <= at < set_back + hours * HOUR}
    assert samples(home.spool.observations, keep=StepCount) == known
    home.clock.now += 13 * MINUTE
    for _ in range(3):
        walk(home, ring, truth, 8)
        await visit(home)
    known |= {at: steps for at, steps in truth.items() if at >= set_back + hours * HOUR}
    assert samples(home.spool.observations, keep=StepCount) == known
    assert home.gateway.progress[RING].revised == 0
    assert reasons(home) == [SET_BACK]
    assert cursor(home, "clock-offset-s") == -hours * 3600


async def test_ring_at_rest_is_not_behind(home: Home) -> None:
    """Nothing newer for half a day: it lay on a table, and its clock is left where it is."""
    ring, paired = ring_with(home)
    await home.put_on_air(ring)
    await home.open_gateway(paired)
    truth: dict[int, int] = {}
    newest: list[int] = []
    for rest in (7 * HOUR, 13 * HOUR, 3 * HOUR, 30 * HOUR):
        walk(home, ring, truth, 6)
        await visit(home)
        home.clock.now += rest
        await visit(home)
        assert cursor(home, "clock-offset-s") == 0
        newest.append(cursor(home, "clock-newest-s"))
    assert samples(home.spool.observations, keep=StepCount) == truth
    assert reasons(home) == []
    assert newest[0] == -(7 * 3600 + 900)


async def test_ring_at_rest_after_midnight_is_not_behind(home: Home) -> None:
    """What is over at ten past midnight is yesterday's."""
    home.clock.now = START // DAY * DAY + 22 * HOUR
    ring, paired = ring_with(home)
    await home.put_on_air(ring)
    await home.open_gateway(paired)
    truth: dict[int, int] = {}
    walk(home, ring, truth, 9)
    await visit(home)
    home.clock.now += 5 * HOUR
    await visit(home)
    assert cursor(home, "clock-offset-s") == 0
    assert samples(home.spool.observations, keep=StepCount) == truth


async def test_late_word_of_a_ring_that_is_not_behind(home: Home) -> None:
    """A quarter hour that changes long after, while the newest is now: a revision, the clock is right."""
    ring, paired = ring_with(home)
    await home.put_on_air(ring)
    await home.open_gateway(paired)
    truth: dict[int, int] = {}
    walk(home, ring, truth, 12)
    await visit(home)
    walk(home, ring, truth, 2)
    truth[START] += 5
    ring.remember([quarter_hours(START, [truth[START]])])
    await visit(home)
    assert samples(home.spool.observations, keep=StepCount) == truth
    assert home.gateway.progress[RING].revised == 1
    assert (reasons(home), cursor(home, "clock-offset-s")) == ([], 0)


async def test_ring_found_in_new_york(home: Home) -> None:
    """Its today is yesterday: known at the first visit."""
    home.clock.now = START // DAY * DAY
    ring, paired = ring_with(home, offset_us=-5 * HOUR)
    truth: dict[int, int] = {}
    walk(home, ring, truth, 8)
    home.clock.now += 2 * MINUTE
    await home.put_on_air(ring)
    await home.open_gateway(paired)
    await visit(home)
    assert samples(home.spool.observations, keep=StepCount) == truth
    assert cursor(home, "clock-offset-s") == -5 * 3600


async def test_ring_whose_battery_was_empty(home: Home) -> None:
    """It begins in 2000: what it wrote then is kept with its reason, the time has a gap, the clock is set."""
    ring, paired = ring_with(home)
    await home.put_on_air(ring)
    await home.open_gateway(paired)
    truth: dict[int, int] = {}
    walk(home, ring, truth, 8)
    await visit(home)
    last = home.clock.now
    ring.offset_us = 946_684_800 * SECOND - home.clock.now
    walk(home, ring, {}, 4)
    await visit(home)
    assert ring.offset_us == 0
    assert cursor(home, "clock-offset-found-s") < -20 * 365 * 86_400
    (gap,) = home.gateway.progress[RING].gaps
    assert (gap.start_utc, gap.end_utc, gap.reason) == (last, home.clock.now, LOST_CLOCK)
    assert home.gateway.progress[RING].rejected == {LOST_CLOCK: 4}
    home.clock.now += 2 * HOUR
    walk(home, ring, truth, 4)
    await visit(home)
    assert samples(home.spool.observations, keep=StepCount) == truth
    assert cursor(home, "clock-offset-s") == cursor(home, "clock-offset-found-s") == 0


def test_zones() -> None:
    assert zone_above(-60) == 0
    assert zone_above(5 * 3600 + 29 * 60) == 19_800
    assert zone_above(15 * 3600) is None
    assert all(zone % 900 == 0 for zone in ZONES_S)


async def test_ring_set_ahead_an_hour_after_a_visit(home: Home) -> None:
    """What it wrote between the visit and the change was on the old offset still."""
    ring, paired = ring_with(home)
    await home.put_on_air(ring)
    await home.open_gateway(paired)
    truth: dict[int, int] = {}
    walk(home, ring, truth, 12)
    await visit(home)
    walk(home, ring, truth, 4)
    ring.offset_us = 2 * HOUR
    walk(home, ring, truth, 12)
    await visit(home)
    assert samples(home.spool.observations, keep=StepCount) == truth
    assert home.gateway.progress[RING].revised == 0


@pytest.mark.parametrize(("before", "now"), [(0, 7200), (7200, 0), (0, -19_800), (19_800, 20_700)])
def test_a_stamp_has_one_time_or_none(before: int, now: int) -> None:
    """Every stamp that the ring can have made has its time, or none; and no two have the same."""
    changed = 100 * HOUR
    clock = RingClock(now, before, changed)
    made = {at + before * SECOND: at for at in range(80 * HOUR, changed, QUARTER)}
    twice = {at + now * SECOND for at in range(changed, 120 * HOUR, QUARTER)} & made.keys()
    made |= {at + now * SECOND: at for at in range(changed, 120 * HOUR, QUARTER)}
    for stamp, at in made.items():
        assert clock.utc(stamp) == (None if stamp in twice else at)
    assert len(twice) == max(0, before - now) // 900
