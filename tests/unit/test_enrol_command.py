"""`flarecast enrol`: intervals, swaps and returns, all or nothing."""

import pytest

from flows.cli import main
from flows.clinic import Clinic
from ingest.lake.enrolment import read_enrolment
from tests.fixtures_ingest import ENROLMENT_HEADER, T0, steps
from tests.unit.test_lake_command import refuse

MAY, JUNE, JULY = 1_714_521_600_000_000, 1_717_200_000_000_000, 1_719_792_000_000_000


@pytest.fixture
def clinic(tmp_path):
    return Clinic(tmp_path)


def enrol(clinic, action, *arguments):
    return main(["enrol", action, "--home", str(clinic.home), *map(str, arguments)])


def add(clinic, *more, patient="p-1", device="ring-1", start="2024-05-01T00:00Z", zone="Europe/Berlin"):
    who = ("--patient", patient, "--site", "north", "--zone", zone, "--gateway", "gw-1", "--device", device)
    return enrol(clinic, "add", *who, "--from", start, *more)


def test_a_device_goes_from_one_patient_to_the_next_and_back(clinic):
    assert add(clinic) == 0
    assert enrol(clinic, "end", "--device", "ring-1", "--at", "2024-06-01T00:00Z") == 0
    assert add(clinic, "--to", "2024-07-01T00:00Z", patient="p-2", start="2024-06-01T00:00Z") == 0
    assert add(clinic, start="2024-07-01T00:00Z") == 0
    enrolment = clinic.enrolment()
    owners = [enrolment.lookup("ring-1", utc) for utc in (MAY - 1, MAY, JUNE - 1, JUNE, JULY - 1, JULY)]
    assert [row and row.patient for row in owners] == [None, "p-1", "p-1", "p-2", "p-2", "p-1"]


def test_a_swap_ends_the_old_device_at_the_same_instant(clinic):
    add(clinic)
    assert add(clinic, "--replaces", "ring-1", device="ring-2", start="2024-06-01T00:00Z") == 0
    enrolment = clinic.enrolment()
    assert enrolment.lookup("ring-1", JUNE - 1)
    assert enrolment.lookup("ring-1", JUNE) is None
    assert enrolment.lookup("ring-2", JUNE - 1) is None
    assert enrolment.lookup("ring-2", JUNE)


def test_mistakes_change_nothing_and_name_the_fault(clinic, capsys):
    add(clinic)
    before = clinic.enrolment_path.read_bytes()
    capsys.readouterr()
    faults = [
        (
            lambda: add(clinic, patient="p-2", start="2024-08-01T00:00Z"),
            "is with p-1 from 2024-05-01T00:00:00",
        ),
        (lambda: add(clinic, patient="p-2", start="2024-04-01T00:00Z"), "end that row first"),
        (lambda: add(clinic, device="ring-2", zone="Mars"), "zone"),
        (lambda: add(clinic, device="ring-2", start="2024-05-01T00:00"), "valid_from_utc"),
        (
            lambda: enrol(clinic, "end", "--device", "ring-1", "--at", "2024-05-01T00:00Z"),
            "with nobody before",
        ),
        (
            lambda: enrol(clinic, "end", "--device", "ring-9", "--at", "2024-06-01T00:00Z"),
            "with nobody before",
        ),
        (lambda: enrol(clinic, "end", "--device", "ring-1", "--at", "soon"), "--at"),
    ]
    for fault, says in faults:
        assert fault() == 2
        assert says in capsys.readouterr().err
        assert clinic.enrolment_path.read_bytes() == before


def test_what_is_exported_can_be_imported_and_again(clinic, tmp_path, capsys):
    add(clinic)
    add(clinic, device="ring-2")
    capsys.readouterr()
    assert enrol(clinic, "export", tmp_path / "out.csv") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out.csv'}: 2 rows written\n"
    assert read_enrolment(tmp_path / "out.csv").rows == clinic.enrolment().rows
    other = Clinic(tmp_path / "other")
    for added in (2, 0):
        capsys.readouterr()
        assert enrol(other, "import", tmp_path / "out.csv") == 0
        assert f"2 rows, {added} added" in capsys.readouterr().out
    assert other.enrolment().rows == clinic.enrolment().rows
    assert enrol(other, "export") == 0
    assert capsys.readouterr().out == (tmp_path / "out.csv").read_text()


def test_an_export_onto_a_folder_or_from_a_file_is_one_line_and_leaves_nothing(clinic, tmp_path, capsys):
    add(clinic)
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    capsys.readouterr()
    assert enrol(clinic, "export", tmp_path / "folder") == 2
    assert enrol(Clinic(clinic.enrolment_path), "export", "--records") == 2
    assert enrol(Clinic(tmp_path / "nowhere"), "export", "--records") == 2
    said = capsys.readouterr().err.splitlines()
    assert ["is a folder" in said[0], "is a file" in said[1], "no records at" in said[2]] == [True] * 3
    assert len(said) == 3
    assert sorted(tmp_path.iterdir()) == before


def test_an_import_is_taken_whole_or_not_at_all(clinic, tmp_path):
    add(clinic)
    before = clinic.enrolment_path.read_bytes()
    row = "p-9,north,UTC,gw-1,{},2024-05-02T00:00Z,\n"
    (tmp_path / "in.csv").write_text(ENROLMENT_HEADER + row.format("ring-3") + row.format("ring-1"))
    assert enrol(clinic, "import", tmp_path / "in.csv") == 2
    assert clinic.enrolment_path.read_bytes() == before


def test_the_list_shows_what_holds_now_or_all_of_one_device(clinic, capsys):
    add(clinic, "--to", "2024-06-01T00:00Z")
    add(clinic, device="ring-2")
    capsys.readouterr()
    enrol(clinic, "list")
    assert [line.split(",")[4] for line in capsys.readouterr().out.splitlines()] == ["device", "ring-2"]
    enrol(clinic, "list", "--device", "ring-1")
    assert [line.split(",")[4] for line in capsys.readouterr().out.splitlines()] == ["device", "ring-1"]


def test_one_row_with_a_mistake_is_named_and_the_others_are_listed(clinic, capsys):
    add(clinic)
    add(clinic, device="ring-2")
    add(clinic, device="ring-3", patient="p-2")
    text = clinic.enrolment_path.read_text().splitlines()
    text[2] = text[2].replace("Europe/Berlin", "Mars")
    clinic.enrolment_path.write_text("\n".join(text))
    capsys.readouterr()
    assert enrol(clinic, "list") == 1
    found = capsys.readouterr()
    assert [line.split(",")[4] for line in found.out.splitlines()] == ["device", "ring-1", "ring-3"]
    place = f"{clinic.enrolment_path}:3: zone"
    assert found.err == f"flarecast: not shown, p-1: {place}: 'Mars' is not an IANA time zone\n"
    clinic.enrolment_path.write_text("\n".join([text[0], text[1], text[3], text[1]]))
    assert enrol(clinic, "list") == 1
    assert f"{clinic.enrolment_path}:4: device ring-1 is enrolled twice" in capsys.readouterr().err


def test_enrolling_a_device_stores_what_waited_for_it(clinic, capsys):
    add(clinic)
    refuse(clinic, [steps(T0, [1, 2], device="ring-7")])
    assert clinic.lake.files("step_count") == []
    capsys.readouterr()
    assert add(clinic, device="ring-7") == 0
    assert "2 samples released" in capsys.readouterr().out
    assert clinic.lake.quarantined() == {}
    assert len(clinic.lake.files("step_count")) == 1
