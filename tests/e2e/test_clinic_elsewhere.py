"""A clinic whose lake and snapshots lie in S3 buckets that keep versions, its alerts in PostgreSQL.

Backup and restore of one consistent point, retention, and erasure, as in a folder.
"""

import io
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alerts.engine.journal import Journal
from alerts.errors import JournalError
from analytics.store import query
from devices.clock import DAY
from devices.tables import QUARANTINE, RAW
from flows.cli import main
from flows.clinic import Clinic
from flows.errors import UserError
from flows.lake.command import compact_lake
from flows.night import shared_snapshot
from flows.night.nightly import run
from flows.object_store import open_objects
from flows.settings import place_of
from flows.shift import backup, erase_command
from flows.shift.erase import erase
from flows.shift.restore import restore
from flows.shift.retention import retain
from ingest.errors import StoreUnreachableError
from ingest.lake.object_versions import Versions
from ingest.lake.objects import S3Objects
from ingest.lake.remote import RemoteLake
from tests.fixtures_ingest import ENROLMENT_HEADER
from tests.fixtures_night import ARRIVED, DAYS, LAST, enrolment_row, land, now, observations, patient, shown
from tests.fixtures_postgres import new_database
from tests.fixtures_s3 import keep_versions, use_s3

PEOPLE = 4
WHO = patient(3)
NIGHTS = [LAST - timedelta(days=1), LAST]


@pytest.fixture
def clinic(s3: str, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    """Eight days of four people; half of it compacted; alerts, quarantine, raw messages, snapshots."""
    bucket = use_s3(monkeypatch, s3)
    keep_versions(s3, bucket)
    monkeypatch.setenv("FLARECAST_LAKE_URL", f"s3://{bucket}/lake")
    monkeypatch.setenv("FLARECAST_SNAPSHOT_URL", f"s3://{bucket}/snapshots")
    monkeypatch.setenv("FLARECAST_ALERT_STORE", new_database(postgres))
    home = tmp_path / "home"
    home.mkdir()
    made = Clinic(home, None, 8)
    made.enrolment_path.write_text(ENROLMENT_HEADER + "".join(enrolment_row(n) for n in range(PEOPLE)))
    for first, last in ((DAYS - 8, DAYS - 4), (DAYS - 4, DAYS)):
        days = range(first, last)
        land(made, [one for n in range(PEOPLE) for day in days for one in observations(n, day)], ARRIVED)
        if last != DAYS:
            compact_lake(made, keep_us=DAY, clock=now)
    for number in (2, 3):
        row = {"received_utc": ARRIVED, "gateway": f"gw-{number}", "kind": "wear", "reason": "x"}
        refused = pa.Table.from_pylist([row | {"sample_count": 1, "payload": b"?"}], schema=QUARANTINE)
        topic = f"flarecast/v1/north/gw-{number}/wear"
        raw = {"arrived_utc": ARRIVED, "topic": topic, "content_type": None, "payload": b"!"}
        tables = {"quarantine": refused, "raw": pa.Table.from_pylist([raw], schema=RAW)}
        made.lake.commit(tables, writer="collector-1", now=ARRIVED + number)
    report = run(made, *NIGHTS, clock=now)
    assert report.problems == []
    assert report.alerts_opened > 1
    return made


def state(clinic: Clinic) -> dict[str, Any]:
    with Journal(clinic.alert_store, now) as journal:
        assert journal.first_audit_fault() is None
        return {**shown(clinic), "alerts": journal.to_table().to_pylist(), "outbox": journal.outbox.counts()}


def everything_in(objects: S3Objects) -> dict[str, bytes]:
    """Content of every object and every old version, by key."""
    found = {key: (objects.read(key) or pytest.fail(key)).content for key, _ in objects.keys("")}
    old = {f"{one.key}?{one.version}": one for one in objects.old_versions() if not one.is_mark}
    return found | {name: objects.read_old(one) for name, one in old.items()}


def texts_of(content: bytes) -> set[str]:
    """Every text in a Parquet file."""
    rows = pq.read_table(io.BytesIO(content))
    return {str(value) for column in rows.columns for value in column.to_pylist()}


def naming(objects: S3Objects, *words: str) -> list[str]:
    """Keys of Parquet files in which a value holds one of the words."""
    return [
        key
        for key, content in everything_in(objects).items()
        if ".parquet" in key and any(word in text for text in texts_of(content) for word in words)
    ]


def test_erasure_reaches_buckets_their_versions_and_the_database(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, there = open_objects(place_of(clinic.lake_place)), open_objects(_snapshots())
    # landing files that compaction has deleted live on as old versions
    compact_lake(clinic, keep_us=DAY, clock=lambda: now() + 9 * DAY)
    assert [key for key in naming(lake, "band-3") if "?" in key and key.startswith("landing/")]
    assert naming(lake, "gw-3/"), "raw messages"
    assert naming(there, WHO)
    before = state(clinic)
    receipt = erase(clinic, WHO, clock=now, actor="dr-1")
    assert receipt.left == []
    assert receipt.is_chain_whole
    assert receipt.object_versions > 0
    assert receipt.shared_snapshots == 1
    assert {"step_count", "quarantine", "raw"} <= receipt.lake_rows.keys()
    assert naming(lake, "band-3", "gw-3") == []
    assert naming(there, WHO, "band-3", "gw-3") == []
    assert naming(lake, "band-2"), "nobody else is touched"
    assert list(there.old_versions()) == []
    for question in ("patient_day", "enrolment", "alerts", "observations_step_count"):
        rows = shared_snapshot.run(_snapshots(), f"select distinct patient from {question}").to_pylist()
        assert rows
        assert {"patient": WHO} not in rows
    after = state(clinic)
    for name, rows in after.items():
        if name != "outbox":
            assert rows == [row for row in before[name] if row["patient"] != WHO]
    with psycopg.connect(str(clinic.alert_store).replace("+psycopg", "")) as con:
        tables = con.execute("select table_name from information_schema.tables where table_schema = 'public'")
        for (table,) in tables.fetchall():
            assert WHO not in str(con.execute(f'select * from "{table}"').fetchall()), table  # pyright: ignore
    again = run(clinic, *NIGHTS, clock=now)
    assert (again.feature_days, again.score_days, again.alerts_opened, again.problems) == (0, 0, 0, [])
    assert main(["lake", "verify", "--home", str(clinic.home)]) == 0

    # snapshots go to another place now, and the former one shows people still
    first, moved = _snapshots().url, f"{_snapshots().url}-of-later"
    monkeypatch.setenv("FLARECAST_SNAPSHOT_URL", moved)
    run(clinic, *NIGHTS, clock=now)
    assert naming(there, patient(1))
    assert erase(clinic, patient(1), clock=now, actor="dr-1").left == []
    assert everything_in(there) == {}
    assert list(there.old_versions()) == []
    assert naming(open_objects(_snapshots()), patient(0))

    # where somebody else has published since, theirs stays, and it is said
    for url in (first, moved):
        monkeypatch.setenv("FLARECAST_SNAPSHOT_URL", url)
        run(clinic, *NIGHTS, clock=now)
    seen = there.read("CURRENT")
    assert seen is not None
    there.swap("CURRENT", b'{"snapshot": "20991231T000000.000000Z", "id": "x"}', seen.tag)
    theirs = everything_in(there)

    # a store that does not say which versions it keeps is one more place outside
    def denied(self: Versions) -> Any:
        raise StoreUnreachableError("object storage: versions: HTTP Error 403: Forbidden")

    monkeypatch.setattr(Versions, "old", denied)
    assert erase_command.run_erase(clinic.home, patient(2), as_json=False) == 0
    said = capsys.readouterr().out
    assert "old versions of objects below s3://" in said
    assert f"{first}, where snapshots were published before: somebody else publishes there now" in said
    monkeypatch.undo()
    assert everything_in(there) == theirs


def test_a_restored_clinic_is_the_one_backed_up(
    clinic: Clinic, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    target = tmp_path / "backups"
    assert main(["backup", "--to", str(target), "--home", str(clinic.home)]) == 0
    assert "NOT in it: the lake" in capsys.readouterr().out
    (folder,) = target.iterdir()
    assert not list(folder.rglob("lake/**/*.parquet"))
    wanted = state(clinic)
    # life goes on: a late day arrives, alerts are told, the lake is compacted
    land(clinic, observations(1, DAYS - 1, scale=0.2), ARRIVED + 5)
    run(clinic, LAST, LAST, clock=now)
    compact_lake(clinic, keep_us=DAY, clock=lambda: now() + 9 * DAY)

    with pytest.raises(JournalError, match="not empty"):
        restore(folder, tmp_path / "taken", clock=now)
    monkeypatch.setenv("FLARECAST_ALERT_STORE", new_database(postgres))
    home = tmp_path / "restored"
    restore(folder, home, clock=now)
    restored = Clinic(home, None, 8)
    assert state(restored) == wanted
    assert not restored.journal_path.exists()
    rows = query.run(restored.current, "select count(*) n from patient_day").to_pylist()
    assert rows[0]["n"] == len(wanted["patient_day"])
    assert backup.check(folder) == [], "a restore changes nothing in the backup"
    # the lake has gone on, and the next night catches up with it
    again = run(restored, *NIGHTS, clock=now)
    assert again.problems == []
    assert again.feature_days > 0
    assert shown(restored) == shown(clinic)

    # a bucket that lost what it had then
    lake = clinic.lake
    assert isinstance(lake, RemoteLake)
    lake.objects.delete([next(iter(lake.manifest("step_count").parts))])
    monkeypatch.setenv("FLARECAST_ALERT_STORE", new_database(postgres))
    with pytest.raises(UserError, match="is older than the backup: 1 files are not there"):
        restore(folder, tmp_path / "third", clock=now)
    assert not (tmp_path / "third").exists()
    monkeypatch.delenv("FLARECAST_LAKE_URL")
    with pytest.raises(UserError, match="its lake is at s3://"):
        restore(folder, tmp_path / "third", clock=now)


def test_what_is_old_goes_from_the_buckets_too(clinic: Clinic) -> None:
    lake, there = open_objects(place_of(clinic.lake_place)), open_objects(_snapshots())
    first = clinic.current.resolve().stem
    land(clinic, observations(1, DAYS - 1, scale=0.2), ARRIVED + 5)
    run(clinic, LAST, LAST, clock=lambda: now() + DAY)
    second = clinic.current.resolve().stem
    assert {key for key, _ in there.keys("snapshots/")} == {f"snapshots/{n}.json" for n in (first, second)}
    files = {key for key, _ in there.keys("derived/")}
    (clinic.home / "retention.toml").write_text("raw = 3\nquarantine = 300\nsnapshots = 30\n")
    kept = retain(clinic, clock=lambda: now() + 20 * DAY)
    assert kept.deleted == {"raw": 2}
    assert [key for key, _ in lake.keys("raw/")] == []
    assert len(list(lake.keys("quarantine/"))) == 2
    kept = retain(clinic, clock=lambda: now() + 40 * DAY)
    assert (kept.deleted["snapshots"], kept.deleted["shared snapshots"]) == (1, 1)
    assert [key for key, _ in there.keys("snapshots/")] == [f"snapshots/{second}.json"]
    assert {key for key, _ in there.keys("derived/")} < files, "files that nothing names go with it"
    ask = "select count(*) n, max(steps) m from patient_day"
    assert shared_snapshot.run(_snapshots(), ask).to_pylist() == query.run(clinic.current, ask).to_pylist()
    assert json.loads((there.read("CURRENT") or pytest.fail("no pointer")).content)["snapshot"] == second
    shutil.rmtree(clinic.home / "lake" / "quarantine")
    (clinic.home / "retention.toml").write_text("quarantine = 10\n")
    assert retain(clinic, clock=lambda: now() + 40 * DAY).deleted["quarantine"] == 2, "without copies here"


def _snapshots() -> Any:
    from flows import settings

    return settings.snapshot_place()
