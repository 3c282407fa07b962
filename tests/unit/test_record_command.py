"""What is written down by hand: stored with author and time, or refused with a reason."""

from datetime import UTC, date, datetime

import pyarrow.parquet as pq
import pytest

from devices.clock import to_utc
from flows.cli import main
from flows.clinic import Clinic
from flows.night.homes import Homes
from flows.night.patient_context import patient_context


@pytest.fixture
def home(tmp_path):
    cells = "p-1,site-1,Europe/Berlin,gw-1"
    (tmp_path / "enrolment.csv").write_text(
        "patient,site,zone,gateway,device,valid_from_utc,valid_to_utc\n"
        f"{cells},band-1,2026-01-01T00:00Z,\n{cells},diary-1,2026-01-01T00:00Z,\n"
    )
    return tmp_path


def record(home, *words):
    return main(["record", *words, "--home", str(home), "--patient", "p-1", "--author", "nurse-7"])


def rows(home, kind):
    return [row for path in Clinic(home).lake.files(kind) for row in pq.read_table(path).to_pylist()]


def test_an_answer_is_in_the_lake_with_author_and_both_times(home):
    assert record(home, "pain", "6.5", "--at", "2026-03-01T08:00") == 0
    (row,) = rows(home, "pro_answer")
    asked = {name: row[name] for name in ("instrument", "value", "device", "author", "respondent", "source")}
    assert asked == {
        "instrument": "nrs",
        "value": 6.5,
        "device": "diary-1",
        "author": "nurse-7",
        "respondent": "patient",
        "source": "record/1",
    }
    assert row["start_utc"].isoformat() == "2026-03-01T07:00:00+00:00"
    assert row["received_utc"] > row["start_utc"]


def test_flare_mood_and_practice(home):
    assert record(home, "flare", "--at", "2026-03-01", "--harder", "yes", "--stopped", "no") == 0
    assert record(home, "mood", "3", "--at", "2026-03-01") == 0
    assert record(home, "practice", "walking", "--minutes", "20", "--at", "2026-03-01T10:00") == 0
    (flare,) = rows(home, "flare_report")
    assert (flare["is_harder_to_tolerate"], flare["has_stopped_activities"]) == (True, False)
    assert [row["instrument"] for row in rows(home, "pro_answer")] == ["mood"]
    (log,) = rows(home, "practice_log")
    assert (log["practice"], log["duration_s"], log["author"]) == ("walking", 1200, "nurse-7")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("pain", "5", "--at", "2025-06-01"), "enrol a diary first"),
        (("pain", "5", "--at", "2126-06-01"), "has not been yet"),
        (("pain", "5", "--at", "yesterday"), "is not ISO 8601"),
        (
            ("practice", "a walk", "--minutes", "5", "--at", "2026-03-01"),
            "'a walk' is not 1-64 characters of a-z, 0-9",
        ),
        (("pain", "5", "--at", "2026-03-01", "--device", "band-9"), "kept in quarantine"),
        (("context", "--about", "medication"), "needs its --class"),
        (
            ("context", "--about", "travel", "--from", "2026-03-02", "--to", "2026-03-01"),
            "is not after --from",
        ),
        (("context", "--about", "travel", "--replaces", "note-1"), "no note note-1"),
        (("pain", "5", "--at", "0001-01-01"), "before 1970"),
        (("context", "--about", "other", "--text", "\udcff"), "not UTF-8"),
        (("context", "--about", "travel", "--from", "2026-03-02", "--to", "9999-12-31"), "after 9998"),
    ],
)
def test_a_mistake_is_one_line(home, capsys, words, reason):
    assert record(home, *words) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


def test_a_note_too_long_to_be_read_again_leaves_the_record_as_it_was(home, capsys):
    assert record(home, "context", "--about", "other", "--text", "new flat") == 0
    before = Clinic(home).records_path.read_bytes()
    assert record(home, "context", "--about", "other", "--text", "x" * 2001) == 2
    assert "length <= 2000" in capsys.readouterr().err
    assert Clinic(home).records_path.read_bytes() == before
    assert record(home, "context", "--about", "other", "--text", "x" * 2000) == 0


def test_a_csv_of_answers_keeps_its_authors(home, tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text(
        "device,start_utc,answer_id,instrument,item,value,form_version,language,mode,respondent,author\n"
        "diary-1,2026-03-01T07:00Z,a-1,nrs,now,4,v1,de,paper,patient,clerk-2\n"
    )
    assert main(["import", str(path), "--kind", "pro_answer", "--home", str(home)]) == 0
    assert [row["author"] for row in rows(home, "pro_answer")] == ["clerk-2"]


def test_notes_become_what_scoring_reads(home):
    assert record(home, "context", "--about", "travel", "--from", "2026-03-01", "--to", "2026-03-04") == 0
    assert record(home, "context", "--about", "medication", "--class", "snri", "--from", "2026-03-05") == 0
    assert record(home, "context", "--about", "medication", "--class", "statin", "--from", "2026-03-05") == 0
    assert record(home, "context", "--about", "other", "--text", "new flat", "--from", "2026-03-05") == 0
    found = patient_context(Clinic(home)).to_pylist()
    said = [(row["about"], row["first_date"], row["last_date"]) for row in found]
    assert sorted(said) == [
        ("medication", date(2026, 3, 5), None),
        ("travel", date(2026, 3, 1), date(2026, 3, 4)),
    ]


def test_dates_are_those_of_the_clock_on_the_wall_through_a_move(home):
    path = home / "enrolment.csv"
    lines = (
        path.read_text().replace("2026-01-01T00:00Z,\n", "2026-01-01T00:00Z,2026-03-20T12:00Z\n").splitlines()
    )
    there = [line.replace("Europe/Berlin", "America/New_York") for line in lines[1:]]
    there = [line.replace("2026-01-01T00:00Z,2026-03-20T12:00Z", "2026-03-20T12:00Z,") for line in there]
    path.write_text("\n".join([*lines, *there, ""]))
    dates = [("2026-03-01", "2026-03-04"), ("2026-03-19", "2026-03-20"), ("2026-03-21", "2026-03-22")]
    for first, last in dates:
        assert record(home, "context", "--about", "illness", "--from", first, "--to", last) == 0
    found = patient_context(Clinic(home)).to_pylist()
    assert sorted((str(row["first_date"]), str(row["last_date"])) for row in found) == dates
    for day, hour in (("2026-03-01", 6), ("2026-03-20", 6), ("2026-03-21", 11)):
        assert record(home, "mood", "3", "--at", f"{day}T07:00") == 0
        said = [row["start_utc"] for row in rows(home, "pro_answer")]
        assert [one.hour for one in said if str(one.date()) == day] == [hour]
    # the clock went from 13:00 to 08:00: what it showed twice is meant as the later
    homes = Homes(Clinic(home).enrolment().rows)
    assert homes.instant("p-1", datetime.fromisoformat("2026-03-20T10:00")) == to_utc(
        datetime(2026, 3, 20, 14, tzinfo=UTC)
    )


def test_a_corrected_note_holds_from_when_it_was_written_down(home):
    record(home, "context", "--about", "illness", "--from", "2026-03-01")
    path = Clinic(home).records_path
    name, first = path.read_text().splitlines()[1].split(",")[0], patient_context(Clinic(home)).to_pylist()[0]
    args = ("--from", "2026-03-01", "--to", "2026-03-02", "--replaces", name)
    assert record(home, "context", "--about", "illness", *args) == 0
    now, before = (
        patient_context(Clinic(home), known_utc=known).to_pylist()
        for known in (2**62, int(first["recorded_utc"].timestamp() * 1e6))
    )
    assert [row["last_date"] for row in now] == [date(2026, 3, 2)]
    assert [row["last_date"] for row in before] == [None]


def test_a_state_of_the_patient_suspends_too(home):
    states = {"paused": "paused", "admitted": "admitted", "on-holiday": "travel", "active": None}
    lines = [
        f'r-{n},p-1,status,2026-03-0{n + 1}T12:00Z,,2026-03-01T00:00Z,nurse-7,"{{""status"":""{name}""}}"'
        for n, name in enumerate(states)
    ]
    header = "record,patient,kind,valid_from_utc,valid_to_utc,recorded_utc,author,payload"
    Clinic(home).records_path.write_text("\n".join([header, *lines]) + "\n")
    found = {row["first_date"]: row["about"] for row in patient_context(Clinic(home)).to_pylist()}
    wanted = {date(2026, 3, n + 1): about for n, about in enumerate(states.values()) if about}
    assert found == wanted
