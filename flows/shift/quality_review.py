"""The monthly quality review: one page of how the programme was used and what came of it.

Utilisation, engagement, adherence, outcomes, satisfaction, alert burden and how often alerts
were right, beside the month before. No patient stands in it and no figure of fewer than five.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

import jinja2

from alerts.engine import alert as alerts
from alerts.engine.alert import Alert
from alerts.engine.evaluate import event_time
from alerts.engine.journal import Journal
from alerts.engine.load import BUDGET, Load, load_of
from devices.clock import Clock, from_utc
from devices.durable import replace_file
from flows.clinic import Clinic
from flows.errors import UserError
from flows.shift import quality_figures as figures
from flows.shift.quality_figures import Person, change, count, middle, month_of, rate, share, together

FOLDER: Final = "reviews"


class EmptyMonthError(UserError):
    """Nobody was enrolled on any published day of a month."""


class Figure(NamedTuple):
    """A line of the page: what, in the month, in the month before."""

    what: str
    now: str
    before: str


@dataclass(frozen=True)
class Month:
    """What is counted of a month."""

    first: date
    last: date
    people: Sequence[Person]
    alerts: Sequence[Alert]

    @property
    def load(self) -> Load:
        """Burden of the alerts of its nights."""
        end = event_time(self.last + timedelta(days=1))
        weeks = sum(one.days for one in self.people) / 7
        return load_of(self.alerts, weeks, event_time(self.first), end)


def review(clinic: Clinic, month: str, *, clock: Clock) -> Path:
    """Write the page of a month; returns its path, ``reviews/MONTH.html``.

    Raises
    ------
    EmptyMonthError
        A month of which nothing is published.
    UserError
        No month.
    """
    try:
        first, last = month_of(month)
    except ValueError:
        raise UserError(f"{month!r} is not a month like 2026-10") from None
    with Journal(clinic.alert_store, clock) as journal, journal.transaction() as con:
        found = alerts.select(con)
    now = _month(clinic, found, first, last)
    if not now.people:
        raise EmptyMonthError(f"nothing of {month} is published: was a night of it computed?")
    day = first - timedelta(days=1)
    before = _month(clinic, found, day.replace(day=1), day)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string((files("flows.shift") / "quality_review.html").read_text("utf-8"))
    text = page.render(
        month=f"{first:%B %Y}",
        before=f"{before.first:%B %Y}",
        first=first,
        last=last,
        made=from_utc(clock()).strftime("%Y-%m-%d %H:%M UTC"),
        snapshot=clinic.current.resolve().stem,
        is_synthetic=clinic.is_synthetic,
        least=figures.LEAST,
        sections=sections(now, before),
        gaps=figures.gaps_of(clinic.current, first, last),
        sites=_sites(now),
        rules=_rules(now),
    )
    path = clinic.home / FOLDER / f"{month}.html"
    replace_file(path, text, mode=0o600)
    return path


def _month(clinic: Clinic, found: Sequence[Alert], first: date, last: date) -> Month:
    begin, end = event_time(first), event_time(last + timedelta(days=1))
    own = [one for one in found if begin <= (event_time(one.night) if one.night else one.opened_utc) < end]
    return Month(first, last, figures.people_of(clinic.current, first, last), own)


def sections(now: Month, before: Month) -> dict[str, list[Figure]]:
    """Every section's figures, of the month and of the one before."""
    found: dict[str, list[Figure]] = {}
    for title, said in _SECTIONS.items():
        pair = said(now), said(before)
        found[title] = [Figure(what, pair[0][what], pair[1][what]) for what in pair[0]]
    return found


def _utilisation(month: Month) -> dict[str, str]:
    people = month.people
    monitored = sum(one.data_days >= figures.MONITORED_DAYS for one in people)
    return {
        "patients enrolled": count(len(people)),
        "of them with anything measured or answered": share(
            sum(one.data_days > 0 for one in people), len(people)
        ),
        f"with data on {figures.MONITORED_DAYS} days or more": share(monitored, len(people)),
        "begun in the month": share(sum(one.is_new for one in people), len(people)),
    }


def _engagement(month: Month) -> dict[str, str]:
    people, whole = month.people, figures.plain(month.people)
    weeks = max(1, ((month.last - month.first).days + 1) // 7)
    return {
        "days with a pain score": rate(whole["score_days"], whole["days"], len(people)),
        "answered once a week or more": share(sum(one.score_days >= weeks for one in people), len(people)),
        "never answered": share(sum(one.score_days == 0 for one in people), len(people)),
        "logged home practice": share(sum(one.practice_days > 0 for one in people), len(people)),
    }


def _adherence(month: Month) -> dict[str, str]:
    people, whole = month.people, figures.plain(month.people)
    return {
        "days worn 10 h or more": rate(whole["valid_days"], whole["days"], len(people)),
        "hours worn on such a day": middle((one.wear_h for one in people), "h", 1),
        "nights with sleep": rate(whole["nights"], whole["days"], len(people)),
        "worn on no day": share(sum(one.valid_days == 0 for one in people), len(people)),
    }


def _outcomes(month: Month) -> dict[str, str]:
    people = month.people
    pain = change([one.pain_before for one in people], [one.pain for one in people])
    peg = change([one.peg_before for one in people], [one.peg for one in people])
    steps = change([one.steps_before for one in people], [one.steps for one in people])
    limit, days = figures.CHANGE_PCT, figures.plain(people)["days"]
    onsets = sum(one.onsets for one in people)
    had = sum(one.onsets > 0 for one in people)
    per_week = f"{100 * onsets / (days / 7):.1f}" if had >= figures.LEAST else share(had, len(people))
    return {
        f"pain lower by {limit:.0f} % or more than in the first four weeks": share(
            sum(one <= -limit for one in pain), len(pain), has_interval=True
        ),
        f"pain higher by {limit:.0f} % or more": share(
            sum(one >= limit for one in pain), len(pain), has_interval=True
        ),
        f"PEG lower by {limit:.0f} % or more than at first": share(
            sum(one <= -limit for one in peg), len(peg), has_interval=True
        ),
        "steps against the first four weeks": middle(steps, "%", sign="+"),
        "flares that began, per 100 patients and week": per_week,
    }


def _satisfaction(month: Month) -> dict[str, str]:
    said = [one.impression for one in month.people if one.impression is not None]
    return {
        "global impression of change: much or very much improved": share(
            sum(one <= figures.MUCH_IMPROVED for one in said), len(said), has_interval=True
        ),
        "answered it": share(len(said), len(month.people)),
    }


def _burden(month: Month) -> dict[str, str]:
    load, people = month.load, {one.subject for one in month.alerts if one.scope == "patient"}
    is_known = len(people) >= figures.LEAST or not people
    few = f"of fewer than {figures.LEAST} patients"
    return {
        f"alerts per 100 patients and week (budget {BUDGET:.0f})": few
        if not is_known or load.per_100_weeks is None
        else f"{load.per_100_weeks:.1f}" + (" - OVER" if load.is_over else ""),
        "patients with an alert": share(len(people), len(month.people)),
        "right by outcome (PPV)": share(load.right, load.answered, has_interval=True),
        "alerts with an outcome": share(load.answered, load.answered + load.unanswered),
        "time to acknowledge": "not known"
        if load.ack_h is None or not is_known
        else f"median {load.ack_h:.1f} h",
        "share of the tenth of patients with the most": "not known"
        if load.top_tenth is None or len(people) < 10 * figures.LEAST
        else f"{100 * load.top_tenth:.0f} %",
    }


_SECTIONS: Final = {
    "Utilisation": _utilisation,
    "Engagement": _engagement,
    "Adherence": _adherence,
    "Outcomes": _outcomes,
    "Satisfaction": _satisfaction,
    "Alert burden": _burden,
}


def _sites(month: Month) -> list[tuple[str, str, str, str]]:
    """Site, patients, days worn, days answered; small sites together."""
    by_site: dict[str, set[str]] = {}
    for one in month.people:
        by_site.setdefault(one.site, set()).add(one.patient)
    shown = together(by_site)
    if len(shown) < 2:
        return []
    rows: list[tuple[str, str, str, str]] = []
    for name, patients in shown.items():
        own = [one for one in month.people if one.patient in patients]
        whole = figures.plain(own)
        worn, answered = (rate(whole[what], whole["days"], len(own)) for what in ("valid_days", "score_days"))
        rows.append((name, count(len(own)), worn, answered))
    return rows


def _rules(month: Month) -> list[tuple[str, int, str]]:
    """Rule, alerts, patients; rules of few patients together, those of the system apart."""
    by_rule: dict[str, set[str]] = {}
    for one in month.alerts:
        if one.scope == "patient":
            by_rule.setdefault(one.rule, set()).add(one.subject)
    shown = together(by_rule)
    numbers = dict.fromkeys(shown, 0)
    technical = 0
    for one in month.alerts:
        if one.scope != "patient":
            technical += 1
        elif shown:
            numbers[one.rule if one.rule in shown else figures.OTHERS] += 1
    rows = [(name, numbers[name], count(len(patients))) for name, patients in shown.items()]
    return rows + ([("of the system itself", technical, "")] if technical else [])


def month_before(day: date) -> str:
    """Month that is over on a date, as ``2026-10``."""
    return f"{day.replace(day=1) - timedelta(days=1):%Y-%m}"


def latest_month(clock: Clock) -> str:
    """The month before the present one (UTC)."""
    return month_before(from_utc(clock()).date())
