"""A backtest opens the alerts that the nightly runs of the same clinic really opened, run by run."""

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
import pytest

from alerts.engine import alert as alerts
from alerts.engine.alert import Alert
from alerts.engine.journal import Journal
from alerts.rules.pack import RulePack, load_pack, read_text
from analytics.risk.arrays import Marks
from analytics.risk.model import SHIPPED
from analytics.risk.scales import DEFAULT_SCALES
from devices.clock import DAY, HOUR, to_utc
from devices.observations import FlareReport, Observation, ProAnswer
from flows.care.rules_in_force import approve, in_force_text, propose
from flows.clinic import Clinic
from flows.night.nightly import run
from flows.risk.backtest import TestableRule, cut, replay_model, replay_rule
from flows.risk.model_registry import ModelRegistry
from ingest.lake.records import PatientRecord, write_records
from tests.fixtures_analytics import utc
from tests.fixtures_ingest import ENROLMENT_HEADER
from tests.fixtures_night import enrolment_row, land, patient

FIRST = date(2026, 5, 1)
#: Everything before it arrived in time and is run as one.
BEGIN = 16
NIGHTS = 28
PEOPLE = 5
MODEL = replace(SHIPPED, theta=0.15)
#: Nights of pain answers and taps that come late, and when.
LATE = {19: 22, 20: 22, 24: 25, 25: 27}
NOTED = 22
#: A rule with hysteresis, a duration, a pause after its end.
OWN = """
[[rule]]
id = "pain-high"
version = 1
kind = "threshold"
title = "Pain of 7 and more for two days"
column = "patient_day.nrs"
against = "population"
enter = ">= 7"
exit = "< 5"
for = "1d"
exit_for = "1d"
max_gap = "60h"
cooldown = "4d"
severity = "low"
route = "pain-team"
[[rule.example]]
name = "two days"
nights = [{ "patient_day.nrs" = 7 }, { "patient_day.nrs" = 8 }]
want = ["stay", "enter"]
"""


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def said(number: int, night: int) -> list[Observation]:
    """Pain of a day: flares of three to five days that every person has now and then, half of them told."""
    random = np.random.default_rng(1000 * number + night // 10)
    begin, length, is_told = random.integers(0, 6), random.integers(2, 6), random.random() < 0.5
    is_flare = begin <= night % 10 < begin + length
    own = np.random.default_rng([number, night])
    if own.random() < 0.15:
        return []
    at = to_utc(utc(f"{day(night)}T18:00"))
    pain = min(10.0, 3.0 + number % 3 + own.integers(0, 2) + 4 * is_flare)
    answer = ProAnswer(
        device=f"band-{number}", source="test/1", start_utc=at, answer_id=f"a-{number}-{night}",
        instrument="nrs", item="now", value=pain, form_version="1", language="en", mode="app",
        respondent="patient",
    )  # fmt: skip
    if not (is_flare and is_told and own.random() < 0.7):
        return [answer]
    report = f"r-{number}-{night}"
    tap = FlareReport(
        device=f"band-{number}", source="test/1", start_utc=at + HOUR, report_id=report, respondent="patient"
    )
    return [answer, tap]


def note() -> PatientRecord:
    """Travel, written down days after it began: nights that were judged are judged again."""
    return PatientRecord(
        record="note-1", patient=patient(0), kind="context_note",
        valid_from_utc=to_utc(utc(f"{day(18)}T00:00")), valid_to_utc=to_utc(utc(f"{day(21)}T00:00")),
        recorded_utc=to_utc(utc(f"{day(NOTED)}T09:00")), author="nurse-1",
        payload='{"text":"a journey","about":"travel"}',
    )  # fmt: skip


@dataclass
class Ran:
    """What the nightly runs did: the pack, alerts as they were opened, and each night's shadow alerts."""

    clinic: Clinic
    pack: RulePack
    opened: list[Alert]
    shadow: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Generator[Ran]:
    """A clinic that was really run, night by night, by what had arrived, with a model that speaks often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModelRegistry, "active", lambda _: (MODEL, DEFAULT_SCALES))
        yield really_run(Clinic(tmp_path_factory.mktemp("clinic"), partitions=2))


def really_run(clinic: Clinic) -> Ran:
    clinic.enrolment_path.write_text(ENROLMENT_HEADER + "".join(enrolment_row(n) for n in range(PEOPLE)))
    place = clinic.home / "rules.toml"
    with Journal(clinic.alert_store, lambda: cut(FIRST) - DAY) as journal:
        change = propose(journal, read_text(None)[1] + OWN, "own", "nurse-a", in_force_text(journal))
        approve(journal, change, "nurse-b", place)
    made = Ran(clinic, load_pack(place), [])
    for night in range(NIGHTS):
        came = [at for at in range(night + 1) if LATE.get(at, at) == night]
        heard = [one for n in range(PEOPLE) for at in came for one in said(n, at)]
        land(clinic, heard, to_utc(utc(f"{day(night)}T20:00")))
        if night == NOTED:
            write_records(clinic.records_path, [note()])
        if night >= BEGIN - 1:
            low = 0 if night == BEGIN - 1 else night
            report = run(clinic, day(low), day(night), clock=lambda night=night: cut(day(night)))
            assert not report.problems
            rows = clinic.derived.read("flare_risk", day(night), day(night)).to_pylist()
            made.shadow |= {(row["patient"], night) for row in rows if row["would_alert"]}
    with Journal(clinic.alert_store, lambda: cut(day(NIGHTS))) as journal, journal.transaction() as con:
        made.opened = alerts.select(con)
    return made


@pytest.mark.parametrize("name", ["flare-reported", "pain-above-usual", "pain-high"])
def test_a_rule_tested_back_opens_what_the_nightly_runs_opened_in_the_same_runs(ran: Ran, name: str) -> None:
    rule = next(one for one in ran.pack.rule if one.id == name)
    assert isinstance(rule, TestableRule)
    found = replay_rule(ran.clinic, day(BEGIN), day(NIGHTS - 1), rule, ran.pack)
    really = {
        (one.subject, (one.opened_utc - cut(FIRST)) // DAY)
        for one in ran.opened
        # one that the same run opened for a late night and ended with its own was never seen
        if one.rule == name and one.opened_utc >= cut(day(BEGIN)) and one.resolved_utc != one.opened_utc
    }
    assert really
    assert cells(found.patients, found.alerts) == really


def test_a_model_tested_back_alerts_as_its_shadow_did_in_every_nights_run(ran: Ran) -> None:
    found = replay_model(ran.clinic, day(BEGIN), day(NIGHTS - 1), MODEL)
    really = {one for one in ran.shadow if one[1] >= BEGIN}
    assert really
    assert cells(found.patients, found.alerts) == really


def cells(patients: list[str], marks: Marks) -> set[tuple[str, int]]:
    return {(patients[row], BEGIN + int(column)) for row, column in zip(*marks.nonzero(), strict=True)}
