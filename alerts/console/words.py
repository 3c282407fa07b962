"""How numbers and states are said on the page."""

from datetime import date

from alerts.console.row import BAND_SD, DayPoint, MetricSeries, RowAlert, WorklistRow

#: Metric -> column heading.
HEADINGS = {"steps": "Steps per day", "tst_min": "Sleep", "rmssd_ms": "HRV (RMSSD)"}

#: Symbol beside the word: neither stands for the severity alone, nor does the colour.
SYMBOLS = {"critical": "⬤", "high": "▲", "medium": "◆", "low": "■"}

#: Flare-risk status -> words. No percentage: there is no honest interval for one person.
RISK_WORDS = {
    "uncalibrated": ("Not calibrated", ""),
    "insufficient_data": ("Too little data", "to say anything"),
    "learning": ("Learning", "first 14 days"),
    "in_flare": ("In a flare", "as reported"),
    "possible_flare": ("Possible flare", "pain above the own usual"),
    "ok": ("Calibrated", "forecast in the record"),
}


def number(value: float, digits: int = 0) -> str:
    """Number with thousands and a true minus sign."""
    return f"{value:,.{digits}f}".replace("-", "−")


def native(metric: str, value: float | None) -> str:
    """Value with its unit, as people say it."""
    if value is None:
        return "no data"
    if metric == "tst_min":
        return f"{number(value / 60, 1)} h"
    return f"{number(value)} ms" if metric == "rmssd_ms" else number(value)


def deviation(z: float | None) -> str:
    """Deviation in SD with its sign."""
    if z is None:
        return ""
    # rounded first: minus nothing is nothing
    shown = round(z, 1) + 0.0
    return f"{'+' if shown > 0 else ''}{number(shown, 1)} SD"


def day_name(day: date) -> str:
    """Short date: Tue 24 Nov."""
    return f"{day:%a} {day.day} {day:%b}"


def long_day(day: date) -> str:
    """Date in full: Tuesday 24 November 2026."""
    return f"{day:%A} {day.day} {day:%B %Y}"


def is_below(point: DayPoint | None) -> bool:
    """Whether the day lies below the patient's usual range."""
    return point is not None and point.z is not None and point.z < -BAND_SD


def chart_label(series: MetricSeries) -> str:
    """The chart in words, for those who do not see it."""
    heading = HEADINGS[series.metric]
    missing = sum(point.value is None for point in series.points)
    below = sum(is_below(point) for point in series.points)
    last = series.last
    said = f"last {native(series.metric, last.value)}" if last else "no value"
    return (
        f"{heading}, {len(series.points)} days: {said}; {below} below the usual range, {missing} without data"
    )


def last_age(series: MetricSeries) -> str:
    """How old the shown value is, when it is not of the last day."""
    last = series.last
    if last is None:
        return "no value in these weeks"
    days = (series.points[-1].local_date - last.local_date).days
    return "" if days == 0 else f"{days} day{'s' if days > 1 else ''} ago"


def silence(row: WorklistRow) -> str:
    """Since when nothing has come, and why if that is known."""
    latest = max((series.last.local_date for series in row.metrics if series.last), default=None)
    since = f"Nothing measured since {day_name(latest)}." if latest else "Nothing measured in these weeks."
    reason = (row.no_data_reason or "").rstrip(".")
    return f"{since} {reason[0].upper()}{reason[1:]}." if reason else since


def context(row: WorklistRow) -> str:
    """Pain and wear of the last day, where they are known."""
    parts: list[str] = []
    if row.nrs is not None:
        parts.append(f"Pain {number(row.nrs)}/10")
    if row.wear_min is not None:
        parts.append(f"worn {number(row.wear_min / 60)} h")
    return " · ".join(parts)


def told(alert: RowAlert) -> str:
    """What has become of an alert so far."""
    return alert.standing or ("care team told" if alert.is_delivered else "not yet delivered")


def alert_state(row: WorklistRow) -> str:
    """State of the patient's alerts, and when the earliest of them began."""
    state = "acknowledged" if all(alert.status == "acked" for alert in row.alerts) else "open"
    since = min(alert.local_date for alert in row.alerts)
    return f"{state}, began {since.day} {since:%b}"
