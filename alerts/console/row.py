"""What the worklist shows of one patient."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

#: Worst first.
SEVERITIES = ("critical", "high", "medium", "low")
#: A patient is silent when nothing was measured on the last days.
SILENT_DAYS = 3
#: Half-width of the patient's usual range, in SD of the own baseline.
BAND_SD = 2.0


@dataclass(frozen=True, slots=True)
class DayPoint:
    """A metric on one local date.

    Parameters
    ----------
    local_date : date
        Local date; of a night, the one it ends on.
    value : float or None
        In the metric's native unit; None when there is no data.
    z : float or None
        Deviation from the patient's own baseline, in SD; None when there is none.
    """

    local_date: date
    value: float | None
    z: float | None


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """A metric over the last weeks, days in order.

    Parameters
    ----------
    metric : str
        ``steps``, ``tst_min`` or ``rmssd_ms``.
    points : sequence of DayPoint
        One per local date, gaps included, oldest first.
    usual : float, optional
        The patient's own median in the native unit (not on the log scale).
    """

    metric: str
    points: Sequence[DayPoint]
    usual: float | None = None

    @property
    def last(self) -> DayPoint | None:
        """The latest day that has a value."""
        return next((point for point in reversed(self.points) if point.value is not None), None)


@dataclass(frozen=True, slots=True)
class RowAlert:
    """An active alert of the patient.

    Parameters
    ----------
    reference : str
        The alert's random reference.
    title : str
        What the rule is called.
    severity, status : str
        As in the journal.
    local_date : date
        Night on which the breach began.
    is_delivered : bool
        Whether somebody has been told.
    standing : str
        With whom it is, or why it is silent; empty where it just waits.
    """

    reference: str
    title: str
    severity: str
    status: str
    local_date: date
    is_delivered: bool
    standing: str = ""


@dataclass(frozen=True, slots=True)
class WorklistRow:
    """One patient.

    Parameters
    ----------
    patient, zone : str
        Patient id and IANA zone of the dates.
    status : str
        Flare-risk status, as in ``flare_risk.status``.
    sentence : str
        The reason in one sentence.
    metrics : sequence of MetricSeries
        What is drawn, in the order of the columns.
    deviation : float, optional
        Combined three-day deviation, SD.
    alerts : sequence of RowAlert
        Active alerts.
    nrs : float, optional
        Pain of the last day, 0-10.
    wear_min : float, optional
        Minutes worn on the last day.
    no_data_reason : str, optional
        Why nothing came, when that is known.
    """

    patient: str
    zone: str
    status: str
    sentence: str
    metrics: Sequence[MetricSeries]
    deviation: float | None = None
    alerts: Sequence[RowAlert] = ()
    nrs: float | None = None
    wear_min: float | None = None
    no_data_reason: str | None = None

    @property
    def severity(self) -> str | None:
        """Worst severity among the active alerts."""
        return min((alert.severity for alert in self.alerts), key=SEVERITIES.index, default=None)

    @property
    def is_silent(self) -> bool:
        """Whether nothing was measured on the last days."""
        recent = [point for series in self.metrics for point in series.points[-SILENT_DAYS:]]
        return all(point.value is None for point in recent)


def ranked(rows: Sequence[WorklistRow]) -> list[WorklistRow]:
    """Not yet acknowledged first, then by severity, then by deviation; patient id last, to be stable."""
    return sorted(rows, key=_rank)


def _rank(row: WorklistRow) -> tuple[bool, int, float, str]:
    is_seen = bool(row.alerts) and all(alert.status == "acked" for alert in row.alerts)
    severity = SEVERITIES.index(row.severity) if row.severity else len(SEVERITIES)
    deviation = math.inf if row.deviation is None else row.deviation
    return is_seen, severity, deviation, row.patient
