"""`flarecast extract`: who takes part, what is refused, what is logged."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analytics.store import publish
from analytics.store.deid import WORDS, texts_without_rule
from analytics.store.study import read_study
from analytics.tables import TABLES
from devices.clock import system_clock
from flows import cli
from flows.analyst.extract_command import append_to_log, first_log_fault, participants
from flows.clinic import Clinic
from ingest.lake.records import PatientRecord, write_records
from tests.fixtures_analytics import enrolment, patient_days

DAY_US = 86_400_000_000
NOW = 1_780_000_000_000_000
FIRST = date(2026, 5, 4)
STUDY = """
[study]
id = "study-1"
purpose = "Sleep and pain"
approved_by = "board 7"
consent_scope = "research"
from = 2026-05-01
to = 2026-06-30
tables = ["night", "pro_scores"]
min_cell = 3
"""


def consent(
    patient: str,
    given: bool,
    *,
    start: int = NOW - 90 * DAY_US,
    recorded: int = NOW - 90 * DAY_US,
    **more: Any,
):
    payload = json.dumps({"scope": more.get("scope", "research"), "is_given": given})
    return PatientRecord(
        record=f"r-{patient}-{recorded}",
        patient=patient,
        kind="consent",
        valid_from_utc=start,
        valid_to_utc=more.get("end"),
        recorded_utc=recorded,
        author="nurse-1",
        payload=payload,
    )


def test_the_last_word_on_the_scope_counts() -> None:
    records = [
        consent("p-1", True),
        consent("p-2", False),
        consent("p-3", True, scope="teaching"),
        consent("p-4", True),
        consent("p-4", False, recorded=NOW - DAY_US),
        consent("p-5", False),
        consent("p-5", True, recorded=NOW - DAY_US),
        consent("p-6", True, end=NOW - 1),
        consent("p-7", True, recorded=NOW + 1),
    ]
    assert [person.patient for person in participants(records, "research", now=NOW)] == ["p-1", "p-5"]


def clinic_with(tmp_path: Path, patients: int) -> Clinic:
    """A clinic that has published two weeks of its patients; everybody but the last has consented."""
    home = tmp_path / "home"
    clinic = Clinic(home)
    people = [f"anna-berger-{n}" for n in range(patients)]
    days = [patient_days(FIRST, {"nrs": [4.0] * 14, "steps": [5000.0] * 14}, patient=p) for p in people]
    tables = {name: schema.empty_table() for name, schema in TABLES.items()}
    tables["patient_day"] = pa.concat_tables(days)
    publish.publish(clinic.published, tables, {}, clock=system_clock, enrolment=enrolment({}))
    start = int((FIRST + timedelta(days=3) - date(1970, 1, 1)).days) * DAY_US
    records = [consent(p, True, start=start, recorded=start) for p in people[:-1]]
    records += [
        PatientRecord(
            record=f"d-{p}",
            patient=p,
            kind="demographics",
            valid_from_utc=start,
            valid_to_utc=None,
            recorded_utc=start,
            author="nurse-1",
            payload=json.dumps({"birth_year": 1970, "sex": "female"}),
        )
        for p in people
    ]
    write_records(home / "patient_record.csv", records)
    return clinic


def extract(clinic: Clinic, tmp_path: Path, text: str = STUDY, out: str = "out") -> int:
    definition = tmp_path / "study.toml"
    definition.write_text(text)
    return cli.main(
        [
            "extract",
            "--deid",
            str(definition),
            "--out",
            str(tmp_path / out),
            "--home",
            str(clinic.home),
            "--json",
        ]
    )


def test_consented_days_are_given_out_and_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clinic = clinic_with(tmp_path, 5)
    assert extract(clinic, tmp_path) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["subjects"] == 4
    days = pq.read_table(tmp_path / "out" / "patient_day.parquet")
    assert days.num_rows == 4 * 11, "no day before the consent"
    subjects = pq.read_table(tmp_path / "out" / "subjects.parquet").to_pylist()
    assert {(row["age_band"], row["sex"]) for row in subjects} == {("45-64", "female")}
    facts = json.loads((tmp_path / "out" / "study.json").read_text())
    assert facts["data"] == "patients"
    assert set(facts["tables"]) == {"subjects", "patient_day", "night", "pro_scores"}
    for path in (tmp_path / "out").iterdir():
        assert b"anna-berger" not in path.read_bytes()
    log = clinic.home / "studies" / "extracts.jsonl"
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["subjects"] == [row["subject"] for row in subjects]
    assert "anna-berger" not in line
    assert (clinic.home / "studies" / "study-1.key").stat().st_mode & 0o077 == 0


def test_the_same_study_again_has_the_same_subjects(tmp_path: Path) -> None:
    clinic = clinic_with(tmp_path, 5)
    assert extract(clinic, tmp_path) == extract(clinic, tmp_path, out="again") == 0
    one, other = (pq.read_table(tmp_path / out / "patient_day.parquet") for out in ("out", "again"))
    assert one.equals(other)
    assert first_log_fault(clinic.home / "studies" / "extracts.jsonl") is None


def test_synthetic_people_are_called_so(tmp_path: Path) -> None:
    clinic = clinic_with(tmp_path, 5)
    (clinic.home / "SYNTHETIC").touch()
    assert extract(clinic, tmp_path) == 0
    assert json.loads((tmp_path / "out" / "study.json").read_text())["data"] == "SYNTHETIC"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("min_cell = 3", "min_cell = 2", "Expected `int` >= 3"),
        ('"night"', '"enrolment"', "enrolment cannot be given out"),
        ("min_cell = 3", "min_cells = 3", "unknown field `min_cells`"),
        ("2026-06-30", "2026-04-30", "is after to"),
        ("[study]", "[study", "study.toml: "),
        ("min_cell = 3", "age_bands = [30, 18]", "lower ends must rise"),
        ('"research"', '"marketing"', "nobody has consented to 'marketing'"),
        ("min_cell = 3", "min_cell = 5", "4 consenting patients with data; fewer than 5"),
        ('id = "study-1"', 'id = "../x"', "id"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    assert old in STUDY
    clinic = clinic_with(tmp_path, 5)
    assert extract(clinic, tmp_path, STUDY.replace(old, new)) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_extract_never_mixes_with_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clinic = clinic_with(tmp_path, 5)
    (tmp_path / "out").mkdir()
    assert extract(clinic, tmp_path) == 2
    assert "is there already" in capsys.readouterr().err


def test_an_edited_log_is_noticed(tmp_path: Path) -> None:
    log = tmp_path / "extracts.jsonl"
    for n in range(3):
        append_to_log(log, {"n": n})
    assert first_log_fault(log) is None
    log.write_text(log.read_text().replace('"n": 1', '"n": 9'))
    assert first_log_fault(log) == 3


def test_texts_are_left_out_unless_a_rule_says_otherwise() -> None:
    left_out = texts_without_rule(list(TABLES.values()))
    assert {"sentence", "zone", "reason", "drivers"} <= left_out
    assert not left_out & WORDS


def test_the_page_of_analysts_shows_a_study_that_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "analysts.md").read_text()
    text = page.split("```toml\n")[1].split("```")[0]
    (tmp_path / "study.toml").write_text(text)
    assert read_study(tmp_path / "study.toml").tables
