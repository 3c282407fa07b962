"""The care team's worklist in words, for a terminal: the same rows in the same order as on the page."""

from collections.abc import Iterator, Sequence

from alerts.console import words
from alerts.console.row import MetricSeries, WorklistRow
from alerts.console.worklist import PageFacts, sections_of

#: Of those without an alert as many are named: who lies lowest. The page has them all.
MOST_QUIET = 10


def in_words(rows: Sequence[WorklistRow], *, facts: PageFacts, is_synthetic: bool) -> list[str]:
    """Lines of the ranked patients; see :func:`alerts.console.worklist.render`."""
    synthetic = "  SYNTHETIC: invented people, no patient" if is_synthetic else ""
    lines = [f"Worklist, night ending {words.long_day(facts.local_date)}{synthetic}"]
    lines += facts.silences
    alerted, quiet, silent = sections_of(rows)
    for section in (alerted, quiet, silent):
        lines += ["", f"{section.title.upper()} {len(section.rows)}  {section.note}"]
        shown = section.rows[:MOST_QUIET] if section is quiet else section.rows
        for row in shown:
            lines += _with_alerts(row) if section is alerted else [_without(row, is_silent=section is silent)]
        if len(shown) < len(section.rows):
            lines.append(f"  and {len(section.rows) - len(shown)} more: see the page (--html)")
        if not section.rows:
            lines.append("  nobody")
    return [*lines, "", "The absence of an alert is not reassurance."]


def _with_alerts(row: WorklistRow) -> Iterator[str]:
    severity = row.severity or ""
    yield f"{words.SYMBOLS[severity]} {severity:8} {row.patient}  {words.alert_state(row)}"
    for alert in row.alerts:
        yield f"    {alert.reference}  {alert.title}; {words.told(alert)}"
    yield f"    {row.sentence}"
    yield f"    {'; '.join(_figures(row))}"


def _without(row: WorklistRow, *, is_silent: bool) -> str:
    said = words.silence(row) if is_silent else "; ".join(_figures(row))
    return f"  {row.patient}  {said}"


def _figures(row: WorklistRow) -> Iterator[str]:
    if row.deviation is not None:
        yield f"3 days together {words.deviation(row.deviation)}"
    yield from (_metric(series) for series in row.metrics)
    if context := words.context(row):
        yield context


def _metric(series: MetricSeries) -> str:
    name, last, age = words.HEADINGS[series.metric], series.last, words.last_age(series)
    if last is None:
        return f"{name} no data"
    below = " BELOW" if words.is_below(last) and not age else ""
    usual = "" if series.usual is None else f"usual {words.native(series.metric, series.usual)}"
    more = ", ".join(part for part in (usual, age) if part)
    return f"{name} {words.native(series.metric, last.value)}{below}" + (f" ({more})" if more else "")
