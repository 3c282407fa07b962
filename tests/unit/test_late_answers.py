"""What was not seen live: offered once more by the night, judged once by its id, history left alone."""

import pytest

from alerts.engine.events import judge_answers
from alerts.engine.journal import Journal
from devices.clock import DAY, HOUR, system_clock
from flows.care.rules_in_force import rules_now
from flows.clinic import Clinic
from flows.night.late_answers import late_answers
from ingest.lake.columns import Arrived, to_table
from tests.e2e.test_live_subscriber import answer
from tests.fixtures_ingest import write_enrolment

NOW = system_clock()


@pytest.fixture
def clinic(tmp_path):
    (tmp_path / "channels.toml").write_text('[staffed_response]\nwho = "on call"\n')
    write_enrolment(tmp_path / "enrolment.csv", ["gw-1"])
    return Clinic(tmp_path)


def land(clinic, *answers):
    rows = [Arrived(one, "gw-1", number) for number, one in enumerate(answers)]
    clinic.lake.commit({"pro_answer": to_table("pro_answer", rows, NOW)}, writer="import", now=NOW)


def test_each_pages_once_by_its_id(clinic):
    land(
        clinic,
        answer(1, value=2.0, start_utc=NOW - HOUR),
        answer(2, value=0.0, start_utc=NOW - HOUR),
        answer(3, value=3.0, start_utc=NOW - 400 * DAY),
        answer(4, value=3.0, start_utc=NOW - HOUR, device="ring-9"),
    )
    pack = rules_now(clinic)
    found = late_answers(clinic, pack, NOW)
    assert sorted(one.answer for one in found) == ["a-1", "a-2"]
    assert {(one.patient, one.site, one.zone) for one in found} == {("p-gw-1", "north", "Europe/Berlin")}
    with Journal(clinic.journal_path, lambda: NOW) as journal:
        assert judge_answers(journal, pack, found) == 1
        assert judge_answers(journal, pack, late_answers(clinic, pack, NOW)) == 0


def test_where_nobody_answers_nothing_is_asked(clinic):
    (clinic.home / "channels.toml").write_text("")
    land(clinic, answer(1, value=2.0, start_utc=NOW - HOUR))
    assert late_answers(clinic, rules_now(clinic), NOW) == []
