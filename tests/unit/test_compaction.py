"""Compaction: same answers from fewer files, whatever arrives late, twice or while it is killed."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.store import warehouse
from devices.blobs import pack_u16
from devices.clock import DAY, HOUR, MINUTE
from devices.observations import KINDS, StepCount
from devices.tables import TABLES
from ingest.errors import LakeError
from ingest.lake import compaction
from ingest.lake.columns import Arrived, read_rows, to_table
from ingest.lake.compaction import compact, orphan_parts
from ingest.lake.enrolment import read_enrolment
from ingest.lake.files import Lake
from ingest.lake.manifest import manifest_path, read_manifest
from tests.fixtures_ingest import ENROLMENT_HEADER, T0, beats, one_of_each, steps

ROWS = (
    "p-1,north,Europe/Berlin,gw-1,ring-1,2020-01-01T00:00Z,2026-09-22T00:00Z\n"
    "p-2,south,Europe/Berlin,gw-1,ring-1,2026-09-22T00:00Z,\n"
    "p-1,north,Europe/Berlin,gw-1,strap-1,2020-01-01T00:00Z,\n"
)


@pytest.fixture
def enrolment(tmp_path):
    (tmp_path / "e.csv").write_text(ENROLMENT_HEADER + ROWS)
    return read_enrolment(tmp_path / "e.csv")


def land(lake, observations, *, now=T0, sequence=1, gateway="gw-1"):
    for one in observations:
        table = to_table(one.kind, [Arrived(one, gateway, sequence)], now)
        lake.commit({one.kind: table}, writer="collector-1", now=now)


def clock():
    return T0 + DAY


def answers(lake, enrolment):
    """Every observation view as the analytics sees it."""
    with warehouse.connect({kind: lake.files(kind) for kind in KINDS}, enrolment.table) as con:
        return {kind: sorted(con.sql(f"from observations_{kind}").fetchall(), key=repr) for kind in KINDS}


def test_the_views_say_the_same_from_one_file_per_site_and_day(tmp_path, enrolment):
    lake = Lake(tmp_path)
    land(lake, one_of_each())
    land(lake, [steps(T0 + n * HOUR, [n, n + 1]) for n in range(30)], sequence=2)
    land(lake, one_of_each(), now=T0 + 5, sequence=3)
    before = answers(lake, enrolment)
    done = {one.kind: one for one in compact(lake, enrolment, clock=clock)}
    assert answers(lake, enrolment) == before
    assert {path.parent.relative_to(tmp_path).as_posix() for path in lake.files("step_count")} == {
        "data/step_count/site=north/date=2026-09-21",
        "data/step_count/site=south/date=2026-09-22",
    }
    assert (done["step_count"].landing_files, done["rr_interval"].duplicates) == (32, 1)
    for kind in KINDS:
        for path in lake.files(kind):
            assert pq.read_schema(path).equals(TABLES[kind], check_metadata=True)


def test_rows_lie_by_gateway_and_time_in_row_groups(tmp_path, enrolment, monkeypatch):
    monkeypatch.setattr(compaction, "BLOCK_ROWS", 4)
    lake = Lake(tmp_path)
    for gateway in ("gw-2", "gw-1"):
        for n in (4, 1, 3, 0, 2):
            land(lake, [beats(n, [800], start_utc=T0 + n * MINUTE, device=f"s-{gateway}")], gateway=gateway)
    compact(lake, enrolment, clock=clock)
    (path,) = lake.files("rr_interval")
    rows = pq.read_table(path).to_pylist()
    order = [(row["gateway"], row["start_utc"]) for row in rows]
    assert order == sorted(order)
    assert pq.read_metadata(path).num_row_groups == 3


def test_the_copy_received_last_is_kept(tmp_path, enrolment):
    lake = Lake(tmp_path)
    land(lake, [steps(T0, [7])], now=T0 + 2)
    land(lake, [steps(T0, [5])], now=T0 + 1, sequence=9)
    compact(lake, enrolment, clock=clock)
    land(lake, [steps(T0, [6])], now=T0 + 1, sequence=10)
    compact(lake, enrolment, clock=clock)
    (path,) = lake.files("step_count")
    assert pq.read_table(path)["steps"].to_pylist() == [7]
    land(lake, [steps(T0, [9])], now=T0 + 3)
    compact(lake, enrolment, clock=clock)
    assert [read_rows(path, "step_count")["steps"].to_pylist() for path in lake.files("step_count")] == [[9]]


@pytest.mark.parametrize("is_total_later", [True, False])
def test_a_days_total_and_its_first_minute_are_two_samples(tmp_path, enrolment, is_total_later):
    lake = Lake(tmp_path)

    def come(total, minute, now):
        for number, one in enumerate(
            [steps(T0, [minute]), over(86_400, total)][:: 1 if is_total_later else -1]
        ):
            land(lake, [one], now=now + number)
            compact(lake, enrolment, clock=clock)

    def over(period_s, count):
        whole = {"device": "ring-1", "start_utc": T0, "source": "colmi/1"}
        return StepCount(**whole, period_s=period_s, counts=pack_u16([count]))

    def stored():
        (path,) = lake.files("step_count")
        return sorted(pq.read_table(path)["steps"].to_pylist())

    come(9000, 7, T0 + 1)
    assert stored() == [7, 9000]
    with warehouse.connect({"step_count": lake.files("step_count")}, enrolment.table) as con:
        assert con.sql("select sum(steps) from observations_step_count").fetchall() == [(9007,)]
    # each of them is replaced by its own later copy
    come(9100, 8, T0 + 3)
    assert stored() == [8, 9100]
    # a total of the day so far, told again, is one that grew
    land(lake, [over(40_000, 9200)], now=T0 + 5)
    compact(lake, enrolment, clock=clock)
    assert stored() == [8, 9200]


def test_a_second_run_writes_nothing(tmp_path, enrolment):
    lake = Lake(tmp_path)
    land(lake, one_of_each())
    compact(lake, enrolment, clock=clock)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != "lake.lock"}
    assert all(one.parts_written == one.landing_files == 0 for one in compact(lake, enrolment, clock=clock))
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != "lake.lock"}
    assert {p: t for p, t in after.items() if p.is_file()} == {p: t for p, t in before.items() if p.is_file()}


def test_late_rows_reopen_their_day_and_no_other(tmp_path, enrolment):
    lake = Lake(tmp_path)
    land(lake, [steps(T0 - DAY, [1]), steps(T0, [2])])
    compact(lake, enrolment, clock=clock)
    kept = {p.parent.name: p for p in lake.files("step_count")}
    land(lake, [steps(T0, [2])])
    done = {one.kind: one for one in compact(lake, enrolment, clock=clock)}["step_count"]
    assert (done.duplicates, done.parts_written, done.reopened) == (1, 0, [])
    land(lake, [steps(T0 + HOUR, [3])], now=T0 + DAY)
    done = {one.kind: one for one in compact(lake, enrolment, clock=clock)}["step_count"]
    assert done.reopened == [("north", "2026-09-21")]
    assert kept["date=2026-09-20"] in lake.files("step_count")
    assert (
        kept["date=2026-09-21"].relative_to(tmp_path).as_posix()
        in read_manifest(tmp_path, "step_count").retired
    )
    assert [part.date for part in read_manifest(tmp_path, "step_count").reopened()] == ["2026-09-21"]


def test_a_reader_sees_old_or_new_until_the_old_are_deleted(tmp_path, enrolment):
    lake = Lake(tmp_path)
    land(lake, [steps(T0, [1])])
    held = lake.files("step_count")
    compact(lake, enrolment, clock=clock)
    assert not set(held) & set(lake.files("step_count"))
    assert all(path.exists() for path in held)
    compact(lake, enrolment, clock=lambda: clock() + compaction.KEEP_US - 1)
    assert all(path.exists() for path in held)
    done = compact(lake, enrolment, clock=lambda: clock() + compaction.KEEP_US)
    assert sum(one.files_deleted for one in done) == 1
    assert not any(path.exists() for path in held)
    assert read_manifest(tmp_path, "step_count").retired == {}


def test_memory_is_bounded_by_batches_without_changing_the_answer(tmp_path, enrolment):
    lake = Lake(tmp_path)
    land(lake, [steps(T0 + n * HOUR, [n]) for n in range(12)])
    before = answers(lake, enrolment)
    done = {one.kind: one for one in compact(lake, enrolment, clock=clock, batch_bytes=1)}["step_count"]
    assert (done.landing_files, answers(lake, enrolment)) == (12, before)
    assert len(lake.files("step_count")) == 2
    assert read_manifest(tmp_path, "step_count").generation == 12


def test_samples_of_nobody_are_kept(tmp_path, enrolment):
    lake = Lake(tmp_path)
    land(lake, [steps(T0, [1], device="ring-9")])
    compact(lake, enrolment, clock=clock)
    (path,) = lake.files("step_count")
    assert "site=_none" in path.parts


def test_two_compactions_do_not_meet(tmp_path, enrolment):
    lake = Lake(tmp_path)
    with lake.alone("something"), pytest.raises(LakeError, match="another process is busy"):
        compact(lake, enrolment, clock=clock)


copies = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 2),
        st.integers(0, 2),
        st.sampled_from(["gw-1", "gw-2"]),
        st.integers(1, 9),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=15)
@given(copies=copies, cut=st.integers(0, 12))
def test_any_copies_in_any_order_answer_alike(tmp_path_factory, copies, cut):
    folder: Path = tmp_path_factory.mktemp("lake")
    (folder / "e.csv").write_text(ENROLMENT_HEADER + ROWS)
    enrolment, lake = read_enrolment(folder / "e.csv"), Lake(folder)
    for number, (slot, received, sequence, gateway, value) in enumerate(copies):
        if number == cut:
            compact(lake, enrolment, clock=clock, kinds=["rr_interval"])
        # equal in every column that decides means equal altogether
        rr_ms = [700 + value] * value if gateway == "gw-1" else [600 + value] * value
        one = beats(0, rr_ms, start_utc=T0 + slot * HOUR)
        land(lake, [one], now=T0 + received, sequence=1 + sequence, gateway=gateway)
    before = answers(lake, enrolment)
    compact(lake, enrolment, clock=clock, kinds=["rr_interval"])
    assert answers(lake, enrolment) == before


#: Kills itself at a step: before it opens a file to write it, before it shows one under its name.
KILLED = """
import os, signal, sys
from pathlib import Path
from ingest.lake.compaction import compact
from ingest.lake.enrolment import read_enrolment
from ingest.lake.files import Lake
root, last, steps = Path(sys.argv[1]), int(sys.argv[2]), []
def at_the_last(event, values):
    if event == "os.rename" or (event == "open" and set(str(values[1])) & set("wxa")):
        steps.append(event)
        if len(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)
enrolment = read_enrolment(root / "e.csv")
sys.addaudithook(at_the_last)
compact(Lake(root), enrolment, clock=lambda: %d, batch_bytes=1)
"""


def test_killed_at_any_moment_nothing_is_lost_or_doubled(tmp_path, enrolment):
    lake = Lake(tmp_path)
    land(lake, [steps(T0 + n * 3 * HOUR, [n, 1]) for n in range(40)])
    land(lake, one_of_each(), now=T0 + 1)
    before = answers(lake, enrolment)
    for last in (1, 2, 3, 4, 5, 6, 15, 28):
        command = [sys.executable, "-c", KILLED % clock(), str(tmp_path), str(last)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert answers(lake, enrolment) == before
        stored = sum(pq.read_metadata(path).num_rows for path in lake.files("step_count"))
        assert stored == 83
    compact(lake, enrolment, clock=clock)
    assert answers(lake, enrolment) == before
    assert not orphan_parts(lake, read_manifest(tmp_path, "step_count"))
    assert not list((tmp_path / "staging").rglob("*.parquet"))


def test_a_crash_before_the_manifest_leaves_the_old_files_visible(tmp_path, enrolment, monkeypatch):
    lake = Lake(tmp_path)
    land(lake, [steps(T0, [1])])
    before = lake.files("step_count")
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "publish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compact(lake, enrolment, clock=clock)
    assert lake.files("step_count") == before
    manifest = read_manifest(tmp_path, "step_count")
    (orphan,) = orphan_parts(lake, manifest)
    compact(lake, enrolment, clock=lambda: clock() + 5)
    assert lake.files("step_count") == [orphan]


def older_file(path, version, *, without=(), more=(), kind="battery"):
    schema = pa.schema([f for f in TABLES[kind] if f.name not in without])
    row = {"device": "ring-1", "start_utc": T0, "gateway": "gw-1", "sequence": 1, "received_utc": T0}
    row |= {"source": "x/1", "level_pct": 5}
    metadata = {"flarecast.kind": kind, "flarecast.schema_version": str(version)}
    table = pa.Table.from_pylist([row], schema=schema).replace_schema_metadata(metadata)
    for name in more:
        table = table.append_column(name, pa.array([True]))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def test_a_file_that_cannot_be_used_is_named_and_stays_and_stops_no_other(tmp_path, enrolment):
    """One of a later schema, and one that is damaged: all else is compacted, theirs when they are mended."""
    lake = Lake(tmp_path)
    land(lake, one_of_each())
    landed = sum(len(lake.files(kind)) for kind in KINDS)
    later = older_file(tmp_path / "landing/battery/dt=2026-09-21/1-1-1.parquet", 99)
    (damaged,) = (tmp_path / "landing/wear").rglob("*.parquet")
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:50])
    done = {one.kind: one for one in compact(lake, enrolment, clock=clock)}
    (of_battery,), (of_wear,) = (done[kind].unreadable for kind in ("battery", "wear"))
    assert re.search(
        r"1-1-1\.parquet: .* schema version 99, this flarecast knows up to .*: update", of_battery
    )
    assert f"{damaged}: cannot be read" in of_wear
    assert sum(one.landing_files for one in done.values()) == landed - 1
    assert later.exists()
    assert lake.landed("wear", lake.manifest("wear")) == [damaged]
    damaged.write_bytes(whole)
    (again,) = (one for one in compact(lake, enrolment, clock=clock) if one.kind == "wear")
    assert (again.landing_files, again.unreadable) == (1, [])


def test_a_compacted_file_of_a_later_schema_is_refused_too(tmp_path, enrolment):
    lake = Lake(tmp_path)
    land(lake, [one_of_each()[5]])
    compact(lake, enrolment, clock=clock)
    path = manifest_path(tmp_path, "battery")
    path.write_text(path.read_text().replace('"schema_version": ', '"schema_version": 9'))
    with pytest.raises(LakeError, match="update flarecast"):
        lake.files("battery")


def test_an_older_file_is_filled_up_and_a_poorer_one_refused(tmp_path, monkeypatch):
    younger = pa.schema([*TABLES["battery"], pa.field("is_charging", pa.bool_())])
    path = older_file(tmp_path / "old.parquet", 1)
    monkeypatch.setitem(TABLES, "battery", younger)
    rows = read_rows(path, "battery")
    assert rows.schema.names[-1] == "is_charging"
    assert rows["is_charging"].to_pylist() == [None]
    poorer = older_file(tmp_path / "poor.parquet", 1, without=["level_pct"])
    with pytest.raises(LakeError, match="lacks the column level_pct"):
        read_rows(poorer, "battery")
    with pytest.raises(LakeError, match="holds battery, not wear"):
        read_rows(path, "wear")
    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    with pytest.raises(LakeError, match=r"no\.parquet: cannot be read as Parquet"):
        read_rows(tmp_path / "no.parquet", "wear")
