"""`flarecast lake`: one command each, on a clinic's folder."""

import shutil
from datetime import date

import pyarrow.parquet as pq
import pytest

from analytics.store import query
from analytics.store.snapshots import expire, kept
from devices.clock import DAY, HOUR, MINUTE, SECOND
from flows.cli import main
from flows.clinic import Clinic
from flows.lake.command import compact_lake
from flows.night import nightly
from ingest.lake.columns import Arrived, to_table
from ingest.lake.compaction import compact
from ingest.lake.enrolment import read_enrolment
from ingest.lake.intake import Intake, Received
from ingest.lake.manifest import manifest_path, read_manifest
from ingest.wire.messages import encode_batch, encode_observation
from tests.fixtures_ingest import ENROLMENT_HEADER, T0, hourly, one_of_each, steps

RING = "p-1,north,Europe/Berlin,gw-1,ring-1,2020-01-01T00:00Z,\n"
STRAP = "p-1,north,Europe/Berlin,gw-1,strap-1,2020-01-01T00:00Z,\n"


@pytest.fixture
def clinic(tmp_path):
    clinic = Clinic(tmp_path)
    clinic.enrolment_path.write_text(ENROLMENT_HEADER + RING + STRAP)
    land(clinic, one_of_each())
    return clinic


def land(clinic, observations, *, now=T0):
    for one in observations:
        table = to_table(one.kind, [Arrived(one, "gw-1", 1)], now)
        clinic.lake.commit({one.kind: table}, writer="collector-1", now=now)


def derived(clinic):
    return {
        path.relative_to(clinic.derived.root): pq.read_table(path).to_pylist()
        for path in sorted(clinic.derived.root.rglob("*.parquet"))
    }


def test_a_night_is_the_same_before_and_after_compaction(clinic, capsys):
    land(clinic, [hourly(hour) for hour in range(30)])
    land(clinic, [steps(T0 + n * 30 * MINUTE, list(range(30))) for n in range(-20, 60)])
    land(clinic, [hourly(2)], now=T0 + SECOND)
    nights = date(2026, 9, 21), date(2026, 9, 23)
    first = nightly.run(clinic, *nights, clock=lambda: T0 + DAY)
    before = derived(clinic)
    assert first.written > 3
    published = query.run(clinic.current, "select * from observations_step_count order by all").to_pylist()
    assert main(["lake", "compact", "--home", str(clinic.home)]) == 0
    assert "step_count" in capsys.readouterr().out
    assert not [path for path in clinic.lake.files("rr_interval") if "landing" in path.parts]
    again = nightly.run(clinic, *nights, clock=lambda: T0 + DAY + HOUR)
    assert again.written == 1, "the snapshot, of files with other names, and nothing else"
    assert derived(clinic) == before
    third = nightly.run(clinic, *nights, clock=lambda: T0 + DAY + HOUR)
    assert (third.feature_days, third.score_days, third.written) == (0, 0, 0)
    # the snapshot of the night after the compaction names the new files
    for path in (clinic.home / "lake" / "landing").rglob("*.parquet"):
        path.unlink()
    rows = query.run(clinic.current, "select * from observations_step_count order by all").to_pylist()
    assert rows == published


def test_replaced_files_stay_until_no_snapshot_names_them(clinic):
    question = "select * from observations_step_count order by all"
    night, landed = date(2026, 9, 21), set(clinic.lake.files("step_count"))
    nightly.run(clinic, night, night, clock=lambda: T0 + DAY)
    first = clinic.current.resolve()
    rows = query.run(first, question).to_pylist()
    compact_lake(clinic, keep_us=DAY, clock=lambda: T0 + DAY)
    assert clinic.current.resolve() == first, "a night that was killed half-way must not be shown"
    # of age, but the current snapshot names them
    compact_lake(clinic, keep_us=DAY, clock=lambda: T0 + 5 * DAY)
    assert all(path.exists() for path in landed)
    assert query.run(first, question).to_pylist() == rows
    # as retention does: in no manifest any more, but still named
    named = next(path for path in clinic.lake.root.glob("data/step_count/*/*/*.parquet"))
    stray = named.with_name("part-stray.parquet")
    shutil.copy(named, stray)
    compact(clinic.lake, clinic.enrolment(), clock=lambda: T0 + 5 * DAY, held={stray.resolve()})
    assert stray.exists()
    compact(clinic.lake, clinic.enrolment(), clock=lambda: T0 + 5 * DAY)
    assert not stray.exists()
    nightly.run(clinic, night, night, clock=lambda: T0 + 5 * DAY)
    assert clinic.current.resolve() != first
    # the first one was handed out until half a day ago: it stays, and so do its files
    compact_lake(clinic, keep_us=DAY, clock=lambda: T0 + 5 * DAY + 12 * HOUR)
    assert query.run(first, question).to_pylist() == rows
    compact_lake(clinic, keep_us=DAY, clock=lambda: T0 + 7 * DAY)
    assert kept(clinic.published) == [clinic.current.resolve().stem]
    assert not any(path.exists() for path in landed)
    assert not first.exists()
    assert query.run(clinic.current, question).to_pylist() == rows


def test_what_a_killed_publisher_left_goes_with_age(clinic):
    night = date(2026, 9, 21)
    nightly.run(clinic, night, night, clock=lambda: T0 + DAY)
    name = clinic.current.resolve().stem
    root = clinic.published
    (root / "snapshots" / f".{name}.tmp").mkdir()
    (root / "catalogs" / f".{name}.duckdb.tmp").write_bytes(b"?")
    (root / f".current.duckdb.{name}").symlink_to("catalogs/none.duckdb")
    assert expire(root, T0 + DAY) == 0
    assert len(list(root.rglob(".*"))) == 3
    assert expire(root, T0 + 2 * DAY) == 0
    assert list(root.rglob(".*")) == []
    assert clinic.current.resolve().exists()


def test_verify_says_what_is_wrong_and_ends_with_one(clinic, capsys):
    home = str(clinic.home)
    assert main(["lake", "compact", "--home", home]) == 0
    assert main(["lake", "verify", "--home", home]) == 0
    root = clinic.lake.root
    parts = {kind: clinic.lake.files(kind)[0] for kind in ("battery", "wear", "step_count")}
    parts["battery"].unlink()
    block = bytearray(parts["wear"].read_bytes())
    block[10] ^= 1
    parts["wear"].write_bytes(block)
    path = manifest_path(root, "step_count")
    path.write_text(path.read_text().replace('"rows": 3', '"rows": 4'))
    stray = parts["step_count"].with_name("part-stray.parquet")
    stray.write_bytes(b"?")
    broken = root / "landing" / "battery" / "dt=2026-09-21" / "9-9-9.parquet"
    broken.write_bytes(b"?")
    manifest_path(root, "heart_rate").write_text("{")
    torn = root / "raw" / "dt=2026-09-21" / "9-9-8.parquet"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"PAR1")
    capsys.readouterr()
    assert main(["lake", "verify", "--home", home]) == 1
    said = capsys.readouterr().out
    for line in (
        f"{parts['battery']}: missing",
        f"{parts['wear']}: content is not what was written",
        f"{parts['step_count']}: 3 rows, the manifest says 4",
        f"{stray}: in no manifest",
        f"{broken}: cannot be read as Parquet",
        f"{torn}: cannot be read as Parquet",
        "heart_rate/manifest.json: not a manifest",
    ):
        assert line in said
    assert len(said.splitlines()) == 7


def refuse(clinic, observations, *, gateway="gw-1", now=T0, arrived=T0 + DAY):
    kind = observations[0].kind
    payload = encode_batch(7, T0, kind, [encode_observation(one) for one in observations])
    intake = Intake(read_enrolment(clinic.enrolment_path))
    flush = intake.sort([Received(f"flarecast/v1/north/{gateway}/{kind}", payload, None, arrived)])
    clinic.lake.commit(flush.tables(now), writer="collector-1", now=now)


def test_release_stores_what_is_enrolled_now_and_keeps_the_rest(clinic, capsys):
    home = str(clinic.home)
    refuse(clinic, [steps(T0, [1, 2], device="ring-7"), steps(T0, [3], device="ring-8")], now=T0 - HOUR)
    refuse(clinic, [steps(T0, [4], device="ring-7")], gateway="gw-2")
    assert clinic.lake.quarantined() == {"device is not enrolled at that time": 4}
    before = len(clinic.lake.files("step_count"))
    assert main(["lake", "release", "--home", home]) == 0
    assert "0 samples" in capsys.readouterr().out
    clinic.enrolment_path.write_text(ENROLMENT_HEADER + RING.replace("ring-1", "ring-7"))
    assert main(["lake", "release", "--home", home]) == 0
    assert "2 samples released" in capsys.readouterr().out
    assert clinic.lake.quarantined() == {"device is not enrolled at that time": 2}
    assert len(clinic.lake.files("step_count")) == before + 1
    rows = [row for path in clinic.lake.files("step_count") for row in pq.read_table(path).to_pylist()]
    mine = [row for row in rows if row["device"] == "ring-7"]
    assert [(row["steps"], row["sequence"], row["gateway"]) for row in mine] == [
        (1, 7, "gw-1"),
        (2, 7, "gw-1"),
    ]
    assert {int(row["received_utc"].timestamp()) for row in mine} == {(T0 - HOUR) // SECOND}
    assert main(["lake", "release", "--home", home]) == 0
    assert "0 samples" in capsys.readouterr().out


def test_no_lake_is_said(tmp_path, capsys):
    assert main(["lake", "verify", "--home", str(tmp_path)]) == 2
    assert "no lake at" in capsys.readouterr().err


def test_files_are_never_deleted_under_a_reader(clinic, capsys):
    assert main(["lake", "compact", "--keep-days", "0", "--home", str(clinic.home)]) == 2
    assert "--keep-days 0" in capsys.readouterr().err


def test_reopened_days_are_said(clinic, capsys):
    home = str(clinic.home)
    main(["lake", "compact", "--home", home])
    land(clinic, [steps(T0 + HOUR, [3])])
    capsys.readouterr()
    main(["lake", "compact", "--home", home])
    assert "reopened 2026-09-21 of north" in capsys.readouterr().out
    assert read_manifest(clinic.lake.root, "step_count").reopened()
