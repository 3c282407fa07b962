"""Silence of a gateway, of a site, of a patient who has left: one word each, and none for those behind it."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

from alerts.engine import alert as alerts
from alerts.engine.journal import Journal
from alerts.rules.pack import read_text
from alerts.store.schema import nudge
from devices.clock import DAY, HOUR, MINUTE, to_utc
from flows.care.rules_in_force import faults_of
from flows.care.ticking import Ticking
from flows.clinic import Clinic
from flows.night.judging import Judge
from ingest.lake.presence import Presence, read_presence
from ingest.lake.records import write_records
from tests.fixtures_alerts import Hands, open_alert
from tests.fixtures_ingest import ENROLMENT_HEADER
from tests.fixtures_night import enrolment_row, patient
from tests.unit.test_patient_states import status, worn

START = to_utc(datetime(2026, 3, 1, 12, tzinfo=UTC))
GATEWAYS = 4


@pytest.fixture
def clinic(tmp_path):
    rows = "".join(enrolment_row(n) for n in range(GATEWAYS))
    (tmp_path / "enrolment.csv").write_text(ENROLMENT_HEADER + rows)
    return Clinic(tmp_path)


@pytest.fixture
def clock():
    return Hands(START)


@pytest.fixture
def journal(clinic, clock):
    with Journal(clinic.journal_path, clock) as journal:
        yield journal


def hear(clinic, clock, *numbers):
    """Something of these gateways arrives at the collector."""
    presence = Presence(clinic.lake.root, "collector-1", clock=clock)
    presence.brought([f"gw-{n}" for n in numbers])
    presence.save(at_once=True)


def technical(journal):
    with journal.transaction() as con:
        found = alerts.select(con)
    watched = ("gateway", "site")
    return [(one.scope, one.subject, one.status) for one in found if one.scope in watched]


def test_one_silent_gateway_is_one_alert_until_it_is_heard(clinic, journal, clock):
    hear(clinic, clock, *range(GATEWAYS))
    ticking = Ticking(clinic, clock)
    clock.forward(23 * HOUR)
    hear(clinic, clock, 1, 2, 3)
    ticking(journal)
    assert technical(journal) == []
    clock.forward(HOUR + MINUTE)
    hear(clinic, clock, 1, 2, 3)
    ticking(journal)
    ticking(journal)
    assert technical(journal) == [("gateway", "gw-0", "open")]
    clock.forward(HOUR)
    hear(clinic, clock, *range(GATEWAYS))
    ticking(journal)
    assert technical(journal) == [("gateway", "gw-0", "resolved")]


def test_a_silent_site_is_one_alert_and_not_one_for_each_gateway(clinic, journal, clock):
    for _ in range(3):
        hear(clinic, clock, *range(GATEWAYS))
        clock.forward(10 * MINUTE)
    ticking = Ticking(clinic, clock)
    for _ in range(30):
        clock.forward(HOUR)
        ticking(journal)
    assert technical(journal) == [("site", "north", "open")]
    with journal.transaction() as con:
        (one,) = alerts.select(con, alerts.alert.c.scope == "site")
    assert one.sentence == "A site is silent: nothing since 2026-03-01 12:20 UTC."
    hear(clinic, clock, *range(GATEWAYS))
    clock.forward(MINUTE)
    ticking(journal)
    assert technical(journal) == [("site", "north", "resolved")]


def test_a_quiet_tick_asks_as_much_of_ten_gateways_as_of_a_thousand(clinic, journal, clock):
    rows = "".join(enrolment_row(n) for n in range(1000))
    (clinic.home / "enrolment.csv").write_text(ENROLMENT_HEADER + rows)
    asked = []
    with journal.transaction() as con:
        sa.event.listen(con.engine, "before_cursor_execute", lambda *_: asked.append(1))
    counts = []
    for count in (10, 1000):
        hear(clinic, clock, *range(count))
        ticking = Ticking(clinic, clock)
        ticking(journal)
        asked.clear()
        clock.forward(MINUTE)
        ticking(journal)
        counts.append(len(asked))
    assert counts[0] == counts[1]


def test_what_is_not_expected_is_not_missed(clinic, journal, clock):
    """A gateway that was never heard, one whose patient is away, one that is not enrolled any more."""
    hear(clinic, clock, 0, 1, 2)
    write_records(clinic.records_path, [status(1, "on-holiday", begin=START)])
    ticking = Ticking(clinic, clock)
    clock.forward(25 * HOUR)
    hear(clinic, clock, 2)
    ticking(journal)
    assert technical(journal) == [("gateway", "gw-0", "open")]
    (clinic.home / "enrolment.csv").write_text(ENROLMENT_HEADER + enrolment_row(2) + enrolment_row(3))
    clock.forward(MINUTE)
    assert ticking(journal)["not expected"] == 1
    assert technical(journal) == [("gateway", "gw-0", "resolved")]


def test_the_patient_behind_a_silent_gateway_owes_no_data(clinic, journal, clock):
    """All fall silent on one day: one gateway is, the others are heard and their patients asked."""
    first = date(2026, 3, 1)
    for night in range(40):
        clock.utc = START + (night + 1) * DAY
        hear(clinic, clock, *range(1 if night >= 25 else 0, GATEWAYS))
        Judge(clinic, journal, clock).night(first + timedelta(days=night), {"patient_day": worn(night)})
    with journal.transaction() as con:
        listed = set(con.scalars(nudge.select().with_only_columns(nudge.c.subject)))
        told = {one.subject for one in alerts.select(con) if one.rule == "vanished"}
    behind, heard = patient(0), {patient(n) for n in range(1, GATEWAYS)}
    assert heard <= listed
    assert heard <= told
    assert behind not in listed | told


def test_a_night_that_does_not_come_is_one_alert_until_it_comes(clinic, journal, clock):
    first = date(2026, 3, 1)
    clock.utc = START + DAY
    Judge(clinic, journal, clock).night(first, {"patient_day": worn(0)})
    ticking = Ticking(clinic, clock)
    clock.forward(29 * HOUR)
    assert ticking(journal)["silent"] == 0
    clock.forward(2 * HOUR)
    assert ticking(journal)["silent"] == 1
    assert ticking(journal)["silent"] == 0
    (late,) = [one for one in journal.active() if one.rule == "nightly-silent"]
    assert late.sentence == "The nightly run has not finished: nothing since 2026-03-02 12:00 UTC."
    Judge(clinic, journal, clock).night(first + timedelta(days=1), {"patient_day": worn(1)})
    clock.forward(MINUTE)
    assert ticking(journal)["heard"] == 1


def test_the_first_night_is_missed_too(clinic, journal, clock):
    """Counted from when somebody was enrolled; a run that found nothing to judge is one; nobody, none."""
    enrolled = clinic.enrolment_path.read_text()
    clinic.enrolment_path.write_text(ENROLMENT_HEADER)
    ticking = Ticking(clinic, clock)
    for _ in range(3):
        clock.forward(20 * HOUR)
        assert ticking(journal)["silent"] == 0
    clinic.enrolment_path.write_text(enrolled)
    clock.forward(HOUR)
    ticking(journal)
    clock.forward(29 * HOUR)
    assert Ticking(clinic, clock)(journal)["silent"] == 0
    # a run ended without a value of anybody
    clinic.watermark_path.write_text(json.dumps({"utc": clock()}))
    clock.forward(29 * HOUR)
    assert ticking(journal)["silent"] == 0
    clock.forward(2 * HOUR)
    assert ticking(journal)["silent"] == 1
    clock.forward(HOUR)
    assert ticking(journal)["silent"] == 0
    (late,) = [one for one in journal.active() if one.rule == "nightly-silent"]
    owed = "no night was ever judged, and one is owed since 2026-03-05 06:00 UTC."
    assert late.sentence == f"The nightly run has not finished: {owed}"
    clinic.enrolment_path.write_text(ENROLMENT_HEADER)
    clock.forward(HOUR)
    assert ticking(journal)["not expected"] == 1
    clinic.enrolment_path.write_text(enrolled)
    clock.forward(HOUR)
    ticking(journal)
    clock.forward(31 * HOUR)
    assert ticking(journal)["silent"] == 1
    Judge(clinic, journal, clock).night(date(2026, 3, 1), {"patient_day": worn(0)})
    clock.forward(MINUTE)
    assert ticking(journal)["heard"] == 1


def test_what_cannot_be_read_stops_neither_tick_nor_delivery(clinic, journal, clock, caplog):
    open_alert(journal)
    clinic.records_path.parent.mkdir(parents=True, exist_ok=True)
    clinic.records_path.write_text("not records")
    clock.forward(20 * DAY)
    assert Ticking(clinic, clock)(journal)["escalate"] == 1
    assert "looked_in_vain" in caplog.text


def test_the_alerts_of_a_patient_who_has_left_are_closed_except_what_only_a_person_may_close(
    clinic, journal, clock
):
    gone, stays = open_alert(journal, patient(0)), open_alert(journal, patient(1))
    latched = open_alert(journal, patient(0), rule=1, severity="critical", is_latched=True)
    write_records(
        clinic.records_path, [status(0, "withdrawn", begin=START), status(1, "paused", begin=START)]
    )
    clock.forward(HOUR)
    assert Ticking(clinic, clock)(journal)["withdrawn"] == 1
    with journal.transaction() as con:
        closed, other, kept = (alerts.find(con, name) for name in (gone, stays, latched))
    assert (closed.status, closed.closed_by) == ("resolved", "patient withdrawn")
    assert (other.status, kept.status) == ("open", "open")
    # nobody had been told: the message is called off, and there is no end to tell
    with journal.transaction() as con:
        rows = con.exec_driver_sql(f"select status, kind from outbox where alert = '{gone}'").all()
    assert [tuple(row) for row in rows] == [("cancelled", "open")]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('after = "6h"\n', "", "rule 'site-silent': after: how long may it be silent?"),
        ('after = "6h"', 'after = "24h"', "rule 'site-silent': after: not shorter than that of a gateway"),
    ],
)
def test_lint_knows_how_long_silence_may_last(old, new, fault):
    text = read_text(None)[1]
    assert text.count(old) == 1
    assert any(fault in one for one in faults_of(text.replace(old, new), "site.toml"))
    assert not faults_of(text, "site.toml")


def test_what_is_heard_is_written_once_a_minute_and_at_the_end(clinic, clock):
    """A collector looks for news after every message it stores."""
    presence = Presence(clinic.lake.root, "collector-1", clock=clock)
    written = []
    for _ in range(130):
        presence.brought(["gw-1"])
        presence.save()
        written.append(read_presence(clinic.lake.root)["gw-1"].heard_utc)
        clock.forward(MINUTE // 60)
    assert sorted({utc - START for utc in written}) == [0, MINUTE, 2 * MINUTE]
    presence.save(at_once=True)
    assert read_presence(clinic.lake.root)["gw-1"].heard_utc == START + 129 * MINUTE // 60
