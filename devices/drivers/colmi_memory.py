"""What a Colmi ring's memory says, as observations; times the ring's clock cannot tell are left out."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from devices.blobs import pack_u16
from devices.clock import DAY, MINUTE, from_utc, to_utc
from devices.codec import colmi, colmi_hrv
from devices.drivers.colmi_clock import contiguous
from devices.ids import DeviceId
from devices.observations import DeviceHrv, HeartRate, SleepStage, StepCount

SLOT_MIN: Final = 15
#: Sleep stages of the ring -> codes of ``STAGES``; what is not here is unknown.
_STAGES: Final = {2: 2, 3: 3, 4: 4, 5: 1}

#: Ring time (microseconds as if UTC) to microseconds UTC, where that can be told.
RingTime = Callable[[int], int | None]


def midnight_of(ring: int) -> int:
    """Start of the ring's day that holds an instant, both ring time."""
    return ring // DAY * DAY


def slot_ring(slot: colmi.StepSlot) -> int:
    """Ring time at which a quarter hour begins."""
    midnight = datetime.combine(slot.day, datetime.min.time(), tzinfo=from_utc(0).tzinfo)
    return to_utc(midnight) + slot.slot * SLOT_MIN * MINUTE


def steps_until(settled: int, slots: Iterable[colmi.StepSlot]) -> int:
    """Steps of the day that holds the last quarter hour before `settled` (ring time), up to there."""
    first = midnight_of(settled - 1)
    return sum(slot.steps for slot in slots if first <= slot_ring(slot) < settled)


def step_runs(device: DeviceId, slots: Iterable[colmi.StepSlot], utc: RingTime) -> list[StepCount]:
    """Runs of consecutive quarter hours; a slot that is absent ends a run and is not zero steps."""
    counts = {slot_ring(slot): slot.steps for slot in slots}
    stamped = sorted((at, steps) for ring, steps in counts.items() if (at := utc(ring)) is not None)
    return [
        StepCount(
            device=device,
            start_utc=start,
            source=colmi.SOURCE,
            period_s=SLOT_MIN * 60,
            counts=pack_u16(steps),
        )
        for start, steps in contiguous(stamped, SLOT_MIN * MINUTE)
    ]


def rate_runs(device: DeviceId, log: colmi.HeartRateLog, utc: RingTime) -> list[HeartRate]:
    """The day's heart rates from the first reading to the last; none when there is no reading."""
    midnight, spacing = to_utc(log.midnight), log.step_min * MINUTE
    stamped = ((utc(midnight + index * spacing), bpm) for index, bpm in enumerate(log.bpm))
    runs: list[HeartRate] = []
    for start, rates in contiguous(stamped, spacing):
        kept = bytes(rates).rstrip(b"\0")
        if not kept:
            continue
        first = len(kept) - len(kept.lstrip(b"\0"))
        run = HeartRate(
            device=device,
            start_utc=start + first * spacing,
            source=colmi.SOURCE,
            period_s=log.step_min * 60,
            bpm=kept[first:],
        )
        runs.append(run)
    return runs


def sleep_runs(
    device: DeviceId, days: Sequence[colmi.SleepDay], midnight: int, utc: RingTime
) -> list[SleepStage]:
    """Sleep episodes as 60 s epochs, oldest first; `midnight` began the ring's today (ring time)."""
    runs: list[SleepStage] = []
    for day in days:
        begin = midnight - day.days_ago * DAY + day.start_min * MINUTE
        stages = b"".join(bytes([_STAGES.get(stage, 0)]) * minutes for stage, minutes in day.stages)
        stamped = ((utc(begin + index * MINUTE), stage) for index, stage in enumerate(stages))
        runs += [
            SleepStage(device=device, start_utc=start, source=colmi.SOURCE, epoch_s=60, stages=bytes(run))
            for start, run in contiguous(stamped, MINUTE)
        ]
    return sorted(runs, key=lambda run: run.start_utc)


def variability_readings(
    device: DeviceId, log: colmi_hrv.HrvLog, midnight: int, utc: RingTime
) -> list[DeviceHrv]:
    """The day's variability numbers; `midnight` began the ring's today (ring time), 0 is no reading."""
    begin, spacing = midnight - log.days_ago * DAY, log.step_min * MINUTE
    stamped = ((utc(begin + index * spacing), value) for index, value in enumerate(log.value_ms) if value)
    return [
        DeviceHrv(
            device=device,
            start_utc=start,
            source=colmi.SOURCE,
            period_s=log.step_min * 60,
            value_ms=value,
            method="vendor",
        )
        for start, value in stamped
        if start is not None
    ]
