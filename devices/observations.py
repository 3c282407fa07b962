"""Observation kinds: what a device can say, one frozen struct per kind.

A struct is one *observation as it travels*: a single event (battery level, an
answer) or a run of equally spaced or contiguous samples (RR intervals, step
counts, sleep epochs). The identity of a sample is (device, kind, start), never
its value: a slot that grew since the last pull is the same sample, revised.

`source` names codec and version (``sig-heart-rate/1``) and stays with the sample
for ever.
"""

from typing import Annotated, ClassVar, Final, Literal

import msgspec

from devices.blobs import unpack_u16
from devices.clock import SECOND
from devices.errors import ObservationError
from devices.units import RR_MAX_MS

Slug = Annotated[str, msgspec.Meta(pattern="^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\\Z")]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
#: 2001-09-09 to 2096-10-02: a clock outside is not a clock.
Utc = Annotated[int, msgspec.Meta(ge=1_000_000_000_000_000, le=4_000_000_000_000_000)]
U8 = Annotated[int, msgspec.Meta(ge=0, le=255)]
U16 = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
U32 = Annotated[int, msgspec.Meta(ge=0, le=4_294_967_295)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
Blob = Annotated[bytes, msgspec.Meta(min_length=1, max_length=262_144)]
PeriodS = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
DayS = Annotated[int, msgspec.Meta(ge=0, le=86_400)]

#: Sleep stage codes, in the order of IEEE 1752.1; 0 is "asked, not known".
STAGES = ("unknown", "awake", "light", "deep", "rem")
Respondent = Literal["patient", "caregiver"]
#: How a device came by a heart-rate variability number; never interchangeable.
HrvMethod = Literal["rmssd", "sdnn", "vendor"]
Sensor = Literal["ecg", "ppg", "unknown"]
#: Effort as somebody felt it (IEEE 1752.1, reported_activity_intensity).
Intensity = Literal["light", "moderate", "vigorous"]


class Observation(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What every kind has; its fields are plain values, so that no collector of cycles need look at it."""

    kind: ClassVar[str]
    device: Slug
    start_utc: Utc
    source: Label

    @property
    def sample_count(self) -> int:
        """Samples carried: beats, minutes, epochs, or one."""
        return 1

    @property
    def end_utc(self) -> int:
        """End of the observed interval (exclusive), microseconds UTC."""
        return self.start_utc

    def check(self) -> None:
        """Raise :class:`ObservationError` for what field types cannot forbid."""


#: No interval with one of these is 0 or longer than :data:`RR_MAX_MS`.
_RR_HIGH_BYTES: Final = bytes(range(1, RR_MAX_MS >> 8))


class RrInterval(Observation, frozen=True, array_like=True, kw_only=True):
    """A gap-free run of RR intervals (any beat) in the order they happened.

    `start_utc` is the start of the first interval; the run ends at the last
    beat. `connection` names the Bluetooth connection and `first_beat` counts
    intervals within it, so that a retried message is recognisably the same.
    `gap_before_ms` is the silence between the previous run of this connection
    (or the subscription) and `start_utc`; ``None`` when nothing is known.
    """

    kind: ClassVar[str] = "rr_interval"
    connection: Slug
    first_beat: U32
    rr_ms: Blob
    gap_before_ms: U32 | None = None
    sensor: Sensor = "unknown"

    @property
    def sample_count(self) -> int:
        return len(self.rr_ms) // 2

    @property
    def end_utc(self) -> int:
        return self.start_utc + 1000 * sum(unpack_u16(self.rr_ms))

    def check(self) -> None:
        # by their high bytes alone nearly all are beyond doubt
        if len(self.rr_ms) % 2 == 0 and not self.rr_ms[1::2].translate(None, _RR_HIGH_BYTES):
            return
        intervals = unpack_u16(self.rr_ms)
        if min(intervals) == 0:
            raise ObservationError("RR interval of 0 ms")
        if max(intervals) > RR_MAX_MS:
            raise ObservationError(f"RR interval of {max(intervals)} ms is longer than {RR_MAX_MS} ms")


class HeartRate(Observation, frozen=True, array_like=True, kw_only=True):
    """Heart rates at a fixed spacing, beats per minute; 0 means no reading in that slot."""

    kind: ClassVar[str] = "heart_rate"
    period_s: PeriodS
    bpm: Blob

    @property
    def sample_count(self) -> int:
        return len(self.bpm) - self.bpm.count(0)

    @property
    def end_utc(self) -> int:
        return self.start_utc + len(self.bpm) * self.period_s * SECOND


class StepCount(Observation, frozen=True, array_like=True, kw_only=True):
    """Steps in consecutive intervals of `period_s` seconds; u16 per interval."""

    kind: ClassVar[str] = "step_count"
    period_s: PeriodS
    counts: Blob

    @property
    def sample_count(self) -> int:
        return len(self.counts) // 2

    @property
    def end_utc(self) -> int:
        return self.start_utc + self.sample_count * self.period_s * SECOND

    def check(self) -> None:
        # 5 steps/s is above any recorded human cadence: such a slot is a glitch
        ceiling = 5 * self.period_s
        if max(unpack_u16(self.counts)) > ceiling:
            raise ObservationError(f"step_count of more than {ceiling} in {self.period_s} s")


class SleepStage(Observation, frozen=True, array_like=True, kw_only=True):
    """Sleep stages of consecutive epochs of `epoch_s` seconds; u8 codes of :data:`STAGES`."""

    kind: ClassVar[str] = "sleep_stage"
    epoch_s: PeriodS
    stages: Blob

    @property
    def sample_count(self) -> int:
        return len(self.stages)

    @property
    def end_utc(self) -> int:
        return self.start_utc + len(self.stages) * self.epoch_s * SECOND

    def check(self) -> None:
        if max(self.stages) >= len(STAGES):
            raise ObservationError(f"sleep_stage code {max(self.stages)} is not one of 0-{len(STAGES) - 1}")


class Wear(Observation, frozen=True, array_like=True, kw_only=True):
    """The device's own word on whether it was worn, for `duration_s` seconds."""

    kind: ClassVar[str] = "wear"
    duration_s: Annotated[int, msgspec.Meta(ge=1, le=604_800)]
    is_worn: bool

    @property
    def end_utc(self) -> int:
        return self.start_utc + self.duration_s * SECOND


class Battery(Observation, frozen=True, array_like=True, kw_only=True):
    """Battery level in percent."""

    kind: ClassVar[str] = "battery"
    level_pct: Percent


class DeviceHrv(Observation, frozen=True, array_like=True, kw_only=True):
    """A heart-rate variability number computed by the device, with its method."""

    kind: ClassVar[str] = "device_hrv"
    period_s: PeriodS
    value_ms: U16
    method: HrvMethod

    @property
    def end_utc(self) -> int:
        return self.start_utc + self.period_s * SECOND


class ProAnswer(Observation, frozen=True, array_like=True, kw_only=True):
    """One answered item of a questionnaire; `answer_id` is the form's own unique id.

    `author` is who wrote it down, where that was not the respondent; the same in reports and logs.
    """

    kind: ClassVar[str] = "pro_answer"
    answer_id: Slug
    instrument: Slug
    item: Slug
    value: Annotated[float, msgspec.Meta(ge=-1000, le=1000)]
    form_version: Label
    language: Label
    mode: Label
    respondent: Respondent
    author: Slug | None = None


class FlareReport(Observation, frozen=True, array_like=True, kw_only=True):
    """The patient (or caregiver) says a flare is on; two yes/no questions may follow."""

    kind: ClassVar[str] = "flare_report"
    report_id: Slug
    respondent: Respondent
    is_harder_to_tolerate: bool | None = None
    has_stopped_activities: bool | None = None
    author: Slug | None = None


class SleepEpisode(Observation, frozen=True, array_like=True, kw_only=True):
    """A sleep episode as a device or application summed it up: onset to final awakening.

    Kept apart from what we compute from stages; ``None`` where the source said nothing.
    Fields after IEEE 1752.1, sleep-episode.
    """

    kind: ClassVar[str] = "sleep_episode"
    duration_s: DayS
    total_sleep_s: DayS | None = None
    wake_after_onset_s: DayS | None = None
    awakening_count: U16 | None = None
    is_main_sleep: bool | None = None

    @property
    def end_utc(self) -> int:
        return self.start_utc + self.duration_s * SECOND

    def check(self) -> None:
        for name in ("total_sleep_s", "wake_after_onset_s"):
            part = getattr(self, name)
            if part is not None and part > self.duration_s:
                raise ObservationError(f"sleep_episode: {name} of {part} s in {self.duration_s} s")


class PracticeLog(Observation, frozen=True, array_like=True, kw_only=True):
    """Something practised: a walk, a module of a programme; `log_id` is the entry's own unique id."""

    kind: ClassVar[str] = "practice_log"
    log_id: Slug
    practice: Slug
    duration_s: DayS
    intensity: Intensity | None = None
    respondent: Respondent | None = None
    author: Slug | None = None

    @property
    def end_utc(self) -> int:
        return self.start_utc + self.duration_s * SECOND


#: The registry: kind = table = folder = topic segment.
KINDS: dict[str, type[Observation]] = {
    cls.kind: cls
    for cls in (
        RrInterval,
        HeartRate,
        StepCount,
        SleepStage,
        Wear,
        Battery,
        DeviceHrv,
        ProAnswer,
        FlareReport,
        SleepEpisode,
        PracticeLog,
    )
}
