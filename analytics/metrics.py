"""Registry of metrics: the one definition of name, unit, plausible range, direction and code.

Table columns, rules, sentences and codes for other systems derive from here.
LOINC codes only where two public mappings agree; everything else has a local code.
"""

from dataclasses import dataclass
from math import nan
from typing import Final, Literal

from devices import units

Grain = Literal["window", "day", "night", "28 days", "questionnaire"]
#: Whether more of it is usually worse, better, or neither by itself.
Direction = Literal["higher is worse", "higher is better", "neither"]
#: Scale on which a patient's days are compared with each other.
Scale = Literal["identity", "ln"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Parameters
    ----------
    id : str
        Name of its column in patient_day, night, hrv_window or rhythm, and of the metric everywhere else.
    unit : str
        UCUM code.
    plausible : tuple of float
        Lowest and highest value that can be true.
    minimum : str
        What has to be there, else null.
    scale : str
        "ln" when relative changes are what counts.
    scale_floor : float
        Values below are raised to it before the logarithm.
    within_sd : float
        Usual within-person standard deviation, on `scale`; NaN: no personal baseline is kept.
    stream : str or None
        Key of the device in the column device_segment; None: does not depend on a device.
    loinc : str or None
        LOINC code, None where no verified one exists.
    """

    id: str
    name: str
    unit: str
    grain: Grain
    plausible: tuple[float, float]
    minimum: str
    direction: Direction
    source: str
    scale: Scale = "identity"
    within_sd: float = nan
    stream: str | None = None
    scale_floor: float = 0.0
    loinc: str | None = None

    @property
    def code(self) -> str:
        """LOINC code, or the local one."""
        return self.loinc or f"flarecast-{self.id.replace('_', '-')}"


_METRICS: Final = (
    Metric(
        id="steps",
        name="steps",
        unit=units.STEPS_PER_DAY,
        grain="day",
        plausible=(0, 100_000),
        minimum="600 minutes worn",
        direction="higher is better",
        source="step counts of the worn device, by local date",
        scale="ln",
        scale_floor=200,
        within_sd=0.46,
        stream="steps",
        loinc="41950-7",
    ),
    Metric(
        id="tst_min",
        name="total sleep time",
        unit=units.MINUTE,
        grain="night",
        plausible=(0, 1080),
        minimum="recorded main sleep of 180 minutes, at most 20 % of it of unknown stage",
        direction="higher is better",
        source="stage epochs of the main sleep",
        scale="identity",
        within_sd=55,
        stream="sleep",
        loinc="93832-4",
    ),
    Metric(
        id="waso_min",
        name="wake after sleep onset",
        unit=units.MINUTE,
        grain="night",
        plausible=(0, 720),
        minimum="as total sleep time",
        direction="higher is worse",
        source="main sleep without its sleep epochs",
        scale="identity",
        within_sd=14.6,
        stream="sleep",
        loinc="103215-0",
    ),
    Metric(
        id="midpoint_h",
        name="mid-sleep",
        unit="h",
        grain="night",
        plausible=(-12, 12),
        minimum="as total sleep time",
        direction="neither",
        source="middle between sleep onset and final awakening, local clock",
        scale="identity",
        within_sd=50 / 60,
        stream="sleep",
    ),
    Metric(
        id="resting_hr_bpm",
        name="resting heart rate",
        unit=units.PER_MINUTE,
        grain="night",
        plausible=(25, 150),
        minimum="one half hour of sleep, 80 % covered",
        direction="higher is worse",
        source="lowest 30-minute median in sleep",
        scale="identity",
        within_sd=1.8,
        stream="pulse",
        loinc="40443-4",
    ),
    Metric(
        id="rmssd_ms",
        name="RMSSD",
        unit=units.MILLISECOND,
        grain="night",
        plausible=(1, 300),
        minimum="6 five-minute windows, each 80 % covered and at most 20 % flagged",
        direction="higher is better",
        source="nightly median over five-minute windows of RR intervals",
        scale="ln",
        scale_floor=1,
        within_sd=0.18,
        stream="hrv",
    ),
    Metric(
        id="nrs",
        name="pain score",
        unit=units.SCORE,
        grain="day",
        plausible=(0, 10),
        minimum="one answer",
        direction="higher is worse",
        source="mean of the day's answers, 0-10",
        scale="identity",
        within_sd=0.9,
        loinc="72514-3",
    ),
    Metric(
        id="mood",
        name="low mood",
        unit=units.SCORE,
        grain="day",
        plausible=(0, 10),
        minimum="one answer",
        direction="higher is worse",
        source="mean of the day's answers, 0 (good) to 10 (low)",
        scale="identity",
        within_sd=1.2,
    ),
)

_SLEEP: Final = "as total sleep time"
_WINDOWS: Final = "as RMSSD"
_WINDOW: Final = "300 s, 80 % covered and at most 20 % flagged"
_SPECTRAL: Final = f"{_WINDOW}; at most 5 % flagged, no gap of more than 5 s"
_WELCH: Final = "Welch, 4 Hz, Hann, 1024 points (Kubios within 1 %); exploratory"
_VALID_DAY: Final = "600 minutes worn, counts of single minutes"
_MAIN: Final = "stage epochs of the main sleep"
_MINUTES: Final = "steps of worn minutes"
_RHYTHM: Final = "5 days with 20 hours of 30 known minutes"
_HOURS: Final = "hourly steps by the local clock (van Someren 1999)"
_ITEMS: Final = "every item answered"
_UP: Final[Direction] = "higher is better"
_DOWN: Final[Direction] = "higher is worse"
_OPEN: Final[Direction] = "neither"
_PER_HOUR: Final = "{steps}/h"

#: id, name, unit, grain, plausible, minimum, direction, source, LOINC: shown, without a personal baseline.
_SHOWN: Final[
    tuple[tuple[str, str, str, Grain, tuple[float, float], str, Direction, str, str | None], ...]
] = (
    ("wear_min", "wear time", units.MINUTE, "day", (0, 3000), "none", _OPEN, "pulse, then movement", None),
    ("not_worn_min", "time not worn", units.MINUTE, "day", (0, 3000), "none", _OPEN, "as wear time", None),
    *(
        (
            f"cadence_{name}_min",
            f"minutes at {name.replace('_', '-')} steps/min",
            units.MINUTE,
            "day",
            (0, 3000),
            _VALID_DAY,
            _OPEN,
            f"{_MINUTES} (Tudor-Locke 2011)",
            None,
        )
        for name in ("0", "1_19", "20_39", "40_59", "60_79", "80_99", "100_119", "120")
    ),
    ("mvpa_min", "minutes of at least 100 steps/min", units.MINUTE, "day", (0, 3000), _VALID_DAY, _UP,
     f"{_MINUTES} (Tudor-Locke 2018)", None),
    ("sedentary_min", "sedentary time", units.MINUTE, "day", (0, 3000), _VALID_DAY, _DOWN,
     f"{_MINUTES}, awake", None),
    ("sedentary_bout_count", "sedentary bouts", units.COUNT, "day", (0, 1500), _VALID_DAY, _OPEN,
     "runs of sedentary minutes", None),
    ("sedentary_long_bout_count", "sedentary bouts of 30 min", units.COUNT, "day", (0, 99), _VALID_DAY, _DOWN,
     "runs of sedentary minutes (Diaz 2017)", None),
    ("efficiency_pct", "sleep efficiency", units.PERCENT, "night", (0, 100), f"{_SLEEP}, time in bed", _UP,
     "total sleep time / time in bed", None),
    ("maintenance_efficiency_pct", "sleep maintenance efficiency", units.PERCENT, "night", (0, 100), _SLEEP,
     _UP, "total sleep time / sleep episode", None),
    ("in_bed_min", "time in bed", units.MINUTE, "night", (0, 1560), f"{_SLEEP}, at most 4 h awake around it",
     _OPEN, "first to last epoch around the main sleep", "103213-5"),
    ("latency_min", "sleep latency", units.MINUTE, "night", (0, 240), f"{_SLEEP}, an epoch awake before it",
     _DOWN, _MAIN, "103212-7"),
    ("awakening_count", "awakenings", units.COUNT, "night", (0, 200), _SLEEP, _DOWN, _MAIN, "103211-9"),
    ("light_min", "light sleep", units.MINUTE, "night", (0, 1080), _SLEEP, _OPEN, _MAIN, "93830-8"),
    ("deep_min", "deep sleep", units.MINUTE, "night", (0, 1080), _SLEEP, _UP, _MAIN, "93831-6"),
    ("rem_min", "REM sleep", units.MINUTE, "night", (0, 1080), _SLEEP, _OPEN, _MAIN, "93829-0"),
    ("nap_count", "naps", units.COUNT, "day", (0, 24), "a sleep record", _OPEN,
     "other sleep episodes", None),
    ("nap_min", "sleep in naps", units.MINUTE, "day", (0, 1440), "a sleep record", _OPEN,
     "other sleep episodes", None),
    ("mean_nn_ms", "mean NN interval", units.MILLISECOND, "night", (300, 2000), _WINDOWS, _OPEN,
     "nightly median of windows", None),
    ("sdnn_ms", "SDNN of five minutes", units.MILLISECOND, "night", (1, 400), _WINDOWS, _UP,
     "nightly median of windows", "80404-7"),
    ("pnn50_pct", "pNN50", units.PERCENT, "night", (0, 100), _WINDOWS, _UP,
     "nightly median of windows", None),
    ("sd1_ms", "Poincare SD1", units.MILLISECOND, "window", (1, 300), _WINDOW, _UP,
     "gap-aware differences, across the line of identity", None),
    ("sd2_ms", "Poincare SD2", units.MILLISECOND, "window", (1, 600), _WINDOW, _UP,
     "along the line of identity", None),
    ("lf_ms2", "power of 0.04-0.15 Hz", "ms2", "window", (0, 100_000), _SPECTRAL, _OPEN, _WELCH, None),
    ("hf_ms2", "power of 0.15-0.4 Hz", "ms2", "window", (0, 100_000), _SPECTRAL, _OPEN, _WELCH, None),
    ("lf_hf", "LF/HF", "1", "window", (0, 100), _SPECTRAL, _OPEN,
     "lf_ms2 / hf_ms2, no measure of sympathetic balance; exploratory", None),
    ("l5_start_h", "start of the least active 5 hours", "h", "28 days", (0, 23), _RHYTHM, _OPEN, _HOURS,
     None),
    ("m10_start_h", "start of the most active 10 hours", "h", "28 days", (0, 23), _RHYTHM, _OPEN, _HOURS,
     None),
    ("interdaily_stability", "interdaily stability", "1", "28 days", (0, 1), _RHYTHM, _UP,
     _HOURS, None),
    ("intradaily_variability", "intradaily variability", "1", "28 days", (0, 4), _RHYTHM, _DOWN,
     _HOURS, None),
    ("relative_amplitude", "relative amplitude", "1", "28 days", (0, 1), _RHYTHM, _UP, _HOURS, None),
    ("l5", "least active 5 hours", _PER_HOUR, "28 days", (0, 20_000), _RHYTHM, _OPEN, _HOURS, None),
    ("m10", "most active 10 hours", _PER_HOUR, "28 days", (0, 20_000), _RHYTHM, _UP, _HOURS, None),
    ("sleep_regularity", "sleep regularity index", units.SCORE, "28 days", (-100, 100),
     "5 pairs of consecutive days with 960 comparable minutes", _UP, "minutes (Phillips 2017)", None),
    ("social_jetlag_h", "social jetlag", "h", "28 days", (0, 12),
     "the patient's work days, 2 nights of either kind", _DOWN, "circular mean mid-sleep", None),
    ("practice_min", "home practice", units.MINUTE, "day", (0, 1440), "an entry of the date", _OPEN,
     "practice logs", None),
    ("peg", "PEG", units.SCORE, "questionnaire", (0, 10), _ITEMS, _DOWN, "mean of 3 (Krebs 2009)", None),
    ("phq-2", "PHQ-2", units.SCORE, "questionnaire", (0, 6), _ITEMS, _DOWN, "sum (Kroenke 2003)", None),
    ("phq-8", "PHQ-8", units.SCORE, "questionnaire", (0, 24), _ITEMS, _DOWN, "sum (Kroenke 2009)", None),
    ("phq-9", "PHQ-9", units.SCORE, "questionnaire", (0, 27), _ITEMS, _DOWN, "sum (Kroenke 2001)", None),
    ("gad-7", "GAD-7", units.SCORE, "questionnaire", (0, 21), _ITEMS, _DOWN, "sum (Spitzer 2006)", None),
    ("pgic", "global impression of change", units.SCORE, "questionnaire", (1, 7), _ITEMS, _OPEN,
     "the answer (Guy 1976)", None),
)  # fmt: skip

#: Metric id -> metric, of those compared with the patient's own baseline.
METRICS: Final[dict[str, Metric]] = {metric.id: metric for metric in _METRICS}
#: Metric id -> metric, of all.
REGISTRY: Final[dict[str, Metric]] = METRICS | {
    row[0]: Metric(*row[:8], loinc=row[8])  # in order of the fields
    for row in _SHOWN
}
