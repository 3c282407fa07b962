"""Nobody who was erased comes back unnoticed: by an old export, old observations, an old backup."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from alerts.engine.journal import Journal
from alerts.store import audit
from flows.cli import main
from flows.clinic import Clinic
from flows.doctor.command import examine
from flows.night.nightly import run
from flows.shift.backup import backup
from flows.shift.erase import erase
from ingest.errors import EnrolmentError
from ingest.lake.enrolment import read_enrolment
from ingest.lake.erased import ErasedRegister
from ingest.lake.records import PatientRecord, write_records
from tests.fixtures_ingest import ENROLMENT_HEADER
from tests.fixtures_night import ARRIVED, DAYS, LAST, enrolment_row, land, now, observations, patient

WHO, OTHER = patient(3), patient(4)
AGAIN = ("--again-after-erasure", "--author", "nurse-7")
Say = Callable[..., tuple[int, str]]


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    """Two people of whom one day was sent, a note about each, and exports of both beside the home."""
    home = tmp_path / "home"
    home.mkdir()
    made = Clinic(home, None, 8)
    made.enrolment_path.write_text(ENROLMENT_HEADER + enrolment_row(3) + enrolment_row(4))
    land(made, [one for n in (3, 4) for one in observations(n, DAYS - 1)], ARRIVED)
    notes = [
        PatientRecord(f"n-{n}", patient(n), "context_note", ARRIVED, None, ARRIVED, "dr-1", '{"text":"x"}')
        for n in (3, 4)
    ]
    write_records(made.records_path, notes)
    for name, option in (("enrolment", ()), ("records", ("--records",))):
        assert main(["enrol", "export", str(tmp_path / f"{name}.csv"), *option, "--home", str(home)]) == 0
    return made


@pytest.fixture
def say(clinic: Clinic, capsys: pytest.CaptureFixture[str]) -> Say:
    """Exit code and everything printed of a command about the clinic."""

    def run_one(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main([*words, "--home", str(clinic.home)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run_one


def confirmed(clinic: Clinic, say: Say) -> str:
    """Erase the one, to the last confirmation; returns the reference."""
    receipt = erase(clinic, WHO, clock=now, actor="dr-1")
    assert receipt.left == []
    code, _ = say("erase", "--confirm", receipt.reference, "--gateway", "gw-3")
    assert code == 0
    return receipt.reference


def test_an_old_export_is_refused_until_somebody_puts_a_name_to_it(
    clinic: Clinic, tmp_path: Path, say: Say
) -> None:
    reference = confirmed(clinic, say)
    path = tmp_path / "enrolment.csv"
    lines = path.read_text().splitlines()
    place = f"{path}:{1 + next(n for n, line in enumerate(lines) if line.startswith(WHO))}"
    before = clinic.enrolment_path.read_text()
    code, said = say("enrol", "import", str(path))
    assert (code, said.count("\n")) == (2, 1)
    assert f"{place}: {WHO} was erased ({reference})" in said
    assert say("enrol", "import", str(path), AGAIN[0])[0] == 2, "by whose word?"
    assert say("enrol", "import", str(path), AGAIN[0], "--author", "Nurse 7")[0] == 2
    code, said = say("enrol", "import", str(tmp_path / "records.csv"), "--records")
    assert code == 2
    assert f"n-3: {WHO} was erased ({reference})" in said
    assert clinic.enrolment_path.read_text() == before
    assert WHO not in clinic.records_path.read_text()

    assert say("enrol", "import", str(path), *AGAIN)[0] == 0
    assert WHO in {row.patient for row in clinic.enrolment().rows}
    assert say("enrol", "import", str(tmp_path / "records.csv"), "--records")[0] == 0, "she is back"
    with Journal(clinic.alert_store, now) as journal, journal.transaction() as con:
        last = audit.read(con)[-1]
        assert (last.actor, last.action, last.detail) == (
            "nurse-7",
            "again-after-erasure",
            {"erasures": [reference]},
        )
    again = erase(clinic, WHO, clock=now, actor="dr-1")
    assert again.left == []
    assert again.reference != reference
    assert say("enrol", "import", str(path))[0] == 2


def test_one_row_is_refused_by_its_patient_and_by_its_device(clinic: Clinic, say: Say) -> None:
    own = clinic.enrolment().rows
    start = next(row.valid_from_utc for row in own if row.patient == WHO)
    confirmed(clinic, say)

    def add(who: str, device: str, at: int, *more: str) -> tuple[int, str]:
        rest = ("--site", "north", "--zone", "Europe/Berlin", "--gateway", "gw-9")
        begin = ("--from", read_instant_text(at))
        return say("enrol", "add", "--patient", who, *rest, "--device", device, *begin, *more)

    code, said = add(WHO, "band-9", now())
    assert code == 2
    assert f"{WHO} was erased" in said
    code, said = add("p-new", "band-3", start + 1)
    assert code == 2
    assert "band-3 was with an erased patient then" in said
    assert add("p-new", "band-3", now())[0] == 0, "the device goes to the next one"
    assert add(WHO, "band-9", now(), *AGAIN)[0] == 0
    assert add(WHO, "band-10", now())[0] == 0, "she is back"


def read_instant_text(utc: int) -> str:
    from devices.clock import from_utc

    return from_utc(utc).isoformat()


def test_old_observations_of_her_are_kept_nowhere(clinic: Clinic, tmp_path: Path, say: Say) -> None:
    confirmed(clinic, say)
    day = LAST.isoformat()
    rows = [f"band-{n},{day}T1{m}:00Z,{day}T1{m}:01Z,7" for n in (3, 4) for m in range(2)]
    path = tmp_path / "steps.csv"
    path.write_text("\n".join(["device,start_utc,end_utc,steps", *rows, f"band-3,{day}T12:00Z,soon,7", ""]))
    words = ("import", str(path), "--kind", "step_count")
    code, said = say(*words)
    assert code == 1
    assert "5 rows: 2 samples stored, 0 in quarantine" in said
    assert "3 rows of somebody who was erased: kept nowhere" in said
    assert clinic.lake.quarantined() == {}
    assert say("enrol", "import", str(tmp_path / "enrolment.csv"), *AGAIN)[0] == 0
    code, said = say(*words)
    assert "5 rows: 4 samples stored, 1 in quarantine" in said, "the same file, now that she is back"


def test_a_backup_of_before_says_who_is_to_be_erased_again(clinic: Clinic, tmp_path: Path, say: Say) -> None:
    kept = backup(clinic, tmp_path / "backups", clock=now)
    reference = confirmed(clinic, say)
    old = clinic.home / "erasures"
    new = Clinic(tmp_path / "new", None, 8)

    def restore(home: Path, *more: str) -> int:
        return main(["restore", str(kept.folder), "--home", str(home), *more])

    assert restore(new.home, "--erasures", str(tmp_path)) == 2
    assert not new.home.exists()
    assert restore(new.home, "--erasures", str(old)) == 1
    found = [words for where, words in examine(new, "127.0.0.1", 1, clock=now) if where == "enrolment"]
    assert found[0].startswith(f"{WHO} was erased ({reference}) and is enrolled")
    report = run(new, LAST, LAST, clock=now)
    assert [(one.where, one.patients) for one in report.problems] == [("enrolment", (WHO,))]
    assert erase(new, WHO, clock=now, actor="dr-1").left == []
    assert run(new, LAST, LAST, clock=now).problems == []
    assert restore(tmp_path / "unaware") == 0


def test_what_is_kept_of_her_tells_nobody_who_she_was(clinic: Clinic, say: Say) -> None:
    confirmed(clinic, say)
    folder = clinic.home / "erasures"
    kept = (folder / "erased.json").read_text()
    for name in (WHO, "band-3", "gw-3"):
        assert name not in kept
        assert hashlib.sha256(name.encode()).hexdigest() not in kept
    for path in (folder / "erased.json", folder / "secret.key"):
        assert path.stat().st_mode & 0o077 == 0
    other = Clinic(clinic.home.parent / "other")
    ErasedRegister(other.home).add("E-1", WHO, [], now())
    theirs = json.loads((other.home / "erasures" / "erased.json").read_text())
    assert theirs["erasures"][0]["patient"] not in kept, "another site's digest is another"


@pytest.mark.parametrize("spoilt", ["no secret", "another's secret", "spoilt register"])
def test_without_its_secret_nothing_is_taken_for_new(
    clinic: Clinic, tmp_path: Path, say: Say, spoilt: str
) -> None:
    confirmed(clinic, say)
    secret, register = (clinic.home / "erasures" / name for name in ("secret.key", "erased.json"))
    if spoilt == "no secret":
        secret.unlink()
    elif spoilt == "another's secret":
        secret.write_text("00" * 32)
    else:
        register.write_text("{bro")
    with pytest.raises(EnrolmentError, match="restore"):
        ErasedRegister(clinic.home)
    before = read_enrolment(clinic.enrolment_path).rows
    code, said = say("enrol", "import", str(tmp_path / "enrolment.csv"), *AGAIN)
    assert (code, said.count("\n")) == (2, 1)
    assert read_enrolment(clinic.enrolment_path).rows == before
    assert any("erased" in one.what for one in run(clinic, LAST, LAST, clock=now).problems)
    assert any("erased" in words for _, words in examine(clinic, "127.0.0.1", 1, clock=now))
