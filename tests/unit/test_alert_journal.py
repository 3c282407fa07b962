"""The journal: one active alert, nights that can be judged again, an audit that shows edits."""

import sqlite3
from datetime import date, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from alerts.engine import night as night_module
from alerts.engine.journal import Journal
from alerts.engine.night import CONDITION_ENDED, LATE_DATA, run_night
from alerts.errors import JournalError, StaleAlertError
from alerts.tables import ALERTS
from tests.fixtures_alerts import NIGHT, PACK, Hands, acknowledge, open_alert, resolve, tables


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def journal(tmp_path, clock):
    with Journal(tmp_path / "alerts.sqlite", clock) as journal:
        yield journal


def changes(journal):
    with journal.transaction() as con:
        return con.connection.driver_connection.total_changes


def judge(journal, day, *patients):
    return run_night(journal, PACK, day, tables(day, *patients))


def test_a_breach_opens_one_alert_with_its_sentence(journal):
    night = judge(journal, NIGHT, ("p-1", -1.4, 9, False), ("p-2", 0.2, 9, False), ("p-3", -3.0, 4, None))
    assert (night.opened, night.resolved, night.kept, night.judged, night.no_data) == (1, 0, 0, 6, 2)
    (alert,) = journal.active()
    assert (alert.patient, alert.rule, alert.severity, alert.status) == (
        "p-1",
        "deviation-3d",
        "medium",
        "open",
    )
    assert alert.sentence == f"Deviation -1.4 on {NIGHT}."
    assert alert.local_date == NIGHT


def test_a_reported_flare_says_so_whatever_the_sensors_say(journal):
    judge(journal, NIGHT, ("p-1", None, 0, True))
    (alert,) = journal.active()
    assert (alert.rule, alert.sentence) == ("flare-reported", "The patient reported a flare.")


def test_the_same_night_again_writes_nothing(journal, clock):
    people = ("p-1", -1.4, 9, True), ("p-2", 0.2, 9, False)
    judge(journal, NIGHT, *people)
    before, seen = changes(journal), journal.to_table()
    clock.forward(86_400_000_000)
    night = judge(journal, NIGHT, *people)
    assert (night.opened, night.resolved, night.kept) == (0, 0, 2)
    assert changes(journal) == before
    assert journal.to_table() == seen


def test_an_alert_lasts_until_the_condition_is_over(journal):
    steps = [(-1.4, 1, 0), (-0.7, 0, 0), (None, 0, 0), (-1.6, 0, 0), (-0.4, 0, 1), (-0.7, 0, 0), (-1.0, 1, 0)]
    for offset, (value, opened, resolved) in enumerate(steps):
        night = judge(journal, NIGHT + timedelta(days=offset), ("p-1", value, 9, None))
        assert (night.opened, night.resolved) == (opened, resolved), offset
    first, second = journal.to_table().to_pylist()
    assert (first["status"], first["closed_by"], first["resolved_date"]) == (
        "resolved",
        CONDITION_ENDED,
        NIGHT + timedelta(days=4),
    )
    assert (second["status"], second["local_date"]) == ("open", NIGHT + timedelta(days=6))


def test_late_data_open_the_alert_that_was_missed(journal):
    judge(journal, NIGHT, ("p-1", None, 0, None))
    judge(journal, NIGHT + timedelta(days=1), ("p-1", -0.8, 9, None))
    assert not journal.active()
    assert judge(journal, NIGHT, ("p-1", -1.3, 9, None)).opened == 1
    assert journal.active()[0].local_date == NIGHT


def test_late_data_withdraw_an_alert_that_rested_on_a_gap(journal):
    judge(journal, NIGHT, ("p-1", -1.3, 9, None))
    judge(journal, NIGHT + timedelta(days=1), ("p-1", -0.8, 9, None))
    assert judge(journal, NIGHT, ("p-1", -0.6, 9, None)).resolved == 1
    assert journal.to_table()["closed_by"].to_pylist() == [LATE_DATA]


def test_rows_of_other_nights_are_left_alone(journal):
    night = run_night(journal, PACK, NIGHT, tables(NIGHT - timedelta(days=1), ("p-1", -3.0, 9, True)))
    assert night.judged == 0


def test_the_database_refuses_a_second_active_alert(journal):
    alert = open_alert(journal)
    with pytest.raises(IntegrityError):
        open_alert(journal)
    acknowledge(journal, alert, "nurse-1", 1)
    with pytest.raises(IntegrityError):
        open_alert(journal)
    open_alert(journal, rule=1)
    open_alert(journal, "p-2")
    resolve(journal, alert)
    open_alert(journal)
    assert len(journal.active()) == 3
    assert journal.outbox.counts() == {"queued": 3, "cancelled": 1}


def test_the_reference_is_random_and_says_nothing(tmp_path, clock):
    references = set()
    for copy in "ab":
        with Journal(tmp_path / copy, clock) as journal:
            references.add(open_alert(journal, "patient-7"))
    assert len(references) == 2
    assert not any("patient" in reference.lower() for reference in references)


def test_a_failure_inside_a_night_leaves_nothing_behind(journal, monkeypatch):
    original = night_module.write_new

    def second_fails(con, change, *rest):
        if change.alert.subject == "p-2":
            raise RuntimeError("power cut")
        return original(con, change, *rest)

    monkeypatch.setattr(night_module, "write_new", second_fails)
    with pytest.raises(RuntimeError, match="power cut"):
        judge(journal, NIGHT, ("p-1", -2.0, 9, None), ("p-2", -2.0, 9, None))
    monkeypatch.undo()
    assert not journal.active()
    with journal.transaction() as con:
        assert con.exec_driver_sql("select count(*) from reading").scalar() == 0
    assert judge(journal, NIGHT, ("p-1", -2.0, 9, None), ("p-2", -2.0, 9, None)).opened == 2


def test_acknowledging_what_somebody_else_changed_has_no_effect(journal):
    alert = open_alert(journal)
    acknowledge(journal, alert, "nurse-1", 1)
    with pytest.raises(StaleAlertError):
        acknowledge(journal, alert, "nurse-2", 1)
    resolve(journal, alert)
    acknowledge(journal, alert, "nurse-2", 2)
    assert journal.to_table()["status"].to_pylist() == ["resolved"]
    with pytest.raises(JournalError, match="no alert"):
        acknowledge(journal, "A-NONE", "nurse-1", 1)


def test_resolving_twice_says_it_once(journal):
    alert = open_alert(journal)
    resolve(journal, alert)
    seen = journal.to_table()
    resolve(journal, alert, LATE_DATA, NIGHT + timedelta(days=3))
    assert journal.to_table() == seen


def test_the_published_table_has_a_unit_and_a_meaning_on_every_column(journal):
    table = journal.to_table()
    assert table.schema.equals(ALERTS, check_metadata=True)
    assert all(field.metadata[b"doc"] for field in ALERTS)
    open_alert(journal)
    (row,) = journal.to_table().to_pylist()
    assert (row["patient"], row["local_date"], row["zone"], row["value"]) == (
        "p-1",
        NIGHT,
        "Europe/Berlin",
        None,
    )
    assert row["delivered_utc"] is None


def test_an_edited_or_missing_audit_row_shows(journal, tmp_path):
    for patient in ("p-1", "p-2", "p-3"):
        acknowledge(journal, open_alert(journal, patient), "nurse-1", 1)
    assert journal.first_audit_fault() is None
    with journal.transaction() as con:
        assert con.exec_driver_sql("select count(*) from audit").scalar() == 6
        assert not con.exec_driver_sql(
            "select 1 from audit where detail like '%p-%' or alert like '%p-%'"
        ).fetchall()
        with pytest.raises(IntegrityError, match="never changed"):
            con.exec_driver_sql("update audit set actor = 'nurse-2' where sequence = 2")
        with pytest.raises(IntegrityError, match="never changed"):
            con.exec_driver_sql("delete from audit where sequence = 2")
    attacker = sqlite3.connect(tmp_path / "alerts.sqlite")
    attacker.execute("drop trigger audit_no_update")
    attacker.execute("update audit set actor = 'nurse-2' where sequence = 4")
    attacker.commit()
    attacker.close()
    assert journal.first_audit_fault() == 4


def test_a_removed_audit_row_shows(journal, tmp_path):
    for patient in ("p-1", "p-2", "p-3"):
        open_alert(journal, patient)
    attacker = sqlite3.connect(tmp_path / "alerts.sqlite")
    attacker.execute("drop trigger audit_no_delete")
    attacker.execute("delete from audit where sequence = 2")
    attacker.commit()
    attacker.close()
    assert journal.first_audit_fault() == 2


def test_a_journal_outlives_its_process(tmp_path, clock):
    path = tmp_path / "deep" / "alerts.sqlite"
    with Journal(path, clock) as journal:
        judge(journal, date(2026, 11, 24), ("p-1", -2.0, 9, None))
    with Journal(path, clock) as journal:
        assert len(journal.active()) == 1
        with journal.transaction() as con:
            assert con.exec_driver_sql("pragma synchronous").scalar() == 2
            assert con.exec_driver_sql("pragma journal_mode").scalar() == "wal"


def test_a_journal_of_another_version_or_no_journal_at_all(tmp_path, clock):
    newer = sqlite3.connect(tmp_path / "newer")
    newer.execute("create table store_version (version integer)")
    newer.execute("insert into store_version values (99)")
    newer.commit()
    newer.close()
    with pytest.raises(JournalError, match="version 99"):
        Journal(tmp_path / "newer", clock)
    (tmp_path / "text").write_text("not a database, whatever its name says" * 100)
    with pytest.raises(JournalError, match="cannot be opened"):
        Journal(tmp_path / "text", clock)
