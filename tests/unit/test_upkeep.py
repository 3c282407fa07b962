"""Backup and restore drilled; retention by age that keeps what is named; backfill that tells nobody."""

import errno
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts.engine.journal import Journal
from analytics.store import query
from devices.clock import DAY
from flows.cli import main
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.nightly import run
from flows.shift import backup
from flows.shift.restore import restore
from flows.shift.retention import read_retention, retain
from tests.fixtures_night import (
    ARRIVED,
    DAYS,
    LAST,
    enrolment_row,
    land,
    make_clinic,
    now,
    observations,
    shown,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clinic = make_clinic(tmp_path_factory.mktemp("whole"))
    run(clinic, LAST - timedelta(days=1), LAST, clock=now)
    return clinic.home


@pytest.fixture
def clinic(whole: Path, tmp_path: Path) -> Clinic:
    return Clinic(Path(shutil.copytree(whole, tmp_path / "home", symlinks=True)), None, 8)


def state(clinic: Clinic) -> dict[str, Any]:
    with Journal(clinic.journal_path, now) as journal:
        return {**shown(clinic), "alerts": journal.to_table().to_pylist()}


def test_a_restored_home_is_the_one_backed_up_and_goes_on(clinic: Clinic, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    first = backup.backup(clinic, target, clock=now)
    before = state(clinic)
    land(clinic, observations(1, DAYS - 1, scale=0.3), ARRIVED + DAY)
    run(clinic, LAST, LAST, clock=now)
    second = backup.backup(clinic, target, clock=lambda: now() + 1)
    assert second.bytes_copied < first.bytes_copied / 5, "what is the same is linked"
    assert state(clinic) != before
    after = state(clinic)
    for done, wanted in ((first, before), (second, after)):
        home = tmp_path / f"restored-{done.folder.name}"
        restore(done.folder, home, clock=now)
        restored = Clinic(home, None, 8)
        assert state(restored) == wanted
        rows = query.run(restored.current, "select count(*) n from patient_day").to_pylist()
        assert rows[0]["n"] == len(wanted["patient_day"])
        again = run(restored, LAST, LAST, clock=now)
        assert (again.feature_days, again.score_days, again.alerts_opened) == (0, 0, 0)
        assert not again.problems


def test_old_backups_go_and_the_newest_stays_whole(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "backups"
    monkeypatch.setenv("FLARECAST_BACKUP", str(target))
    old, newest = (backup.backup(clinic, target, clock=lambda n=n: now() + n * DAY).folder for n in (0, 3))
    (clinic.home / "retention.toml").write_text("backups = 10\n")
    assert retain(clinic, clock=lambda: now() + 9 * DAY).deleted.get("backups") is None
    assert retain(clinic, clock=lambda: now() + 12 * DAY).deleted["backups"] == 1
    assert not old.exists()
    assert backup.check(newest) == []
    assert retain(clinic, clock=lambda: now() + 99 * DAY).deleted.get("backups") is None
    assert newest.exists()


def test_a_backup_that_is_not_whole_is_none(
    clinic: Clinic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "backups"
    done = backup.backup(clinic, target, clock=now)
    victim = next((done.folder / "files" / "lake").rglob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    new = tmp_path / "new"
    with pytest.raises(UserError, match=r"missing or changed: 1, first files/lake.*--without-damaged"):
        restore(done.folder, new, clock=now)
    assert main(["backup", "--check", "--to", str(target), "--home", str(clinic.home)]) == 1
    assert f"missing or changed: {victim}" in capsys.readouterr().out
    assert main(["restore", str(done.folder), "--home", str(new), "--without-damaged"]) == 1
    name = victim.relative_to(done.folder / "files").as_posix()
    assert f"damaged in the backup and left out: {name}" in capsys.readouterr().out
    assert (clinic.home / name).exists()
    assert not (new / name).exists()
    (done.folder / "state" / "enrolment.csv").write_text("x")
    with pytest.raises(UserError, match="take another backup"):
        restore(done.folder, tmp_path / "third", clock=now, is_damage_left=True)
    for text in ("{bro", "[]", '{"files": {"state/../../x": {}}}'):
        (done.folder / backup.LIST).write_text(text)
        assert main(["restore", str(done.folder), "--home", str(tmp_path / "third")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    (done.folder / backup.LIST).unlink()
    with pytest.raises(UserError, match="no backup"):
        restore(done.folder, tmp_path / "third", clock=now)
    assert not (tmp_path / "third").exists()
    (tmp_path / "file").touch()
    assert main(["restore", str(done.folder), "--home", str(tmp_path / "file")]) == 2
    with pytest.raises(UserError, match="inside"):
        backup.backup(clinic, clinic.home / "backups", clock=now)


def test_damage_in_the_backup_before_is_in_no_backup_to_come(clinic: Clinic, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    first = backup.backup(clinic, target, clock=now)
    files = sorted((first.folder / "files" / "lake").rglob("*.parquet"))
    files[0].unlink()
    second = backup.backup(clinic, target, clock=lambda: now() + 1)
    assert backup.check(second.folder) == [], "what is not there any more is copied"
    rotten = second.folder / files[1].relative_to(first.folder)
    rotten.write_bytes(bytes([rotten.read_bytes()[0] ^ 1]) + rotten.read_bytes()[1:])
    within = [
        backup.backup(clinic, target, clock=lambda day=day: now() + day * DAY)
        for day in range(1, backup.READ_DAYS + 1)
    ]
    assert backup.check(within[-1].folder) == [], "every linked file is read within a week"
    (within[-1].folder / backup.LIST).write_text("{bro")
    last = backup.backup(clinic, target, clock=lambda: now() + 9 * DAY)
    assert backup.check(last.folder) == []


def test_a_backup_that_failed_leaves_nothing(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "backups"
    backup.backup(clinic, target, clock=now)
    killed = target / ".20200101T000000.000000Z.partial"
    killed.mkdir()
    (killed / "half").touch()

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    ledger = clinic.home / "derived" / "ledger.sqlite"
    whole = ledger.read_bytes()
    ledger.write_text("junk")
    assert main(["backup", "--to", str(target), "--home", str(clinic.home)]) == 2
    ledger.write_bytes(whole)
    with monkeypatch.context() as patch:
        patch.setattr(backup, "replace_file", full)
        with pytest.raises(OSError, match="No space"):
            backup.backup(clinic, target, clock=lambda: now() + 1)
    assert len(list(target.iterdir())) == 1


def test_what_cannot_be_made_anew_is_in_the_backup(clinic: Clinic, tmp_path: Path) -> None:
    """Keys of studies, scales of the site, what was imported: without them a restored home is another one."""
    kept = (
        *("studies/pain-1.key", "studies/extracts.jsonl", "scales/site-1.json", "lake/imports/x.json"),
        *("lake/status/replays.count", "erasures/secret.key", "models/m/model.json", "legal-holds.toml"),
        "places.json",
    )
    for name in kept:
        (clinic.home / name).parent.mkdir(parents=True, exist_ok=True)
        (clinic.home / name).write_text("" if name.endswith(".toml") else "{}")
    (clinic.home / "studies" / "pain-1.key").chmod(0o600)
    folder = backup.backup(clinic, tmp_path / "backups", clock=now).folder
    assert [name for name in kept if not (folder / "state" / name).is_file()] == []
    assert (folder / "state" / "studies" / "pain-1.key").stat().st_mode & 0o777 == 0o600


def test_compaction_reopens_nothing(clinic: Clinic) -> None:
    before = state(clinic)
    assert main(["lake", "compact", "--home", str(clinic.home), "--json"]) == 0
    again = run(clinic, LAST - timedelta(days=1), LAST, clock=now)
    assert (again.feature_days, again.score_days) == (0, 0)
    assert state(clinic) == before


def test_observations_go_by_age_and_their_nights_stay(clinic: Clinic) -> None:
    assert main(["lake", "compact", "--home", str(clinic.home), "--json"]) == 0
    run(clinic, LAST, LAST, clock=now)
    before, old = state(clinic), clinic.current.resolve()
    (clinic.home / "retention.toml").write_text("step_count = 25\nsnapshots = 0\n")
    named = [path for path in clinic.lake.files("step_count") if path.parent.name < "date=2026-05-08"]
    assert named
    kept = retain(clinic, clock=now)
    # the snapshot before still names them
    assert all(path.exists() for path in named)
    assert query.run(old, "select count(*) n from observations_step_count").to_pylist()[0]["n"] > 0
    (clinic.home / "retention.toml").write_text("step_count = 25\nsnapshots = 1\n")
    assert kept.deleted.get("step_count", 0) == 0
    assert clinic.lake.files("step_count") != []
    assert state(clinic) == before
    again = run(clinic, LAST, LAST, clock=now)
    assert (again.feature_days, again.problems) == (0, []), "their dates are never computed of nothing"
    assert state(clinic) == before


def test_a_legal_hold_keeps_what_was_sent_and_a_wrong_line_stops_no_compaction(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    with clinic.enrolment_path.open("a") as stream:
        stream.write(enrolment_row(70, zone="Mars/Base"))
    assert main(["lake", "compact", "--home", str(clinic.home), "--json"]) == 0
    (clinic.home / "retention.toml").write_text("observations = 1\nraw = 1\nsnapshots = 0\n")
    before = clinic.lake.files("step_count")
    (clinic.home / "legal-holds.toml").write_text('p-001 = "court of B."\n')
    assert main(["retention", "--home", str(clinic.home)]) == 0
    assert "a legal hold keeps" in capsys.readouterr().out
    assert clinic.lake.files("step_count") == before
    (clinic.home / "legal-holds.toml").unlink()
    retain(clinic, clock=now)
    assert clinic.lake.files("step_count") == []


def test_a_late_night_older_than_what_the_rules_remember_is_named_and_judged_by_nobody(
    clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    later = lambda: now() + 200 * DAY  # noqa: E731
    (clinic.home / "retention.toml").write_text("readings = 180\nalerts = 365\n")
    (clinic.home / "legal-holds.toml").write_text('p-001 = "court of B."\n')
    assert "readings" not in retain(clinic, clock=later).deleted
    (clinic.home / "legal-holds.toml").unlink()
    assert retain(clinic, clock=now).deleted.get("readings") is None
    before = state(clinic)["alerts"]
    assert retain(clinic, clock=later).deleted["readings"] > 0
    land(clinic, observations(1, DAYS - 1, scale=0.3), ARRIVED + DAY)
    late = run(clinic, LAST, LAST, clock=later)
    assert late.score_days, "it is computed and published all the same"
    assert [(one.where, one.what.split(":")[0]) for one in late.problems] == [
        (f"nights {LAST} to {LAST}", "not judged")
    ]
    assert state(clinic)["alerts"] == before
    assert run(clinic, LAST, LAST, clock=later).problems == [], "said once"
    assert retain(clinic, clock=later).deleted.get("readings") is None


def test_a_setting_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "retention.toml"
    for text, word in [
        ("raws = 3", "raws"),
        ("raw = -1", "-1"),
        ("raw = ", "TOML"),
        ("readings = 179", "at least 180"),
        ("alerts = 364", "at least 365"),
    ]:
        path.write_text(text)
        with pytest.raises(UserError, match=word):
            read_retention(tmp_path)
    path.write_text("raw = 30")
    assert read_retention(tmp_path)["raw"] == 30


def test_backfill_tells_nobody(tmp_path: Path) -> None:
    clinic = make_clinic(tmp_path)
    report = run(clinic, LAST - timedelta(days=3), LAST, clock=now, has_alerts=False)
    assert report.score_days == 4
    with Journal(clinic.journal_path, now) as journal:
        assert journal.to_table().num_rows == 0
    told = run(clinic, LAST - timedelta(days=1), LAST, clock=now)
    assert told.alerts_opened, "nights are judged when they are asked for"
