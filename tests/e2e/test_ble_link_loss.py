"""Every driver loses its link: drop, out of range, adapter gone, new address; in the midst of an answer.

What the wearable still holds or has told comes once, and the reason of every gap is on record.
"""

from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import pairwise

import pytest

from devices.drivers import bangle, colmi_ring, infinitime_watch
from devices.drivers.registry import DRIVERS
from ingest.edge.virtual_radio_quirks import BLUEZ, Quirks
from tests.fixtures_ble import Home, a_home, until
from tests.fixtures_wearers import WEARERS
from tests.wearers.wearer import Wearer

IRK = bytes(range(16))
LIVE = sorted(name for name, driver in DRIVERS.items() if driver.plan == "live")
HISTORY = sorted(set(DRIVERS) - set(LIVE))


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Home]:
    monkeypatch.setattr(infinitime_watch, "_LOOK_S", 0.02)
    monkeypatch.setattr(bangle, "ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(colmi_ring, "ANSWER_TIMEOUT_S", 0.3)
    async with a_home() as home:
        yield home


async def befall(wearer: Wearer, fault: str) -> None:
    """Take the link away, let time pass, and make it possible again."""
    home, hosted = wearer.home, wearer.hosted
    match fault:
        case "drop":
            await hosted.drop()
        case "out of range":
            hosted.set_in_range(False)
        case "adapter gone":
            await home.adapter.set_present(False)
        case _:
            await hosted.drop()
            await until(lambda: not wearer.progress.is_listening)
            await hosted.rotate_address()
    await until(lambda: not wearer.progress.is_listening)
    wearer.away()
    hosted.set_in_range(True)
    await home.adapter.set_present(True)


@pytest.mark.parametrize("quirks", [Quirks(), BLUEZ], ids=["plain", "bluez"])
@pytest.mark.parametrize("fault", ["drop", "out of range", "adapter gone", "address rotated"])
@pytest.mark.parametrize("driver", LIVE)
async def test_live_wearable_loses_its_link(home: Home, driver: str, fault: str, quirks: Quirks) -> None:
    wearer = WEARERS[driver](home)
    rotates = fault == "address rotated"
    await wearer.put_on_air(**({"irk": IRK, "encrypted": wearer.readable} if rotates else {}))
    await home.open_gateway(replace(wearer.paired, is_bonded=rotates), quirks=quirks)
    if rotates:
        await wearer.bond()
    async with wearer.served():
        for outing in range(3):
            await wearer.live()
            if outing < 2:
                await befall(wearer, fault)
    wearer.check()
    gaps = wearer.progress.gaps
    assert gaps
    assert all(gap.reason and gap.start_utc <= gap.end_utc for gap in gaps)
    assert all(before.end_utc <= after.start_utc for before, after in pairwise(gaps)), gaps
    assert wearer.progress.connections >= 3
    assert home.rejected == []


@pytest.mark.parametrize("fault", ["drop", "out of range"])
@pytest.mark.parametrize("at", [1, 7, 20])
@pytest.mark.parametrize("driver", HISTORY)
async def test_wearable_with_a_memory_is_lost_while_it_tells(
    home: Home, driver: str, fault: str, at: int
) -> None:
    """What did not come is told again: everything once, with its last value."""
    wearer = WEARERS[driver](home)
    for _ in range(6):
        await wearer.live()
    hosted = await wearer.put_on_air()
    await home.open_gateway(wearer.paired)
    notify, sent = wearer.wearable.notify, 0

    async def failing(characteristic: str, value: bytes) -> bool:
        nonlocal sent
        sent += 1
        if sent != at:
            return await notify(characteristic, value)
        if fault == "drop":
            await hosted.drop()
        else:
            hosted.set_in_range(False)
        return False

    wearer.wearable.notify = failing  # type: ignore[method-assign]
    await home.gateway.pull_history()
    assert sent >= at
    hosted.set_in_range(True)
    await wearer.live()
    await wearer.arrive()
    wearer.check()
    assert all(gap.reason for gap in wearer.progress.gaps)
