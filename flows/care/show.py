"""`flarecast alerts show`: an alert in the patient's own terms, on one screen."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import pyarrow.compute as pc
import sqlalchemy as sa

from alerts.console import words
from alerts.console.worklist import DayPoint
from alerts.engine import alert as alerts
from alerts.engine.alert import Alert
from alerts.engine.evaluate import night_of
from alerts.engine.journal import Journal
from alerts.engine.suggestions import in_order, steps_of
from alerts.engine.suggestions import in_words as step_in_words
from alerts.rules.pack import BY_METRIC, READABLE, RulePack
from alerts.rules.rule import CompositeRule, NoDataRule, ReportedRule, Rule, ThresholdRule, TrendRule
from alerts.store import audit
from alerts.store.schema import comment, condition, outcome
from flows.care.contraindications import contraindications, site_pathways
from flows.care.page import SHOWN, patient_series
from flows.care.record_notes import notes_of
from flows.care.words import began, moment, standing
from flows.clinic import Clinic
from flows.words import counted

#: Days of wear, pain and notes that bear on an alert.
RECENT_DAYS: Final = 28
#: Alerts of the patient before this one.
MOST_BEFORE: Final = 5

#: Of what the audit keeps of a step, what is shown as it stands.
TOLD: Final = ("label", "reason", "why", "held_by")


def print_alert(clinic: Clinic, journal: Journal, pack: RulePack, one: Alert) -> int:
    """Print what is known about an alert; returns the exit code."""
    print(f"{one.alert} v{one.version}: {one.severity}, {standing(one)}, {one.scope} {one.subject}")
    sections: list[tuple[str, Iterator[str]]] = [("why", _why(one))]
    if one.scope == "patient":
        known = _Known.read(clinic, one, night_of(journal.now()))
        sections += [
            ("own", known.own()),
            ("also", _also(journal, one)),
            ("noted", notes_of(clinic, one.subject, journal.now(), RECENT_DAYS)),
            ("before", _before(journal, one)),
            ("steps", _steps(clinic, journal, one)),
        ]
        sections.insert(1, ("over", iter([clears(pack.rule_named(one.rule), one, known.today)])))
    else:
        sections.insert(1, ("over", iter([clears(pack.rule_named(one.rule), one, {})])))
    sections += [("comment", _comments(journal, one)), ("history", _history(journal, one))]
    for name, lines in sections:
        for number, line in enumerate(lines):
            print(f"  {'' if number else name:9} {line}")
    return 0


def _why(one: Alert) -> Iterator[str]:
    yield one.sentence
    for name, value in one.inputs.items():
        yield f"{name} = {'no data' if value is None else _short(value)}"
    yield f"rule {one.rule} version {one.rule_version}" + (f", night of {one.night}" if one.night else "")


def clears(rule: Rule | None, one: Alert, today: Mapping[str, Any]) -> str:
    """What would end the alert, and where that stands on the last night."""
    if one.is_latched:
        return "a person closes it"
    if isinstance(rule, ThresholdRule | TrendRule):
        return f"when {rule.column} is {rule.exit}{_now(today, rule.column)}"
    if isinstance(rule, CompositeRule):
        return "when " + " or ".join(
            f"{part.column} is {part.exit}{_now(today, part.column)}" for part in rule.part
        )
    if isinstance(rule, ReportedRule):
        answers = f"after {rule.quiet_days} answers that say no flare"
        return f"{answers}, or {rule.silent_days} days after the last report"
    if isinstance(rule, NoDataRule):
        return "when anything comes again"
    return "when the condition ends"


def _now(today: Mapping[str, Any], column: str) -> str:
    value = today.get(column)
    return "" if value is None else f" (now {_short(value)})"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class _Known:
    """What the derived tables say of a patient up to the last night published."""

    days: Sequence[Mapping[str, Any]]
    baselines: Mapping[str, Mapping[date, Any]]
    today: Mapping[str, Any]
    last: date

    @classmethod
    def read(cls, clinic: Clinic, one: Alert, today: date) -> "_Known":
        # the last night published may lie back
        first = today - timedelta(days=2 * RECENT_DAYS)
        is_own = pc.field("patient") == one.subject
        tables = {name: clinic.derived.read(name, first, today).filter(is_own) for name in READABLE}
        days = tables["patient_day"].sort_by("local_date").to_pylist()
        last = days[-1]["local_date"] if days else today
        days = [row for row in days if row["local_date"] > last - timedelta(days=RECENT_DAYS)]
        baselines: dict[str, dict[date, Any]] = {}
        for row in tables["baseline"].to_pylist():
            baselines.setdefault(row["metric"], {})[row["local_date"]] = row
        now: dict[str, Any] = {}
        for name, table in tables.items():
            for row in table.filter(pc.field("local_date") == last).to_pylist():
                suffix = f".{row['metric']}" if name in BY_METRIC else ""
                now |= {f"{name}.{column}{suffix}": value for column, value in row.items()}
        return cls(days, baselines, now, last)

    def own(self) -> Iterator[str]:
        """The metrics against the own baseline, wear and pain; one line each."""
        by_day = {row["local_date"]: row for row in self.days}
        dates = [self.last - timedelta(days=n) for n in range(RECENT_DAYS - 1, -1, -1)]
        for metric in SHOWN:
            series = patient_series(metric, dates, by_day, self.baselines.get(metric, {}))
            yield f"{words.HEADINGS[metric]}: {_against_usual(metric, series.last, series.usual)}"
        worn = [row for row in self.days if row["wear_min"]]
        if worn:
            hours, when = worn[-1]["wear_min"] / 60, words.day_name(worn[-1]["local_date"])
            yield f"worn {hours:.1f} h on {when}; on {len(worn)} of {len(self.days)} days"
        else:
            yield f"not worn on any of {len(self.days)} days"
        pain = [row for row in self.days if row["nrs"] is not None]
        usual = self.baselines.get("nrs", {}).get(self.last, {}).get("center")
        said = "" if usual is None else f", usually {usual:.1f}"
        if pain:
            when = words.day_name(pain[-1]["local_date"])
            answered = f"answered on {len(pain)} of {len(self.days)} days"
            yield f"pain {pain[-1]['nrs']:.0f}/10 on {when}{said}; {answered}"
        else:
            yield f"no pain score on any of {len(self.days)} days"


def _against_usual(metric: str, last: DayPoint | None, usual: float | None) -> str:
    if last is None:
        return "no value in these weeks"
    own = "usual not known yet" if usual is None else f"usually {words.native(metric, usual)}"
    z = f", {words.deviation(last.z)}" if last.z is not None else ""
    return f"{words.native(metric, last.value)} on {words.day_name(last.local_date)} ({own}{z})"


def _also(journal: Journal, one: Alert) -> Iterator[str]:
    """What else holds for the patient now, told or not."""
    with journal.transaction() as con:
        rows = con.execute(
            sa.select(condition.c.rule, condition.c.since).where(
                condition.c.subject == one.subject,
                condition.c.rule != one.rule,
                condition.c.phase.in_(("firing", "clearing")),
            )
        ).all()
    for row in sorted(rows, key=lambda row: row.rule):
        yield row.rule + (f" holds since {night_of(row.since)}" if row.since is not None else " holds")


def _before(journal: Journal, one: Alert) -> Iterator[str]:
    """Earlier alerts of the patient, what they turned out to be, and what helped."""
    with journal.transaction() as con:
        found = alerts.select(
            con,
            sa.column("scope") == one.scope,
            sa.column("subject") == one.subject,
            sa.column("status") == "resolved",
        )
        names = [other.alert for other in found]
        said = {
            row.alert: row
            for row in con.execute(
                sa.select(outcome).where(outcome.c.alert.in_(names)).order_by(outcome.c.number)
            )
        }
    found.sort(key=lambda other: (other.rule == one.rule, other.opened_utc))
    for other in found[-MOST_BEFORE:]:
        row = said.get(other.alert)
        told = "no outcome" if row is None else row.label + (f"; helped: {row.helped}" if row.helped else "")
        yield f"{began(other)} {other.rule}: {told}"
    helped = Counter(row.helped for row in said.values() if row.helped)
    if helped:
        often = (f"{what} ({counted(count, 'time')})" for what, count in helped.most_common())
        yield "helped: " + ", ".join(often)


def _steps(clinic: Clinic, journal: Journal, one: Alert) -> Iterator[str]:
    known = contraindications(clinic, journal.now()).get(one.subject, {})
    pathways = site_pathways(clinic)
    for row in in_order(pathways, steps_of(journal, one.alert)):
        yield step_in_words(pathways, known, row)


def _comments(journal: Journal, one: Alert) -> Iterator[str]:
    with journal.transaction() as con:
        rows = con.execute(
            sa.select(comment).where(comment.c.alert == one.alert).order_by(comment.c.utc)
        ).all()
    for row in rows:
        yield f"{moment(row.utc)} {row.author}: {row.text}"


def _history(journal: Journal, one: Alert) -> Iterator[str]:
    with journal.transaction() as con:
        rows = audit.entries_of(con, one.alert)
    for row in rows:
        yield f"{moment(row.utc)} {row.actor}: {row.action}{_told(row.detail or {})}"


def _told(detail: Mapping[str, Any]) -> str:
    """What of a step of the history whoever takes over must know."""
    said = [str(detail[name]) for name in TOLD if detail.get(name)]
    if until := detail.get("until_utc"):
        said.insert(0, f"until {moment(until)}")
    to = detail.get("to") or ()
    said += ["to " + (to if isinstance(to, str) else ", ".join(to))] if to else []
    return ": " + ", ".join(said) if said else ""
