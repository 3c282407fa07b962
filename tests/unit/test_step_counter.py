"""A step counter taken up again after a time without a link."""

import pytest

from devices.blobs import unpack_u16
from devices.clock import DAY, HOUR, MINUTE, SECOND
from devices.drivers.session import Gap, Harvest
from devices.drivers.step_counter import CLOCK_BACK, MIDNIGHT, RESTARTED, StepCounter
from devices.ids import DeviceId
from devices.observations import StepCount

NOW = 1_705_320_000 * SECOND


def resumed(reading: int, settled: tuple[int, int] | None, midnight: int | None) -> StepCounter:
    return StepCounter.resume(DeviceId("watch-1"), "x/1", reading, NOW, settled=settled, midnight=midnight)


def said(harvest: Harvest) -> list[tuple[int, int, int]]:
    counts = [o for o in harvest.items if isinstance(o, StepCount)]
    return [(o.start_utc - NOW, o.end_utc - NOW, unpack_u16(o.counts)[0]) for o in counts]


@pytest.mark.parametrize(
    ("reading", "settled", "midnight", "expected", "gaps"),
    [
        # never read before: since midnight, or not at all
        (900, None, -9 * HOUR, [(-9 * HOUR, MINUTE, 900)], []),
        (900, None, None, [], []),
        # the same day
        (900, (-HOUR, 800), -9 * HOUR, [(-HOUR, MINUTE, 100)], []),
        (900, (-HOUR, 800), None, [(-HOUR, MINUTE, 100)], []),
        (800, (-HOUR, 800), -9 * HOUR, [], []),
        # restarted
        (30, (-HOUR, 800), -9 * HOUR, [(-HOUR, MINUTE, 30)], [Gap(-HOUR, 0, RESTARTED)]),
        # midnight went by
        (900, (-HOUR, 800), -HOUR // 2, [(-HOUR // 2, MINUTE, 900)], [Gap(-HOUR, -HOUR // 2, MIDNIGHT)]),
        (900, (-3 * DAY, 800), -HOUR, [(-HOUR, MINUTE, 900)], [Gap(-3 * DAY, -HOUR, MIDNIGHT)]),
        # so it did in any day, but nobody knows when
        (900, (-DAY, 800), None, [], [Gap(-DAY, 0, MIDNIGHT)]),
        # the gateway's clock was set back: the steps count, the time does not
        (900, (2 * HOUR, 800), -9 * HOUR, [(0, MINUTE, 100)], [Gap(0, 0, CLOCK_BACK)]),
    ],
)
def test_resume(
    reading: int,
    settled: tuple[int, int] | None,
    midnight: int | None,
    expected: list[tuple[int, int, int]],
    gaps: list[Gap],
) -> None:
    counter = resumed(
        reading,
        None if settled is None else (NOW + settled[0], settled[1]),
        None if midnight is None else NOW + midnight,
    )
    assert counter.is_ripe(NOW + MINUTE)
    harvest = counter.settle(NOW + MINUTE, is_worn=False)
    assert said(harvest) == expected
    assert [
        gap._replace(start_utc=gap.start_utc - NOW, end_utc=gap.end_utc - NOW) for gap in harvest.gaps
    ] == gaps
    assert harvest.cursors == {"step_count": NOW + MINUTE, "step-counter": reading}


def test_steps_held_back_wait_for_their_time() -> None:
    """A stalled link delivers 40 steps in a second: they are said of the time they fit into."""
    counter = resumed(0, (NOW, 0), None)
    counter.read(40)
    assert not counter.is_ripe(NOW + SECOND)
    assert counter.is_ripe(NOW + 8 * SECOND)
    assert said(counter.settle(NOW + 8 * SECOND, is_worn=False)) == [(0, 8 * SECOND, 40)]


def test_a_day_of_25_hours_fits() -> None:
    counter = resumed(9000, None, -25 * HOUR + NOW)
    assert said(counter.settle(NOW, is_worn=False)) == [(-DAY, 0, 9000)]


def test_a_clock_set_back_while_the_link_stands_makes_no_steps_wait() -> None:
    """They would wait for hours, and then not fit into a minute."""
    counter = resumed(0, (NOW, 0), None)
    counter.read(3000)
    counter.heed_clock(NOW - 3 * HOUR)
    assert not counter.is_ripe(NOW - 3 * HOUR + MINUTE)
    counter.read(3040)
    assert counter.is_ripe(NOW - 2 * HOUR)
    harvest = counter.settle(NOW - 2 * HOUR, is_worn=False)
    assert said(harvest) == [(-3 * HOUR, -2 * HOUR, 3040)]
    assert [gap.reason for gap in harvest.gaps] == [CLOCK_BACK]
    counter.heed_clock(NOW - 2 * HOUR)
    assert counter.gaps == []
