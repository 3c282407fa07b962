"""Simulated Colmi ring: a clock, a battery and seven days of memory, behind the real protocol."""

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby

from devices.blobs import unpack_u16
from devices.clock import DAY, MINUTE, Clock, from_utc, to_utc
from devices.codec import colmi, colmi_hrv
from devices.errors import DecodeError, ObservationError
from devices.observations import DeviceHrv, HeartRate, Observation, SleepStage, StepCount
from devices.sim.wearable import Characteristic, Property, Service, Wearable, information_service

MEMORY_DAYS = 7
_SLOT_S = 900
_RATE_S = 300
_HRV_S = 1800
#: Codes of ``STAGES`` -> stages of the ring; it has no word for "unknown" and says 0.
_STAGES = {0: 0, 1: 5, 2: 2, 3: 3, 4: 4}
#: A sleep day says its length in one byte: 4 + 2 x 120 fits.
_STAGES_PER_DAY = 120
_WRITABLE = Property.WRITE | Property.WRITE_WITHOUT_RESPONSE


class Ring(Wearable):
    """Ring of the Colmi R02 family.

    It remembers by ring time, which runs `offset_us` ahead of UTC until a central
    sets its clock; what was remembered before keeps its old stamps, as on the
    real ring.

    Parameters
    ----------
    clock : Clock
        True time, microseconds UTC.
    offset_us : int
        Error of the ring's clock at the start.
    chunk : int
        Bytes of a big-data answer per notification.
    has_hrv_log : bool
        Whether its firmware knows the variability log; one that does not stays silent.
    """

    def __init__(
        self,
        name: str,
        address: str,
        *,
        clock: Clock,
        offset_us: int = 0,
        battery_pct: int = 64,
        chunk: int = 240,
        has_hrv_log: bool = True,
    ) -> None:
        self.battery_pct = battery_pct
        #: How often its battery was asked: observations this ring has made beside its memory.
        self.battery_reads = 0
        self.offset_us = offset_us
        self._clock = clock
        self._chunk = chunk
        self._has_hrv_log = has_hrv_log
        self._steps: dict[int, int] = {}
        self._rates: dict[int, int] = {}
        self._variability: dict[int, int] = {}
        self._epochs: dict[int, int] = {}
        services = (
            Service(
                colmi.SERVICE,
                (
                    Characteristic(colmi.WRITE, _WRITABLE, write=self._on_small),
                    Characteristic(colmi.NOTIFY, Property.NOTIFY),
                ),
            ),
            Service(
                colmi.BIG_SERVICE,
                (
                    Characteristic(colmi.BIG_WRITE, _WRITABLE, write=self._on_big),
                    Characteristic(colmi.BIG_NOTIFY, Property.NOTIFY),
                ),
            ),
            information_service(maker="flarecast", model="sim-ring", serial=address, firmware="R02-1.0"),
        )
        super().__init__(name, address, services, (colmi.SERVICE,))

    def remember(self, observations: Iterable[Observation]) -> None:
        """Store what was observed, as the ring would: quarter hours, five minutes, half hours, sleep minutes.

        Raises
        ------
        ObservationError
            When an observation is of a kind or spacing the ring does not store.
        """
        for observation in observations:
            # the clock is set in whole seconds; which slot a minute falls in is not decided by the rest
            start = (observation.start_utc + self.offset_us + MINUTE // 2) // MINUTE * MINUTE
            match observation:
                case StepCount() if _SLOT_S % observation.period_s == 0:
                    self._add_steps(start, observation)
                case HeartRate() if observation.period_s == _RATE_S:
                    _store(self._rates, start, _RATE_S, observation.bpm)
                case DeviceHrv() if observation.period_s == _HRV_S:
                    self._variability[start] = min(observation.value_ms, 255)
                case SleepStage() if observation.epoch_s == 60:
                    _store(self._epochs, start, 60, observation.stages)
                case _:
                    raise ObservationError(f"a ring does not store this {observation.kind}")

    def _add_steps(self, start: int, observation: StepCount) -> None:
        slot_us = _SLOT_S * 1_000_000
        fresh: dict[int, int] = {}
        for index, count in enumerate(unpack_u16(observation.counts)):
            slot = (start + index * observation.period_s * 1_000_000) // slot_us * slot_us
            fresh[slot] = fresh.get(slot, 0) + count
        whole = observation.period_s == _SLOT_S
        for slot, count in fresh.items():
            self._steps[slot] = count if whole else self._steps.get(slot, 0) + count

    @property
    def _now(self) -> int:
        return self._clock() + self.offset_us

    def _midnight(self, days_ago: int) -> int:
        return self._now // DAY * DAY - days_ago * DAY

    async def _on_small(self, payload: bytes) -> None:
        for frame in self._answer(payload):
            await self.notify(colmi.NOTIFY, frame)

    def _answer(self, payload: bytes) -> list[bytes]:
        try:
            command, _ = colmi.unpack(payload)
            match command:
                case colmi.SET_TIME:
                    return self._set_time(colmi.decode_set_time(payload))
                case colmi.BATTERY:
                    self.battery_reads += 1
                    return [colmi.encode_battery(self.battery_pct)]
                case colmi.STEPS:
                    return self._steps_of(colmi.decode_steps_request(payload))
                case colmi.HEART_RATE_LOG:
                    return self._rates_of(colmi.decode_heart_rate_request(payload))
                case colmi_hrv.HRV_LOG if self._has_hrv_log:
                    return self._variability_of(colmi_hrv.decode_request(payload))
                case _:
                    return []
        except DecodeError:
            # the ring stays silent on what it cannot read
            return []

    def _set_time(self, moment: datetime) -> list[bytes]:
        self.offset_us = to_utc(moment) - self._clock()
        return [colmi.pack(colmi.SET_TIME)]

    def _steps_of(self, days_ago: int) -> list[bytes]:
        if days_ago >= MEMORY_DAYS:
            return colmi.encode_steps([])
        midnight = self._midnight(days_ago)
        slots: list[colmi.StepSlot] = []
        for start in sorted(at for at in self._steps if midnight <= at < min(midnight + DAY, self._now)):
            steps, quarter = self._steps[start], (start - midnight) // (_SLOT_S * 1_000_000)
            # a walking step costs about 40 small calories and covers 0.7 m
            slots.append(
                colmi.StepSlot(
                    from_utc(midnight).date(),
                    quarter,
                    steps,
                    min(655_350, steps * 40),
                    min(65_535, steps * 7 // 10),
                )
            )
        return colmi.encode_steps(slots)

    def _rates_of(self, midnight: datetime) -> list[bytes]:
        start = to_utc(midnight)
        if start < self._midnight(MEMORY_DAYS - 1):
            return colmi.encode_heart_rates(colmi.HeartRateLog(midnight, 5, b""))
        slots = range(start, start + DAY, _RATE_S * 1_000_000)
        bpm = bytes(self._rates.get(slot, 0) if slot < self._now else 0 for slot in slots)
        return colmi.encode_heart_rates(colmi.HeartRateLog(midnight, 5, bpm))

    def _variability_of(self, days_ago: int) -> list[bytes]:
        midnight = self._midnight(days_ago)
        slots = range(midnight, midnight + DAY, _HRV_S * 1_000_000) if days_ago < MEMORY_DAYS else range(0)
        values = bytes(self._variability.get(slot, 0) if slot < self._now else 0 for slot in slots)
        return colmi_hrv.encode(colmi_hrv.HrvLog(days_ago, _HRV_S // 60, values))

    async def _on_big(self, payload: bytes) -> None:
        if payload != colmi.encode_sleep_request():
            return
        frame = colmi.encode_sleep(self._nights())
        for at in range(0, len(frame), self._chunk):
            await self.notify(colmi.BIG_NOTIFY, frame[at : at + self._chunk])

    def _nights(self) -> list[colmi.SleepDay]:
        """Episodes that ended within the memory; a gap of a minute begins a new one."""
        known = sorted(at for at in self._epochs if at + MINUTE <= self._now)
        nights: list[colmi.SleepDay] = []
        for _, group in groupby(enumerate(known), lambda pair: pair[1] - pair[0] * MINUTE):
            minutes = [at for _, at in group]
            stages = [
                (stage, len(list(run))) for stage, run in groupby(_STAGES[self._epochs[at]] for at in minutes)
            ]
            begin = minutes[0]
            for first in range(0, len(stages), _STAGES_PER_DAY):
                part = stages[first : first + _STAGES_PER_DAY]
                end = begin + sum(length for _, length in part) * MINUTE
                nights.append(self._sleep_day(begin, end, part))
                begin = end
        return [night for night in nights if night.days_ago < MEMORY_DAYS]

    def _sleep_day(self, begin: int, end: int, stages: list[tuple[int, int]]) -> colmi.SleepDay:
        midnight = end // DAY * DAY
        return colmi.SleepDay(
            (self._midnight(0) - midnight) // DAY,
            (begin - midnight) // MINUTE,
            (end - midnight) // MINUTE,
            tuple(stages),
        )


def _store(memory: dict[int, int], start: int, spacing_s: int, values: bytes) -> None:
    for index, value in enumerate(values):
        memory[start + index * spacing_s * 1_000_000] = value
