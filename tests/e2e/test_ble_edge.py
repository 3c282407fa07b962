"""Strap and ring over the virtual radio: from scan to observations in order, through every fault."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from itertools import pairwise

import pytest

from devices.clock import DAY, HOUR, MINUTE, SECOND
from devices.codec import colmi
from devices.observations import Battery, HeartRate, Observation, RrInterval, SleepStage, StepCount
from tests.fixtures_ble import (
    RING,
    START,
    STRAP,
    Home,
    a_home,
    listening,
    night,
    play,
    quarter_hours,
    ring_with,
    samples,
    strap_with,
)


@pytest.fixture
async def home() -> AsyncGenerator[Home]:
    async with a_home() as home:
        yield home


async def test_strap_to_observations(home: Home) -> None:
    """Every beat in order, exact starts, exact silences, one battery reading."""
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(paired)
    spoken = [225_000, 800, 810, 63_998, 64_000, 790, 790, 790, 790, 453_000, 1, 2_500, 900]
    async with home.streaming():
        await listening(home)
        await play(home, strap, spoken, 2)
    assert home.spool.beats() == [ms for ms in spoken if ms < 64_000]
    runs = home.spool.runs()
    assert [run.gap_before_ms for run in runs] == [225_000, 0, 64_000, 0, 453_000, 0]
    at = START
    for run in runs:
        assert run.gap_before_ms is not None
        assert run.start_utc == at + run.gap_before_ms * 1000
        at = run.end_utc
    assert at == START + sum(spoken) * 1000
    assert [run.first_beat for run in runs] == [0, 2, 3, 5, 7, 9]
    assert len({run.connection for run in runs}) == 1
    assert [o.level_pct for o in home.spool.observations if isinstance(o, Battery)] == [87]


async def test_equal_frames_are_kept(home: Home) -> None:
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(paired)
    async with home.streaming():
        await listening(home)
        await play(home, strap, [800] * 60, 1)
    assert home.spool.beats() == [800] * 60
    assert len({run.start_utc for run in home.spool.runs()}) == 60


@pytest.mark.parametrize("is_silent", [False, True])
async def test_reconnects_after_a_drop(home: Home, is_silent: bool) -> None:
    """The link goes away mid-stream: what was heard is kept, a new connection counts anew, nothing twice."""
    strap, paired = strap_with(home)
    hosted = await home.put_on_air(strap)
    await home.open_gateway(paired)
    heard: list[int] = []
    async with home.streaming():
        for outing in range(3):
            await listening(home)
            beats = [700 + outing * 10 + i for i in range(10)]
            await play(home, strap, beats, 2)
            heard += beats
            if is_silent:
                hosted.set_in_range(False)
                while hosted.is_connected:
                    await asyncio.sleep(0.01)
                hosted.set_in_range(True)
            else:
                await hosted.drop()
            home.clock.now += 30 * SECOND
    assert home.spool.beats() == heard
    assert home.gateway.progress[STRAP].connections >= 3
    by_connection: dict[str, list[RrInterval]] = defaultdict(list)
    for run in home.spool.runs():
        by_connection[run.connection].append(run)
    assert len(by_connection) == 3
    for runs in by_connection.values():
        assert [run.first_beat for run in runs] == [0, 2, 4, 6, 8]
    for before, after in pairwise(home.spool.runs()):
        assert after.start_utc >= before.end_utc


async def test_drop_keeps_what_had_arrived(home: Home) -> None:
    """Twenty notifications and a disconnect before any was stored: all twenty are kept."""
    strap, paired = strap_with(home)
    hosted = await home.put_on_air(strap)
    await home.open_gateway(paired)
    async with home.streaming():
        await listening(home)
        for beat in range(20):
            home.clock.now += (900 + beat) * 1000
            await strap.send_beats((900 + beat,))
        progress = home.gateway.progress[STRAP]
        await asyncio.wait_for(progress.until_arrived(20), 2)
        assert progress.appended == 0
        await hosted.drop()
        await asyncio.wait_for(progress.until_appended(20), 2)
    assert home.spool.beats() == list(range(900, 920))


async def test_bad_frames_are_counted_and_kept(home: Home) -> None:
    """A bad frame costs its own beats only, and the next run says that something is missing before it."""
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(paired)
    bad = [b"\x10\x40\xc0", b"", b"\x10\x40\x00\x00"]
    async with home.streaming():
        await listening(home)
        await play(home, strap, [800, 810], 1)
        for frame in bad:
            home.clock.now += 800_000
            assert await strap.send_frame(frame)
        await asyncio.wait_for(home.gateway.progress[STRAP].until_appended(5), 2)
        await play(home, strap, [820, 830], 1)
    assert home.spool.beats() == [800, 810, 820, 830]
    assert [run.gap_before_ms for run in home.spool.runs()] == [0, 0, 2400, 0]
    assert [payload for *_, payload in home.rejected] == bad
    assert home.gateway.progress[STRAP].rejected == {
        "heart rate: half an RR interval": 1,
        "heart rate: empty frame": 1,
        "heart rate: RR interval of 0": 1,
    }


async def test_one_bad_frame_breaks_the_run(home: Home) -> None:
    """One lost beat is less than arrival can tell; the run after it is not joined to the one before."""
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(paired)
    async with home.streaming():
        await listening(home)
        await play(home, strap, [800], 1)
        home.clock.now += 800_000
        assert await strap.send_frame(b"\x10\x40\xc0")
        await asyncio.wait_for(home.gateway.progress[STRAP].until_appended(2), 2)
        await play(home, strap, [820], 1)
    assert [run.gap_before_ms for run in home.spool.runs()] == [0, 800]


async def test_strap_without_rr_gives_rates(home: Home) -> None:
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(paired)
    async with home.streaming():
        await listening(home)
        for frame in (b"\x00\x40", b"\x00\x00"):
            await strap.send_frame(frame)
        await asyncio.wait_for(home.gateway.progress[STRAP].until_appended(2), 2)
    rates = [o for o in home.spool.observations if isinstance(o, HeartRate)]
    assert [(rate.bpm, rate.start_utc, rate.period_s) for rate in rates] == [(b"\x40", START - SECOND, 1)]


async def test_spool_failure_ends_streaming(home: Home) -> None:
    """A full disk is not a lost link: it ends the streaming and is raised."""
    strap, paired = strap_with(home)
    await home.put_on_air(strap)
    await home.open_gateway(paired)

    def full(*_: object, **__: object) -> int:
        raise OSError("disk full")

    home.spool.append = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="disk full"):
        await asyncio.wait_for(home.gateway.stream_live(asyncio.Event()), 5)


async def test_ring_history(home: Home) -> None:
    """A week of memory comes out as it went in; absent quarter hours stay absent."""
    ring, paired = ring_with(home)
    today = START // DAY * DAY
    memory: list[Observation] = []
    for days_ago in range(6, 0, -1):
        midnight = today - days_ago * DAY
        memory.append(quarter_hours(midnight + 7 * HOUR, [0, 12, 400, 0]))
        memory.append(quarter_hours(midnight + 9 * HOUR, [4500, 1]))
        memory.append(night(midnight - 90 * MINUTE, 500))
        rates = bytes([61, 0, 0, 64])
        memory.append(
            HeartRate(device=RING, start_utc=midnight + 10 * HOUR, source="colmi/1", period_s=300, bpm=rates)
        )
    ring.remember(memory)
    await home.put_on_air(ring)
    gateway = await home.open_gateway(paired)
    (result,) = await gateway.pull_history()
    assert result.error is None
    for kind in (StepCount, SleepStage, HeartRate):
        assert samples(home.spool.observations, keep=kind) == samples(memory, keep=kind)
        count = sum(o.sample_count for o in home.spool.observations if isinstance(o, kind))
        assert count == sum(o.sample_count for o in memory if isinstance(o, kind))
    steps = [o for o in home.spool.observations if isinstance(o, StepCount)]
    assert [o.sample_count for o in steps] == [4, 2] * 6
    assert [o.level_pct for o in home.spool.observations if isinstance(o, Battery)] == [64]
    assert home.spool.cursors["ring-1/clock-offset-s"] == 0
    assert home.rejected == []


async def test_ring_second_pull_reads_yesterday_again(home: Home) -> None:
    """A quarter hour that grew is read again, older days are not."""
    ring, paired = ring_with(home)
    today = START // DAY * DAY
    for days_ago in range(6, -1, -1):
        ring.remember([quarter_hours(today - days_ago * DAY + 8 * HOUR, [100])])
    ring.remember([quarter_hours(START - 15 * MINUTE, [5])])
    await home.put_on_air(ring)
    gateway = await home.open_gateway(paired)
    await gateway.pull_history()
    home.spool.observations.clear()
    ring.remember([quarter_hours(START - 15 * MINUTE, [55, 7])])
    home.clock.now += 30 * MINUTE
    await gateway.pull_history()
    assert samples(home.spool.observations, keep=StepCount) == {
        today - DAY + 8 * HOUR: 100,
        today + 8 * HOUR: 100,
        START - 15 * MINUTE: 55,
        START: 7,
    }


async def test_ring_sets_the_clock(home: Home) -> None:
    ring, paired = ring_with(home, offset_us=3 * HOUR)
    await home.put_on_air(ring)
    gateway = await home.open_gateway(paired)
    await gateway.pull_history()
    assert ring.offset_us == 0
    assert home.spool.cursors["ring-1/clock-set"] == START


async def test_ring_broken_answer_keeps_the_cursor(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame with a wrong checksum is kept with its reason; the log is read again at the next visit."""
    ring, paired = ring_with(home)
    ring.remember([quarter_hours(START - 2 * HOUR, [10, 20, 30])])
    broken = colmi.encode_steps

    def spoil(slots: list[colmi.StepSlot]) -> list[bytes]:
        frames = broken(slots)
        return [*frames[:-1], frames[-1][:-1] + b"\x00"] if slots else frames

    await home.put_on_air(ring)
    gateway = await home.open_gateway(paired)
    with monkeypatch.context() as patch:
        patch.setattr(colmi, "encode_steps", spoil)
        await gateway.pull_history()
    assert [reason for _, _, reason, _ in home.rejected] == ["ring: wrong checksum"]
    assert "ring-1/step_count" not in home.spool.cursors
    await gateway.pull_history()
    assert samples(home.spool.observations, keep=StepCount) == {
        START - 2 * HOUR: 10,
        START - 2 * HOUR + 15 * MINUTE: 20,
        START - 2 * HOUR + 30 * MINUTE: 30,
    }


async def test_absent_wearable_is_a_result(home: Home) -> None:
    _, paired = ring_with(home)
    gateway = await home.open_gateway(paired)
    (result,) = await gateway.pull_history()
    assert result.samples == 0
    assert result.error == "ring-1 not seen within 0.6 s"


async def test_strap_and_ring_side_by_side(home: Home) -> None:
    """One adapter: a ring is visited while a strap streams."""
    strap, strap_pair = strap_with(home)
    ring, ring_pair = ring_with(home)
    ring.remember([quarter_hours(START - 4 * HOUR, [10] * 8)])
    await home.put_on_air(strap)
    await home.put_on_air(ring)
    gateway = await home.open_gateway(strap_pair, ring_pair)
    async with home.streaming():
        await listening(home)
        pull = asyncio.create_task(gateway.pull_history())
        await play(home, strap, [800] * 50, 2)
        (result,) = await pull
    assert result.error is None
    assert home.spool.beats() == [800] * 50
    assert len(samples(home.spool.observations, keep=StepCount)) == 8
