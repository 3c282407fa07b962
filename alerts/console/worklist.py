"""The care team's worklist as one HTML page that needs nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from alerts.console import words
from alerts.console.row import SEVERITIES, DayPoint, MetricSeries, RowAlert, WorklistRow, ranked
from alerts.console.sparkline import sparkline
from devices.clock import from_utc

__all__ = ["DayPoint", "MetricSeries", "PageFacts", "RowAlert", "WorklistRow", "render"]

#: Days in the table of a patient.
TABLE_DAYS = 7


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What stands above the list.

    Parameters
    ----------
    local_date : date
        The night the page is about: local date on which it ends, at each patient.
    made_utc : int
        When the page was made, microseconds UTC.
    site : str
        Clinic or programme; empty when there is none to name.
    shadow : str
        How far the site's own risk model is, and what the present one would have alerted.
    silences : sequence of str
        What is silenced now, by whom, until when and why.
    """

    local_date: date
    made_utc: int
    site: str = ""
    shadow: str = ""
    silences: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """Patients of one kind, in their order."""

    id: str
    title: str
    note: str
    rows: Sequence[WorklistRow]


@dataclass(frozen=True, slots=True)
class _Count:
    section: str
    symbol: str
    word: str
    count: int
    tone: str


def render(rows: Sequence[WorklistRow], *, facts: PageFacts, is_synthetic: bool) -> str:
    """Page of the ranked patients.

    Parameters
    ----------
    rows : sequence of WorklistRow
        Every patient, in any order.
    facts : PageFacts
        What stands above the list.
    is_synthetic : bool
        Marks the page as made from invented people.

    Returns
    -------
    str
        Self-contained HTML: no script, no request to anywhere.
    """
    package = files("alerts.console")
    style = (package / "worklist.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(day_name=words.day_name, deviation=words.deviation)
    template = environment.from_string((package / "worklist.html.j2").read_text("utf-8"))
    sections = sections_of(rows)
    return template.render(
        facts=facts,
        night=words.long_day(facts.local_date),
        zones=sorted({row.zone for row in rows}),
        made=from_utc(facts.made_utc).strftime("%Y-%m-%d %H:%M UTC"),
        is_synthetic=is_synthetic,
        sections=sections,
        counts=_counts(sections),
        patient_count=len(rows),
        is_uncalibrated=any(row.status == "uncalibrated" for row in rows),
        headings=words.HEADINGS,
        symbols=words.SYMBOLS,
        risk_words=words.RISK_WORDS,
        words=words,
        chart=lambda series: sparkline(series, words.chart_label(series)),
        last_days=_last_days,
        style=Markup(style),
        style_digest=digest,
    )


def sections_of(rows: Sequence[WorklistRow]) -> list[Section]:
    """Patients with an alert, without one, and without data, ranked."""
    ordered = ranked(rows)
    alerted = [row for row in ordered if row.alerts]
    quiet = [row for row in ordered if not row.alerts and not row.is_silent]
    silent = [row for row in ordered if not row.alerts and row.is_silent]
    return [
        Section(
            "alerts", "Active alerts", "not yet acknowledged first, then by severity and deviation", alerted
        ),
        Section("quiet", "No alert", "lowest three-day deviation first; no alert is not reassurance", quiet),
        Section("no-data", "No data", "nothing measured in the last three days", silent),
    ]


def _counts(sections: Sequence[Section]) -> list[_Count]:
    alerted, quiet, silent = sections
    by_severity = [
        _Count("alerts", words.SYMBOLS[name], name.capitalize(), count, name)
        for name in SEVERITIES
        if (count := sum(row.severity == name for row in alerted.rows))
    ]
    return [
        *(by_severity or [_Count("alerts", "✓", "Alerts", 0, "calm")]),
        _Count("quiet", "–", "No alert", len(quiet.rows), "calm"),
        _Count("no-data", "○", "No data", len(silent.rows), "silent"),
    ]


def _last_days(row: WorklistRow) -> list[tuple[date, list[tuple[str, DayPoint]]]]:
    """Table of the last days: date, then each metric's day."""
    days = list(zip(*(series.points[-TABLE_DAYS:] for series in row.metrics), strict=True))
    names = [series.metric for series in row.metrics]
    return [(day[0].local_date, list(zip(names, day, strict=True))) for day in reversed(days)]
