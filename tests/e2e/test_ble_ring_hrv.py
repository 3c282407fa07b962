"""The ring's variability log: a vendor's number every half hour, on firmware that knows it and on other."""

from collections.abc import AsyncGenerator

import pytest

from devices.clock import DAY, HOUR, MINUTE
from devices.codec import colmi_hrv
from devices.drivers import colmi_ring
from devices.observations import Battery, DeviceHrv, StepCount
from ingest.edge.virtual_radio_quirks import BLUEZ, Quirks
from tests.fixtures_ble import RING, START, Home, a_home, quarter_hours, ring_with, samples

TODAY = START // DAY * DAY
LOG = f"{RING}/{DeviceHrv.kind}"


@pytest.fixture
async def home() -> AsyncGenerator[Home]:
    async with a_home() as home:
        yield home


def number(start: int, value_ms: int) -> DeviceHrv:
    return DeviceHrv(
        device=RING, start_utc=start, source="colmi/1", period_s=1800, value_ms=value_ms, method="vendor"
    )


def a_week() -> list[DeviceHrv]:
    """Six nights of half hours, some without a reading."""
    return [
        number(TODAY - days_ago * DAY + half * 30 * MINUTE, 30 + days_ago + half)
        for days_ago in range(6, -1, -1)
        for half in range(14)
        if half % 5
    ]


async def visit(home: Home) -> None:
    (result,) = await home.gateway.pull_history()
    assert result.error is None


@pytest.mark.parametrize("quirks", [Quirks(), BLUEZ], ids=["plain", "bluez"])
@pytest.mark.parametrize("offset", [0, 5 * HOUR + 30 * MINUTE])
async def test_a_week_of_numbers_comes_out_as_it_went_in(home: Home, quirks: Quirks, offset: int) -> None:
    ring, paired = ring_with(home, offset_us=offset)
    # steps until just now tell where the clock stands
    ring.remember([*a_week(), quarter_hours(START - 15 * MINUTE, [9])])
    await home.put_on_air(ring)
    await home.open_gateway(paired, quirks=quirks)
    await visit(home)
    heard = samples(home.spool.observations, keep=DeviceHrv)
    told = samples(a_week(), keep=DeviceHrv)
    # the ring's memory reaches back seven of its own days
    oldest = (START + offset) // DAY * DAY - 6 * DAY - offset
    assert heard == {at: value for at, value in told.items() if at >= oldest}
    assert len(heard) > 60
    assert {o.method for o in home.spool.observations if isinstance(o, DeviceHrv)} == {"vendor"}
    assert home.spool.cursors[LOG] == max(told) + 30 * MINUTE
    assert home.rejected == []


async def test_yesterday_is_pulled_again_and_a_later_reading_wins(home: Home) -> None:
    ring, paired = ring_with(home)
    ring.remember(a_week())
    await home.put_on_air(ring)
    await home.open_gateway(paired)
    await visit(home)
    home.spool.observations.clear()
    ring.remember([number(TODAY + 2 * HOUR, 99)])
    home.clock.now += HOUR
    await visit(home)
    heard = samples(home.spool.observations, keep=DeviceHrv)
    assert min(heard) >= TODAY - DAY
    assert heard[TODAY + 2 * HOUR] == 99
    assert home.gateway.progress[RING].revised == 1


async def test_firmware_without_the_log_costs_one_wait_and_nothing_else(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colmi_ring, "ANSWER_TIMEOUT_S", 0.2)
    asked: list[int] = []
    encode = colmi_hrv.encode_request
    monkeypatch.setattr(colmi_hrv, "encode_request", lambda day: (asked.append(day), encode(day))[1])
    ring, paired = ring_with(home, has_hrv_log=False)
    ring.remember([*a_week(), quarter_hours(START - 2 * HOUR, [10, 20, 30])])
    await home.put_on_air(ring)
    await home.open_gateway(paired)
    for visits in (1, 2):
        await visit(home)
        assert len(asked) == visits
    kinds = {type(o) for o in home.spool.observations}
    assert DeviceHrv not in kinds
    assert {StepCount, Battery} <= kinds
    assert LOG not in home.spool.cursors
    assert home.rejected == []


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_link_that_drops_in_the_log_loses_nothing(home: Home, at: int) -> None:
    """The frames that came are a part of a day: the next attempt reads the day whole."""
    ring, paired = ring_with(home)
    ring.remember(a_week())
    hosted = await home.put_on_air(ring)
    await home.open_gateway(paired)
    notify, frames, has_dropped = ring.notify, 0, False

    async def dropping(characteristic: str, payload: bytes) -> bool:
        nonlocal frames, has_dropped
        if payload[0] == colmi_hrv.HRV_LOG and not has_dropped:
            frames += 1
            if frames == 8 + at:
                has_dropped = True
                await hosted.drop()
                return False
        return await notify(characteristic, payload)

    ring.notify = dropping  # type: ignore[method-assign]
    await visit(home)
    assert has_dropped
    assert samples(home.spool.observations, keep=DeviceHrv) == samples(a_week(), keep=DeviceHrv)
    assert home.spool.cursors[LOG] == TODAY + 7 * HOUR
