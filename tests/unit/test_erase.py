"""Erasing a patient: nothing is left by search, nobody else is touched, nothing is computed again."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from alerts.engine.journal import Journal
from alerts.engine.technical import beat
from alerts.store import audit
from alerts.store.schema import METADATA
from devices.clock import DAY, HOUR, from_utc
from devices.tables import QUARANTINE, RAW
from flows.cli import main
from flows.clinic import Clinic
from flows.errors import UserError
from flows.lake.command import run_compact
from flows.night.nightly import run
from flows.shift import erase as erasing
from flows.shift.erase import erase
from ingest.lake import erasing as lake_erasing
from ingest.lake.enrolment import write_enrolment
from ingest.lake.erasing import Worn
from ingest.lake.presence import Presence, read_presence
from ingest.lake.records import PatientRecord, write_records
from tests.fixtures_alerts import open_alert
from tests.fixtures_night import (
    ARRIVED,
    DAYS,
    LAST,
    PEOPLE,
    enrolment_row,
    land,
    make_clinic,
    now,
    observations,
    patient,
    shown,
)

WHO = patient(3)


def clinic_of(home: Path) -> Clinic:
    """Nights computed, half of the lake compacted, something of everybody in every corner."""
    clinic = make_clinic(home)
    run_compact(home, keep_days=7, as_json=True)
    for number in (3, 4):
        row = {"received_utc": ARRIVED + HOUR, "gateway": f"gw-{number}", "kind": "wear", "reason": "x"}
        refused = pa.Table.from_pylist([row | {"sample_count": 1, "payload": b"?"}], schema=QUARANTINE)
        topic = f"flarecast/v1/north/gw-{number}/wear"
        raw = {"arrived_utc": ARRIVED + HOUR, "topic": topic, "content_type": None, "payload": b"!"}
        tables = {"quarantine": refused, "raw": pa.Table.from_pylist([raw], schema=RAW)}
        clinic.lake.commit(tables, writer="collector-1", now=ARRIVED + number)
        land(clinic, observations(number, DAYS - 1), ARRIVED + HOUR)
    notes = [
        PatientRecord(f"n-{n}", patient(n), "context_note", ARRIVED, None, ARRIVED, "dr-1", '{"text":"x"}')
        for n in (3, 4)
    ]
    write_records(clinic.records_path, notes)
    for day in (LAST - timedelta(days=1), LAST):
        run(clinic, day, day, clock=now)
    (clinic.reports / "nightly-x.json").write_text(
        json.dumps({"problems": [{"where": "w", "what": "x", "patients": [WHO, patient(4)]}]})
    )
    return clinic


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clinic_of(tmp_path_factory.mktemp("whole")).home


@pytest.fixture
def clinic(whole: Path, tmp_path: Path) -> Clinic:
    return Clinic(Path(shutil.copytree(whole, tmp_path, dirs_exist_ok=True, symlinks=True)), None, 8)


def alerts_of(clinic: Clinic) -> list[dict[str, Any]]:
    with Journal(clinic.journal_path, now) as journal:
        return journal.to_table().to_pylist()


def test_nothing_is_left_and_nobody_else_is_touched(clinic: Clinic) -> None:
    everybody = clinic.enrolment().rows
    own = [row for row in everybody if row.patient == WHO]
    worn = lake_erasing.devices_of(own), lake_erasing.gateways_of(own, everybody)
    found = erasing.search(clinic, WHO, *worn)
    for corner in ("lake/data", "lake/landing", "quarantine", "raw/", "derived", "catalogs", "alerts.sqlite",
                   "enrolment.csv", "patient_record.csv", "reports"):  # fmt: skip
        assert any(corner in path for path in found), f"the search looks into {corner}"
    before, alerts = shown(clinic), alerts_of(clinic)
    assert {WHO, patient(0)} <= {alert["patient"] for alert in alerts}
    receipt = erase(clinic, WHO, clock=now, actor="dr-1")
    assert receipt.left == []
    assert erasing.search(clinic, WHO, *worn) == []
    assert WHO not in json.dumps(vars(receipt))
    assert receipt.is_chain_whole
    assert {"step_count", "quarantine", "raw"} <= receipt.lake_rows.keys()
    assert receipt.gateways_pending == ["gw-3"]
    assert any("FHIR" in text for text in receipt.outside)
    kept = {name: [row for row in rows if row["patient"] != WHO] for name, rows in before.items()}
    assert shown(clinic) == kept
    assert alerts_of(clinic) == [alert for alert in alerts if alert["patient"] != WHO]
    again = run(clinic, LAST, LAST, clock=now)
    assert (again.feature_days, again.score_days, again.written, again.problems) == (0, 0, 0, [])
    assert main(["lake", "verify", "--home", str(clinic.home)]) == 0


@pytest.mark.parametrize("step", ["_erase_derived", "search"])
def test_a_run_that_was_killed_goes_on_by_the_same_command(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with clinic.alone("a night"), pytest.raises(UserError, match="busy"):
        erase(clinic, WHO, clock=now, actor="dr-1")
    assert not list((clinic.home / "erasures").glob("*")), "refused, it has not begun"

    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasing, step, killed)
        with pytest.raises(KeyboardInterrupt):
            erase(clinic, WHO, clock=now, actor="dr-1")
    assert WHO not in clinic.enrolment_path.read_text(), "by the enrolment nobody would know her any more"
    receipt = erase(clinic, WHO, clock=now, actor="dr-1")
    assert receipt.left == []
    assert receipt.gateways_pending == ["gw-3"]
    assert receipt.lake_rows["step_count"] > 1000, "what the run that failed had taken out is counted"
    assert receipt.registry_rows == 2
    assert [path.name for path in (clinic.home / "erasures").glob("*.pending.json")] == [
        f"{receipt.reference}.pending.json"
    ]
    with pytest.raises(UserError, match="unknown patient"):
        erase(clinic, WHO, clock=now, actor="dr-1")


def test_the_audit_stays_and_says_nothing_of_whom(clinic: Clinic) -> None:
    names = [alert["alert"] for alert in alerts_of(clinic) if alert["patient"] == WHO]
    with Journal(clinic.journal_path, now) as journal, journal.transaction() as con:
        readable = [entry for name in names for entry in audit.entries_of(con, name)]
        assert any(entry.detail for entry in readable)
    erase(clinic, WHO, clock=now, actor="dr-1")
    with Journal(clinic.journal_path, now) as journal, journal.transaction() as con:
        rows = [entry for name in names for entry in audit.entries_of(con, name)]
        assert len(rows) == len(readable)
        assert all(entry.detail is None for entry in rows)
        assert journal.first_audit_fault() is None
        assert audit.read(con)[-1].action == "erase"


def test_of_a_home_nobody_else_lives_in_the_gateway_is_forgotten_too(clinic: Clinic) -> None:
    """Its name and when it was heard, and alerts of its silence; a gateway that others have stays."""
    clinic.enrolment_path.write_text(
        clinic.enrolment_path.read_text() + enrolment_row(9).replace("gw-9", "gw-4")
    )
    collector = Presence(clinic.lake.root, "collector-1", clock=now)
    collector.brought(["gw-3", "gw-4"])
    collector.save(at_once=True)
    with Journal(clinic.journal_path, now) as journal:
        with journal.transaction() as con:
            for name in ("gw-3", "gw-4"):
                beat(con, "gateway", name, now() - 30 * DAY, now() - 29 * DAY, site="north")
        names = [
            open_alert(journal, f"gw-{n}", scope="gateway", severity="low", night=None, zone=None)
            for n in (3, 4)
        ]
    for day, who in enumerate((WHO, patient(4))):
        receipt = erase(clinic, who, clock=lambda day=day: now() + day * DAY, actor="dr-1")
        assert (receipt.left, receipt.is_chain_whole) == ([], True)
        assert read_presence(clinic.lake.root).keys() == {"gw-4"}, "somebody else is behind it"
        with Journal(clinic.journal_path, now) as journal, journal.transaction() as con:
            found = {
                table.name: {row.subject for row in con.execute(sa.select(table)) if row.scope == "gateway"}
                for table in METADATA.sorted_tables
                if "scope" in table.c
            }
            assert found == {"alert": {"gw-4"}, "heartbeat": {"gw-4"}, "subject_key": {"gw-4"}}
            assert [entry.detail is None for name in names for entry in audit.entries_of(con, name)] == [
                True,
                False,
            ]
    # the collector, which has it in mind, does not bring it back; a box that is still on does
    collector.brought(["gw-4"])
    collector.save(at_once=True)
    assert read_presence(clinic.lake.root).keys() == {"gw-4"}
    collector.brought(["gw-3"])
    collector.save(at_once=True)
    assert "gw-3" in read_presence(clinic.lake.root)
    erasing.sweep_pending(clinic)
    collector.brought(["gw-4"])
    collector.save(at_once=True)
    assert read_presence(clinic.lake.root).keys() == {"gw-4"}


def test_a_look_says_what_is_there_and_changes_nothing(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    def state() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in clinic.home.rglob("*") if path.is_file()}

    before = state()
    capsys.readouterr()
    words = ["erase", "--dry-run", "--home", str(clinic.home)]
    assert main([*words, "--patient", WHO]) == 0
    said = capsys.readouterr().out
    assert str(clinic.enrolment_path) in said
    assert "lake/landing/step_count" in said
    assert "spools pending then: gw-3; nothing was changed" in said
    assert main([*words, "--patient", "p-999"]) == 2
    assert main([*words, "--sweep"]) == 2
    assert state() == before


def test_a_legal_hold_refuses(clinic: Clinic, capsys: pytest.CaptureFixture[str]) -> None:
    before = shown(clinic)
    (clinic.home / "legal-holds.toml").write_text(f'{WHO} = "court of B., 2026-05-02"\n')
    assert main(["erase", "--patient", WHO, "--home", str(clinic.home)]) == 2
    assert "court of B." in capsys.readouterr().err
    (clinic.home / "legal-holds.toml").write_text("{bro")
    with pytest.raises(UserError, match="nothing is erased"):
        erase(clinic, WHO, clock=now, actor="dr-1")
    assert shown(clinic) == before
    (clinic.home / "legal-holds.toml").unlink()
    with pytest.raises(UserError, match="unknown patient"):
        erase(clinic, "p-999", clock=now, actor="dr-1")
    # a script whose variable is empty, and a folder that is not there, are no sweep that went well
    assert main(["erase", "--patient", "", "--home", str(clinic.home)]) == 2
    assert main(["erase", "--sweep", "--home", str(clinic.home / "nowhere")]) == 2


def test_what_a_spool_sends_later_is_swept_until_it_is_confirmed(clinic: Clinic) -> None:
    receipt = erase(clinic, WHO, clock=now, actor="dr-1")
    land(clinic, observations(3, 2), ARRIVED + 2 * DAY)
    assert erasing.sweep_pending(clinic) == {"step_count": 14 * 60, "pro_answer": 1}
    assert erasing.sweep_pending(clinic) == {}
    with pytest.raises(UserError, match="gw-4 is not a gateway"):
        erasing.confirm(clinic, receipt.reference, "gw-4")
    land(clinic, observations(3, 3), ARRIVED + 3 * DAY)
    assert erasing.confirm(clinic, receipt.reference, "gw-3") == []
    assert not [path for path in clinic.lake.files("step_count") if "gw-3" in _gateways(path)]
    with pytest.raises(UserError, match="pending"):
        erasing.confirm(clinic, receipt.reference, "gw-3")
    (clinic.home / "erasures" / "E-1.pending.json").write_text("{bro")
    for words in (["--sweep"], ["--confirm", "E-1", "--gateway", "gw-3"]):
        assert main(["erase", *words, "--home", str(clinic.home)]) == 2


def test_what_somebody_else_sends_with_the_same_device_stays(clinic: Clinic) -> None:
    erase(clinic, WHO, clock=now, actor="dr-1")
    land(clinic, observations(3, 2), ARRIVED + 2 * DAY)
    enrolled = clinic.enrolment()
    given = replace(
        enrolled.rows[0], patient="p-new", device="band-3", gateway="gw-3", valid_from_utc=ARRIVED + 10 * DAY
    )
    write_enrolment(clinic.enrolment_path, enrolled.add(given))
    theirs = [msgspec.structs.replace(one, start_utc=ARRIVED + 11 * DAY) for one in observations(3, 3)]
    land(clinic, theirs, ARRIVED + 12 * DAY)
    samples = sum(one.sample_count for one in theirs)
    assert sum(erasing.sweep_pending(clinic).values()) == 14 * 60 + 1, "the first's late ones alone"
    kept = [
        row
        for kind in ("step_count", "pro_answer")
        for path in clinic.lake.files(kind)
        for row in _starts(path, "band-3")
    ]
    assert len(kept) == samples > 0


def test_of_many_erasures_what_came_late_is_swept_in_one_pass(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (3, 4):
        erase(clinic, patient(number), clock=lambda number=number: now() + number, actor="dr-1")
        land(clinic, observations(number, 2), ARRIVED + 2 * DAY)
    passes: list[int] = []
    once = lake_erasing.erase
    monkeypatch.setattr(lake_erasing, "erase", lambda *given: passes.append(1) or once(*given))
    assert erasing.sweep_pending(clinic) == {"step_count": 2 * 14 * 60, "pro_answer": 2}
    assert len(passes) == 1


def test_what_cannot_be_read_is_found_and_the_same_command_ends_it(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose a damaged file is is not known: the rest goes, the receipt says so, and adds up in the end."""
    landed = next((clinic.lake.root / "landing").rglob("*.parquet"))
    derived = [next(clinic.derived.root.rglob(f"{name}/*/*.parquet")) for name in ("baseline", "trend")]
    for path in (landed, *derived):
        path.write_bytes(path.read_bytes()[:100])
    words = ["erase", "--patient", WHO, "--home", str(clinic.home)]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert str(landed) in said
    assert "give the same command again" in said
    (path,) = (one for one in (clinic.home / "erasures").glob("E-*.json") if "pending" not in one.name)
    first = json.loads(path.read_text())
    assert set(first["left"]) <= {str(landed), *map(str, derived)}
    assert first["lake_rows"]["step_count"]
    landed.unlink()
    for one in derived:
        one.unlink(missing_ok=True)
    assert main(words) == 0
    second = json.loads(path.read_text())
    assert second["left"] == []
    assert (second["erased_utc"], second["lake_rows"]) == (first["erased_utc"], first["lake_rows"])
    named = run(clinic, LAST, LAST, clock=now).problems
    assert all("computed again" in one.what for one in named), "of other shares, as ever"
    assert run(clinic, LAST, LAST, clock=now).problems == []


def test_what_an_import_refused_goes_by_its_device(clinic: Clinic, tmp_path: Path) -> None:
    """An import names no gateway: rows that were refused wait in quarantine without one."""
    rows = "device,start_utc,end_utc,steps\n"
    day = from_utc(ARRIVED - 3 * DAY).date()
    for device in ("band-3", "band-4"):
        rows += f"{device},{day}T10:00Z,{day}T10:01Z,70000\n{device},{day}T10:02Z,nonsense,7\n"
    (tmp_path / "old.csv").write_text(rows)
    words = ["import", str(tmp_path / "old.csv"), "--kind", "step_count", "--home", str(clinic.home)]
    assert main(words) == 1
    (tmp_path / "old.csv").unlink()
    naming = [
        one for one in lake_erasing.left(clinic.lake, [Worn("band-3", 0)], []) if "quarantine" in str(one)
    ]
    assert len(naming) == 1
    assert erase(clinic, WHO, clock=now, actor="dr-1").left == []
    left = [row for path in clinic.lake.quarantine_files() for row in pq.read_table(path).to_pylist()]
    assert not [row for row in left if b"band-3" in row["payload"]]
    assert len([row for row in left if b"band-4" in row["payload"]]) == 2


def test_the_search_finds_a_name_and_no_longer_name(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path)
    (tmp_path / "lake").mkdir()
    (tmp_path / "a.json").write_text('{"p-0031": 1, "xp-003": 2}')
    (tmp_path / "b.json").write_text('{"p-003": 1}')
    assert erasing.search(clinic, WHO, [], []) == [str(tmp_path / "b.json")]
    assert PEOPLE > 4


def _starts(path: Path, device: str) -> list[Any]:
    rows = pq.read_table(path, columns=["device", "start_utc"]).to_pylist()
    return [row["start_utc"] for row in rows if row["device"] == device]


def _gateways(path: Path) -> set[str]:
    return set(pq.read_table(path, columns=["gateway"])["gateway"].to_pylist())
