"""Each further wearable over the virtual radio: from scan to observations."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import pairwise

import pytest

from devices.clock import DAY, HOUR, MINUTE, SECOND
from devices.codec import battery, physical_activity, polar_pmd
from devices.codec.banglejs import Block
from devices.codec.polar_pmd import Frame, Sample
from devices.drivers import infinitime_watch, polar_ppi
from devices.ids import DeviceId
from devices.observations import Battery, HeartRate, Observation, SleepStage, StepCount, Wear
from devices.sim.activity_monitor import Monitor
from devices.sim.bangle import BangleWatch
from devices.sim.polar import WARM_UP_S, PolarSensor
from devices.sim.watch import Watch
from ingest.edge.gateway import PairedDevice
from ingest.edge.virtual_radio_quirks import BLUEZ, Quirks
from tests.fixtures_ble import START, STRAP, Home, a_home, listening, play, samples, strap_with, until

DEVICE = DeviceId("device-1")
ADDRESS = "F0:00:00:00:00:07"
QUIRKS = pytest.mark.parametrize("quirks", [Quirks(), BLUEZ], ids=["plain", "bluez"])


@pytest.fixture
async def home() -> AsyncGenerator[Home]:
    async with a_home() as home:
        yield home


@pytest.fixture
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute of the simulated clock is over at once."""
    monkeypatch.setattr(infinitime_watch, "_LOOK_S", 0.02)


def paired(driver: str) -> PairedDevice:
    return PairedDevice(DEVICE, ADDRESS, driver)


async def kept(home: Home, notifications: int) -> None:
    """Wait until the gateway has accounted for so many."""
    await asyncio.wait_for(home.gateway.progress[DEVICE].until_appended(notifications), 2)


async def heard(home: Home) -> None:
    await until(lambda: home.gateway.progress[DEVICE].is_listening)


def of(home: Home, kind: type[Observation]) -> list[Observation]:
    return [o for o in home.spool.observations if isinstance(o, kind)]


def intervals(home: Home) -> list[tuple[int, int, int]]:
    """Start and end (seconds from the beginning) and steps of every step count; none overlaps another."""
    found: list[tuple[int, int, int]] = []
    for o in of(home, StepCount):
        assert isinstance(o, StepCount)
        (count,) = samples([o], keep=StepCount).values()
        found.append(((o.start_utc - START) // SECOND, (o.end_utc - START) // SECOND, count))
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    return found


# --- Polar


async def sensing(home: Home, sensor: PolarSensor) -> None:
    """Wait until the stream was started, and has warmed up."""
    await kept(home, 1)
    home.clock.now += WARM_UP_S * SECOND
    assert sensor.is_measuring


async def pulse(home: Home, sensor: PolarSensor, *pulses: Sample) -> None:
    progress = home.gateway.progress[DEVICE]
    home.clock.now += sum(sample.interval_ms for sample in pulses) * 1000
    expected = progress.arrived + 1
    assert await sensor.send_samples(pulses)
    await kept(home, expected)


def good(*intervals_ms: int) -> list[Sample]:
    return [Sample(70, ms, 5, has_contact=True) for ms in intervals_ms]


@QUIRKS
@pytest.mark.parametrize("has_time", [True, False])
async def test_polar_intervals(home: Home, has_time: bool, quirks: Quirks) -> None:
    """Good intervals are kept as optical ones; movement, no contact and a large error are silences."""
    sensor = PolarSensor("sim polar", ADDRESS, clock=home.clock, has_time=has_time)
    await home.put_on_air(sensor)
    await home.open_gateway(paired("polar_ppi"), quirks=quirks)
    async with home.streaming():
        await sensing(home, sensor)
        await pulse(home, sensor, *good(800, 810, 820, 830))
        await pulse(
            home,
            sensor,
            *good(840),
            Sample(70, 500, 5, is_blocked=True, has_contact=True),
            *good(850, 860),
            Sample(70, 700, 5, has_contact=False),
        )
        await pulse(home, sensor, Sample(70, 900, 31, has_contact=True), *good(870))
    assert home.spool.beats() == [800, 810, 820, 830, 840, 850, 860, 870]
    runs = home.spool.runs()
    # the first batch counts from the warm-up, which is a silence too
    assert [run.gap_before_ms for run in runs] == [WARM_UP_S * 1000, 0, 500, 1600]
    assert {run.sensor for run in runs} == {"ppg"}
    assert runs[0].start_utc == START + WARM_UP_S * SECOND
    assert runs[-1].end_utc == home.clock.now
    assert home.gateway.progress[DEVICE].rejected == {
        "polar: movement": 1,
        "polar: no skin contact": 1,
        "polar: error estimate above 30 ms": 1,
    }
    assert [o.level_pct for o in of(home, Battery) if isinstance(o, Battery)] == [71]
    clock = {name: value for name, value in home.spool.cursors.items() if "clock" in name}
    assert clock == ({"device-1/clock-offset-s": 0} if has_time else {})
    assert home.spool.firmware == {DEVICE: "1.0"}


@pytest.mark.parametrize("stamp_ns", [None, 1])
async def test_polar_copies_are_refused(home: Home, stamp_ns: int | None) -> None:
    """Also of a frame that a doubt has cut in two; the run goes on without a gap."""
    sensor = PolarSensor("sim polar", ADDRESS, clock=home.clock)
    await home.put_on_air(sensor)
    await home.open_gateway(paired("polar_ppi"))
    moved = Sample(70, 500, 5, is_blocked=True, has_contact=True)
    async with home.streaming():
        await sensing(home, sensor)
        for number, samples_ in enumerate(([*good(800), moved, *good(810, 820)], good(830, 840)), 1):
            home.clock.now += sum(sample.interval_ms for sample in samples_) * 1000
            stamp = None if stamp_ns is None else (home.clock.now - polar_pmd.EPOCH_UTC) * 1000
            frame = polar_pmd.encode_ppi(Frame(stamp, tuple(samples_)))
            for _ in range(2):
                assert await sensor.send_frame(frame)
            await kept(home, 1 + 2 * number)
    assert home.spool.beats() == [800, 810, 820, 830, 840]
    assert [run.gap_before_ms for run in home.spool.runs()] == [WARM_UP_S * 1000, 500, 0]
    assert home.gateway.progress[DEVICE].rejected["polar: copy of the frame before it"] == 2


async def test_polar_bad_frame_breaks_the_run(home: Home) -> None:
    sensor = PolarSensor("sim polar", ADDRESS, clock=home.clock)
    await home.put_on_air(sensor)
    await home.open_gateway(paired("polar_ppi"))
    async with home.streaming():
        await sensing(home, sensor)
        await pulse(home, sensor, *good(800))
        home.clock.now += 900_000
        assert await sensor.send_frame(b"\x03" + bytes(12))
        await kept(home, 3)
        await pulse(home, sensor, *good(820))
    assert [run.gap_before_ms for run in home.spool.runs()] == [WARM_UP_S * 1000, 900]
    assert home.gateway.progress[DEVICE].rejected == {"polar: frame ends within a sample": 1}


async def test_polar_clock_falls_back_to_2019(home: Home) -> None:
    """The stamps jump by years, the beats do not; where the clock stood is on record."""
    sensor = PolarSensor("sim polar", ADDRESS, clock=home.clock, offset_us=3 * HOUR)
    await home.put_on_air(sensor)
    await home.open_gateway(paired("polar_ppi"))
    async with home.streaming():
        await sensing(home, sensor)
        await pulse(home, sensor, *good(800, 810))
        assert home.spool.cursors["device-1/clock-offset-s"] == 3 * 3600
        sensor.reset_clock()
        await pulse(home, sensor, *good(820, 830))
        await pulse(home, sensor, *good(840))
    assert home.spool.beats() == [800, 810, 820, 830, 840]
    assert [run.gap_before_ms for run in home.spool.runs()] == [WARM_UP_S * 1000, 0, 0]
    assert home.spool.runs()[-1].end_utc == home.clock.now
    reset_by = (polar_pmd.RESET_UTC - START) // SECOND
    assert abs(home.spool.cursors["device-1/clock-offset-s"] - reset_by) < 60


async def test_polar_on_its_charger_is_asked_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polar_ppi, "RETRY_S", 0.05)
    sensor = PolarSensor("sim polar", ADDRESS, clock=home.clock)
    sensor.is_charging = True
    await home.put_on_air(sensor)
    await home.open_gateway(paired("polar_ppi"))
    async with home.streaming():
        await until(lambda: sensor.starts == 2)
        sensor.is_charging = False
        await until(lambda: sensor.starts == 3)
        home.clock.now += WARM_UP_S * SECOND
        await pulse(home, sensor, *good(800, 810))
    assert home.spool.beats() == [800, 810]
    assert home.gateway.progress[DEVICE].rejected == {"polar: not started, on the charger": 2}
    assert home.gateway.progress[DEVICE].connections == 1


@QUIRKS
async def test_polar_that_wants_a_bond(home: Home, quirks: Quirks) -> None:
    """Without a bond the reason is on record; with one it streams (an H10 asks for it too)."""
    sensor = PolarSensor("sim polar", ADDRESS, clock=home.clock)
    await home.put_on_air(sensor, encrypted=[polar_pmd.CONTROL])
    await home.open_gateway(replace(paired("polar_ppi"), is_bonded=True), quirks=quirks)
    async with home.streaming():
        await sensing(home, sensor)
        await pulse(home, sensor, *good(800, 810))
    assert home.spool.beats() == [800, 810]


async def test_polar_without_the_bond_it_wants(home: Home) -> None:
    sensor = PolarSensor("sim polar", ADDRESS, clock=home.clock)
    await home.put_on_air(sensor, encrypted=[polar_pmd.CONTROL])
    await home.open_gateway(paired("polar_ppi"))
    async with home.streaming():
        await until(lambda: home.gateway.progress[DEVICE].connections >= 2)
    assert home.spool.observations == []
    assert sensor.starts == 0


async def test_strap_that_wants_a_bond(home: Home) -> None:
    """H10: the same heart-rate service, RR and all, over an encrypted link."""
    strap, pair = strap_with(home)
    await home.put_on_air(strap, encrypted=[battery.LEVEL])
    await home.open_gateway(replace(pair, is_bonded=True))
    async with home.streaming():
        await listening(home)
        await play(home, strap, [800, 810, 820], 1)
    assert home.spool.beats() == [800, 810, 820]
    assert home.gateway.progress[STRAP].rejected == {}
    assert home.spool.firmware == {STRAP: "1.0"}


# --- InfiniTime


async def walk(home: Home, watch: Watch, steps: int, after_s: int) -> None:
    progress = home.gateway.progress[DEVICE]
    home.clock.now += after_s * SECOND
    expected = progress.arrived + 1
    await watch.walk(steps)
    await kept(home, expected)


async def settled(home: Home, at_s: int) -> None:
    """Wait until steps are settled up to a second from the beginning."""
    await until(lambda: home.spool.cursors.get("device-1/step_count", 0) >= START + at_s * SECOND)


@QUIRKS
@pytest.mark.usefixtures("_short_looks")
async def test_infinitime_steps_by_the_minute(home: Home, quirks: Quirks) -> None:
    """What it had counted since its midnight, then minutes; a minute without steps only with a pulse."""
    watch = Watch("sim pinetime", ADDRESS, clock=home.clock, offset_us=HOUR)
    await watch.walk(500)
    await home.put_on_air(watch)
    await home.open_gateway(paired("infinitime"), quirks=quirks)
    async with home.streaming():
        await heard(home)
        await walk(home, watch, 10, 20)
        await walk(home, watch, 20, 20)
        await walk(home, watch, 40, 40)
        home.clock.now += 60 * SECOND
        await settled(home, 120)
        # no pulse found: no word on the minute
        await watch.beat(0)
        await kept(home, 4)
        home.clock.now += 60 * SECOND
        await settled(home, 180)
        await watch.beat(64)
        await kept(home, 5)
        home.clock.now += 60 * SECOND
        await settled(home, 240)
        home.clock.now += 60 * SECOND
        await settled(home, 300)
    assert intervals(home) == [(-13 * 3600, 0, 500), (0, 60, 30), (60, 120, 40), (180, 240, 0)]
    assert [(o.bpm, o.start_utc) for o in of(home, HeartRate) if isinstance(o, HeartRate)] == [
        (b"\x40", START + 199 * SECOND)
    ]
    assert home.spool.firmware == {DEVICE: "1.15.0"}
    assert [o.level_pct for o in of(home, Battery) if isinstance(o, Battery)] == [55]
    assert home.rejected == []


@pytest.mark.usefixtures("_short_looks")
async def test_infinitime_midnight(home: Home) -> None:
    """The counter says 0 and goes on: no negative, no second count of the day before."""
    watch = Watch("sim pinetime", ADDRESS, clock=home.clock, offset_us=11 * HOUR + 45 * MINUTE)
    await watch.walk(8000)
    await home.put_on_air(watch)
    await home.open_gateway(paired("infinitime"))
    async with home.streaming():
        await heard(home)
        await walk(home, watch, 20, 880)
        home.clock.now += 25 * SECOND
        await watch.pass_midnight()
        await kept(home, 2)
        await walk(home, watch, 15, 15)
        home.clock.now += 40 * SECOND
        await settled(home, 960)
    assert intervals(home) == [(900 - 86_400, 0, 8000), (840, 900, 20), (900, 960, 15)]
    assert home.rejected == []


@pytest.mark.usefixtures("_short_looks")
async def test_infinitime_glitch_is_refused(home: Home) -> None:
    """More steps than legs can make are no steps, and the ones after are counted from there."""
    watch = Watch("sim pinetime", ADDRESS, clock=home.clock)
    await home.put_on_air(watch)
    await home.open_gateway(paired("infinitime"))
    async with home.streaming():
        await heard(home)
        await walk(home, watch, 50_000, 30)
        home.clock.now += 270 * SECOND
        await until(lambda: len(home.rejected) == 1)
        await walk(home, watch, 25, 20)
        home.clock.now += 40 * SECOND
        await settled(home, 360)
    assert intervals(home) == [(300, 360, 25)]
    assert home.rejected[0][2] == "step_count of more than 1500 in 300 s"


@pytest.mark.usefixtures("_short_looks")
@pytest.mark.parametrize("how", ["same day", "midnight", "restart"])
async def test_infinitime_steps_made_out_of_reach(home: Home, how: str) -> None:
    """They come as one interval over the time away; what the counter lost is a gap with its reason."""
    watch = Watch("sim pinetime", ADDRESS, clock=home.clock)
    await watch.walk(500)
    hosted = await home.put_on_air(watch)
    await home.open_gateway(paired("infinitime"))
    async with home.streaming():
        await heard(home)
        await walk(home, watch, 30, 10)
        await hosted.drop()
        await until(lambda: len(of(home, StepCount)) == 2)
        hosted.set_in_range(False)
        home.clock.now += {"same day": 2, "midnight": 13, "restart": 2}[how] * HOUR
        if how == "restart":
            watch.restart()
        await watch.walk(70)
        hosted.set_in_range(True)
        await until(lambda: len(of(home, StepCount)) == 3)
    gaps = [gap.reason for gap in home.gateway.progress[DEVICE].gaps]
    at = (home.clock.now - START) // SECOND
    first = [(-12 * 3600, 0, 500), (0, 10, 30)]
    match how:
        case "same day":
            assert intervals(home) == [*first, (10, at, 70)]
        case "midnight":
            assert intervals(home) == [*first, (12 * 3600, at, 70)]
            assert "step counter began a new day: steps before are lost" in gaps
        case _:
            assert intervals(home) == [*first, (10, at, 70)]
            assert "step counter restarted: steps before are lost" in gaps
            assert home.spool.cursors["device-1/clock-offset-s"] == 0
            assert watch.offset_us == 0
    assert home.rejected == []


@pytest.mark.usefixtures("_short_looks")
async def test_infinitime_clock(home: Home) -> None:
    """The zone a phone once set stays, the drift goes, and both are on record."""
    zone, drift = 5 * HOUR + 45 * MINUTE, -37 * SECOND
    watch = Watch("sim pinetime", ADDRESS, clock=home.clock, offset_us=zone + drift)
    await home.put_on_air(watch)
    await home.open_gateway(paired("infinitime"))
    async with home.streaming():
        await heard(home)
        assert watch.offset_us == zone
        # a day later it is looked at again
        watch.offset_us += 2 * SECOND
        home.clock.now += DAY
        await until(lambda: home.spool.cursors["device-1/clock-set"] > START)
        assert watch.offset_us == zone
        assert home.spool.cursors["device-1/clock-drift-ms"] == 2000
        assert home.spool.cursors["device-1/clock-drift-after-ms"] == 0
    assert home.spool.cursors["device-1/clock-offset-s"] == zone // SECOND


# --- Bangle.js


def week(until_utc: int) -> list[Block]:
    """Blocks of the seven days before: night, still, walking, off."""
    blocks: list[Block] = []
    for index in range(7 * 144):
        end = until_utc // 1000 - index * 600_000
        activity = ("WALKING", "LIGHT_SLEEP", "DEEP_SLEEP", "NOT_WORN", "UNKNOWN", "UNKNOWN")[index % 6]
        steps, bpm = ((400, 90), (0, 55), (0, 50), (0, 0), (7, 0), (0, 0))[index % 6]
        blocks.append(Block(end, steps, bpm, 100 * (index % 6), activity))
    return blocks


@QUIRKS
async def test_bangle_history(home: Home, quirks: Quirks) -> None:
    """Every block comes out as it was, in lines cut anywhere; an idle or absent watch says no zero."""
    watch = BangleWatch("sim bangle", ADDRESS, clock=home.clock, offset_us=90 * SECOND, chunk=180)
    blocks = week(START)[:144]
    watch.remember(blocks)
    watch.noise = b'>\r\n{"t":"act","stp":3,"hrm":60,"rt":1}\r\n{"t":"info","msg":"x"}\n'
    await home.put_on_air(watch)
    gateway = await home.open_gateway(paired("bangle"), quirks=quirks)
    (result,) = await gateway.pull_history()
    assert result.error is None
    starts = {block.end_ms * 1000 - 600 * SECOND: block for block in blocks}
    assert samples(home.spool.observations, keep=StepCount) == {
        at: block.steps for at, block in starts.items() if block.steps or "SLEEP" in block.activity
    }
    assert samples(home.spool.observations, keep=HeartRate) == {
        at: block.bpm for at, block in starts.items() if block.bpm
    }
    assert samples(home.spool.observations, keep=SleepStage) == {
        at: {"LIGHT_SLEEP": 2, "DEEP_SLEEP": 3}[block.activity]
        for at, block in starts.items()
        if "SLEEP" in block.activity
    }
    off = [o.start_utc for o in of(home, Wear) if isinstance(o, Wear) and not o.is_worn]
    assert off == sorted(at for at, block in starts.items() if block.activity == "NOT_WORN")
    assert watch.offset_us == 0
    assert home.spool.cursors == {
        "device-1/clock-drift-ms": 90_000,
        "device-1/clock-drift-after-ms": 0,
        "device-1/clock-set": START,
        "device-1/history": START,
    }
    assert home.rejected == []


@pytest.mark.parametrize("fault", ["broken line", "breaks off", "absurd time"])
async def test_bangle_broken_history_is_read_again(
    home: Home, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is valid is kept; the cursor moves only when all of it came."""
    monkeypatch.setattr("devices.drivers.bangle.ANSWER_TIMEOUT_S", 0.3)
    watch = BangleWatch("sim bangle", ADDRESS, clock=home.clock, chunk=180)
    watch.remember(week(START)[:24])
    if fault == "broken line":
        watch.noise = b'{"t":"act","ts":17053\n'
    elif fault == "breaks off":
        watch.breaks_after = 20
    else:
        watch.remember([Block(START // 1000 + 86_400_000, 9)])
    await home.put_on_air(watch)
    gateway = await home.open_gateway(paired("bangle"))
    await gateway.pull_history()
    reasons = [reason for _, _, reason, _ in home.rejected]
    if fault == "absurd time":
        assert reasons == ["banglejs: block outside the time asked for"]
        assert home.spool.cursors["device-1/history"] == START
        return
    assert reasons == (["banglejs: malformed JSON"] if fault == "broken line" else [])
    assert "device-1/history" not in home.spool.cursors
    assert home.spool.observations
    watch.noise, watch.breaks_after = b"", None
    home.spool.observations.clear()
    await gateway.pull_history()
    assert len(samples(home.spool.observations, keep=StepCount)) == 16
    assert home.spool.cursors["device-1/history"] == START


async def test_bangle_second_pull_begins_a_day_earlier(home: Home) -> None:
    watch = BangleWatch("sim bangle", ADDRESS, clock=home.clock, chunk=180)
    watch.remember(week(START))
    await home.put_on_air(watch)
    gateway = await home.open_gateway(paired("bangle"))
    home.spool.cursors["device-1/history"] = START - DAY
    await gateway.pull_history()
    assert min(o.start_utc for o in home.spool.observations) == START - 2 * DAY - 600 * SECOND
    watch.remember([Block(START // 1000 - 3_600_000, 555, 0, 0, "WALKING")])
    home.spool.observations.clear()
    await gateway.pull_history()
    assert samples(home.spool.observations, keep=StepCount)[START - HOUR - 10 * MINUTE] == 555
    assert min(o.start_utc for o in home.spool.observations) == START - DAY - 600 * SECOND


# --- Physical Activity Monitor


@QUIRKS
async def test_activity_monitor(home: Home, quirks: Quirks) -> None:
    """Sums become intervals, sessions stay where they were placed, also over a lost link."""
    monitor = Monitor("sim monitor", ADDRESS, clock=home.clock)
    hosted = await home.put_on_air(monitor)
    await home.open_gateway(paired("activity_monitor"), quirks=quirks)
    progress = home.gateway.progress[DEVICE]

    async def say(steps: int, worn_s: int, after_s: int) -> None:
        home.clock.now += after_s * SECOND
        expected = progress.arrived + 1
        assert await monitor.walk(steps, worn_s)
        await kept(home, expected)

    async with home.streaming():
        await heard(home)
        await say(100, 60, 60)
        await say(0, 60, 60)
        await say(0, 0, 60)
        await say(0, 0, 0)
        monitor.begin_sub_session()
        await say(50, 20, 60)
        await hosted.drop()
        await until(lambda: not progress.is_listening)
        await heard(home)
        await say(70, 300, 300)
        monitor.begin_session()
        await say(5, 60, 60)
        # restarted: the same number, from the beginning
        monitor._session -= 1
        monitor.begin_session()
        await say(8, 20, 20)
    assert intervals(home) == [
        (0, 60, 100),
        (60, 120, 0),
        (180, 240, 50),
        (240, 540, 70),
        (540, 600, 5),
        (600, 620, 8),
    ]
    worn = [((o.start_utc - START) // SECOND, o.is_worn) for o in of(home, Wear) if isinstance(o, Wear)]
    assert worn == [(0, True), (60, True), (120, False), (240, True), (540, True), (600, True)]
    assert {o.source for o in of(home, StepCount)} == {"sig-pams-draft/1"}
    assert home.rejected == []


async def test_activity_monitor_sleep(home: Home) -> None:
    """An instant speaks for the time since the one before, and for no more than five minutes."""
    monitor = Monitor("sim monitor", ADDRESS, clock=home.clock)
    await home.put_on_air(monitor)
    await home.open_gateway(paired("activity_monitor"))
    progress = home.gateway.progress[DEVICE]
    async with home.streaming():
        await heard(home)
        await until(lambda: len(home.spool.observations) == 1)
        stages = (
            physical_activity.WAKE,
            physical_activity.N2,
            physical_activity.REM,
            physical_activity.SLEEP,
        )
        for stage, after_s in zip(stages, (30, 30, 30, 3600), strict=True):
            home.clock.now += after_s * SECOND
            expected = progress.arrived + 1
            assert await monitor.sleep(stage, 52)
            await kept(home, expected)
    found = [((o.start_utc - START) // SECOND, o.epoch_s, o.stages) for o in of(home, SleepStage)]  # type: ignore[attr-defined]
    assert found == [(30, 30, b"\x02"), (60, 30, b"\x04")]
    assert len(of(home, HeartRate)) == 4


@pytest.mark.parametrize("missing", [physical_activity.SLEEP_INSTANT, physical_activity.STEP_SUMMARY])
async def test_activity_monitor_with_half_the_service(home: Home, missing: str) -> None:
    monitor = Monitor("sim monitor", ADDRESS, clock=home.clock)
    await home.put_on_air(monitor, missing=[missing])
    await home.open_gateway(paired("activity_monitor"))
    async with home.streaming():
        await heard(home)
        home.clock.now += 60 * SECOND
        if missing == physical_activity.SLEEP_INSTANT:
            assert await monitor.walk(100, 60)
        else:
            assert await monitor.sleep(physical_activity.REM, 52)
        await kept(home, 1)
    assert len(of(home, StepCount)) + len(of(home, HeartRate)) == 1
