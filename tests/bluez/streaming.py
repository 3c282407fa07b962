"""Straps that stream and a ring that remembers: nothing lost, nothing twice."""

import asyncio
import time
from contextlib import suppress

from devices.clock import DAY, HOUR, MINUTE
from devices.codec import heart_rate
from devices.observations import Battery, HeartRate, Observation, SleepStage, StepCount
from tests.bluez.bench import COPY_S, MEASUREMENT, Bench, scenario, until
from tests.fixtures_ble import START, night, quarter_hours, samples


@scenario
async def strap_to_observations(bench: Bench) -> str:
    """From scan to observations: exact beats, one battery reading."""
    strap, _, paired = await bench.strap()
    (seen,) = [s for s in await bench.radio.discover(3) if s.device.address == paired.address]
    assert seen.name == strap.name, seen
    assert seen.services == ("0000180d-0000-1000-8000-00805f9b34fb",), seen
    bench.open_gateway(paired)
    spoken = [800 + i for i in range(40)]
    began = time.monotonic()
    async with bench.streaming():
        await bench.listening(paired)
        until_listening_s = time.monotonic() - began
        await bench.play(paired, strap, spoken)
        began = time.monotonic()
    until_gone_s = time.monotonic() - began
    assert bench.spool.beats() == spoken
    levels = [o.level_pct for o in bench.spool.observations if isinstance(o, Battery)]
    assert levels == [87], levels
    times = f"listening after {until_listening_s:.1f} s, disconnected in {until_gone_s:.1f} s"
    return f"{len(spoken)} of {len(spoken)} beats, {times}"


@scenario
async def two_hundred_notifications(bench: Bench) -> str:
    """As fast as they go: every one of them, in order, once."""
    strap, _, paired = await bench.strap()
    sent = [heart_rate.encode_beats(60, (800 + number,)) for number in range(200)]
    got: list[bytes] = []
    async with bench.session(paired) as session, session.notifications(MEASUREMENT) as stream:
        began = time.monotonic()
        for frame in sent:
            assert await strap.send_frame(frame)
            await asyncio.sleep(0)
        while len(got) < len(sent):
            got += [notification.payload for notification in await stream.take(10)]
        took_s = time.monotonic() - began
        with suppress(TimeoutError):
            got += [notification.payload for notification in await stream.take(COPY_S)]
    assert got == sent, len(got)
    return f"{len(got)} of {len(sent)} in {took_s:.1f} s"


@scenario
async def equal_frames(bench: Bench) -> str:
    """A steady heart says the same again and again."""
    strap, _, paired = await bench.strap()
    bench.open_gateway(paired)
    async with bench.streaming():
        await bench.listening(paired)
        await bench.play(paired, strap, [800] * 80)
    assert bench.spool.beats() == [800] * 80, len(bench.spool.beats())
    return "80 of 80 beats"


@scenario
async def equal_frames_after_stall(bench: Bench) -> str:
    """A link that stalled for four seconds delivers five equal frames, not all of them together."""
    strap, _, paired = await bench.strap()
    bench.open_gateway(paired)
    async with bench.streaming():
        await bench.listening(paired)
        await bench.play(paired, strap, [800] * 40)
        bench.clock.now += 5 * 800_000
        progress = bench.gateway.progress[paired.device_id]
        for burst in (2, 3):
            for _ in range(burst):
                assert await strap.send_beats((800,))
            await asyncio.sleep(0.2)
            bench.clock.now += 200_000
        await asyncio.wait_for(progress.until_appended(25), 30)
    kept = len(bench.spool.beats()) - 40
    assert kept == 5, f"{kept} of 5 kept, refused: {dict(progress.rejected)}"
    return "5 of 5 kept"


@scenario
async def malformed_and_empty(bench: Bench) -> str:
    """Bad frames arrive, are counted and kept; the beats around them too."""
    strap, _, paired = await bench.strap()
    bench.open_gateway(paired)
    bad = [b"\x10\x40\xc0", b"", b"\x10\x40\x00\x00"]
    async with bench.streaming():
        await bench.listening(paired)
        await bench.play(paired, strap, [800, 810])
        for frame in bad:
            bench.clock.now += 800_000
            assert await strap.send_frame(frame)
        progress = bench.gateway.progress[paired.device_id]
        await asyncio.wait_for(progress.until_appended(4), 30)
        await bench.play(paired, strap, [820, 830])
    assert bench.spool.beats() == [800, 810, 820, 830], bench.spool.beats()
    assert [payload for *_, payload in bench.rejected] == bad, bench.rejected
    return f"{len(bad)} refused with their bytes, 4 of 4 beats around them"


@scenario
async def drop_and_reconnect(bench: Bench) -> str:
    """The wearable ends the link three times: each connection brings its own ten, once."""
    strap, hosted, paired = await bench.strap()
    bench.open_gateway(paired)
    progress = bench.gateway.progress[paired.device_id]
    counts: list[int] = []
    heard: list[int] = []
    async with bench.streaming():
        for outing in range(3):
            await bench.listening(paired)
            before = progress.arrived
            beats = [700 + 20 * outing + i for i in range(20)]
            await bench.play(paired, strap, beats)
            heard += beats
            await asyncio.sleep(COPY_S)
            counts.append(progress.arrived - before)
            await hosted.drop()
            await bench.deaf(paired)
            bench.clock.now += 30_000_000
    assert counts == [10, 10, 10], counts
    assert bench.spool.beats() == heard
    return f"notifications per connection {counts}"


@scenario
async def leak_without_disconnect(bench: Bench) -> str:
    """What the session prevents: clients that are not disconnected after a drop get copies."""
    strap, hosted, paired = await bench.strap()
    counts: list[int] = []
    clients = []
    for _ in range(3):
        found = await bench.radio.find(paired.address, 10)
        assert found is not None
        gone, calls = asyncio.Event(), []
        client = bench.radio.client(found, gone.set, 10)
        clients.append(client)
        await client.connect()
        await client.start_notify(MEASUREMENT, lambda _, payload, calls=calls: calls.append(payload))
        for beat in range(10):
            await strap.send_beats((800 + beat,))
        await until(lambda calls=calls: len(calls) >= 10)
        await asyncio.sleep(COPY_S)
        counts.append(len(calls))
        await hosted.drop()
        await asyncio.wait_for(gone.wait(), 10)
    for client in clients:
        await client.disconnect()
    assert counts[0] == 10, counts
    still = "still in bleak" if counts != [10, 10, 10] else "no longer in bleak: drop the quirk"
    return f"calls for ten notifications {counts}, {still}"


@scenario
async def five_links(bench: Bench) -> str:
    """Five straps on one adapter at the same time."""
    straps = [await bench.strap() for _ in range(5)]
    bench.open_gateway(*(paired for _, _, paired in straps))
    began = time.monotonic()
    async with bench.streaming():
        for _, _, paired in straps:
            await bench.listening(paired)
        took_s = time.monotonic() - began
        for beat in range(20):
            bench.clock.now += 800_000
            for strap, _, _ in straps:
                assert await strap.send_beats((800 + beat,))
        for _, _, paired in straps:
            await asyncio.wait_for(bench.gateway.progress[paired.device_id].until_appended(20), 30)
    assert sorted(bench.spool.beats()) == sorted([800 + beat for beat in range(20)] * 5)
    return f"all listening after {took_s:.1f} s, 100 of 100 beats"


@scenario
async def ring_history(bench: Bench) -> str:
    """A week of memory comes out as it went in; the second pull reads yesterday again."""
    ring, _, paired = await bench.ring(offset_us=3 * HOUR)
    ring.offset_us = 0
    today = START // DAY * DAY
    memory: list[Observation] = []
    for days_ago in range(6, 0, -1):
        midnight = today - days_ago * DAY
        memory.append(quarter_hours(midnight + 7 * HOUR, [0, 12, 400, 0]))
        memory.append(night(midnight - 90 * MINUTE, 500))
        memory.append(
            HeartRate(
                device=paired.device_id,
                start_utc=midnight + 10 * HOUR,
                source="colmi/1",
                period_s=300,
                bpm=bytes([61, 0, 0, 64]),
            )
        )
    ring.remember(memory)
    gateway = bench.open_gateway(paired)
    began = time.monotonic()
    (result,) = await gateway.pull_history()
    took_s = time.monotonic() - began
    assert result.error is None, result
    for kind in (StepCount, SleepStage, HeartRate):
        assert samples(bench.spool.observations, keep=kind) == samples(memory, keep=kind), kind
    bench.spool.observations.clear()
    (again,) = await gateway.pull_history()
    assert again.error is None, again
    assert 0 < again.samples < result.samples, again
    assert bench.rejected == []
    return f"{result.samples} samples in {took_s:.1f} s, {again.samples} read again"
