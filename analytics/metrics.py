"""Registry of metrics: the one definition of name, unit, plausible range, direction and code.

Table columns, rules, sentences and codes for other systems derive from here.
LOINC codes only where two public mappings agree; everything else has a local code.
"""

from dataclasses import dataclass
from typing import Final, Literal

from devices import units

Grain = Literal["day", "night"]
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
        Name of its column in the table patient_day, and of the metric everywhere else.
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
        Usual within-person standard deviation, on `scale`.
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
    scale: Scale
    within_sd: float
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
        unit=units.STEPS,
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

#: Metric id -> metric.
METRICS: Final[dict[str, Metric]] = {metric.id: metric for metric in _METRICS}
