"""The warehouse over awkward files, and snapshots that are there whole or not at all."""

import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analytics.errors import QueryError, WarehouseError
from analytics.risk import scores
from analytics.store import publish, query, snapshots, warehouse
from analytics.tables import TABLES
from devices.tables import TABLES as KINDS
from tests.fixtures_analytics import enrolment, minutes, patient_days, utc, write
from tests.unit.test_risk import FIRST

CLOCK = iter(range(1_800_000_000_000_000, 1_900_000_000_000_000, 1_000_000)).__next__


def derived():
    rows = patient_days(FIRST, {"steps": [5000.0, None, 4000.0]})
    empty = {name: schema.empty_table() for name, schema in TABLES.items()}
    return empty | {"patient_day": rows} | scores.compute(rows, FIRST, FIRST)


def test_kinds_without_files_are_empty_and_typed():
    with warehouse.connect({}, enrolment({})) as con:
        for kind, schema in KINDS.items():
            rows = con.sql(
                f"select * exclude (patient, site, zone) from observations_{kind}"
            ).to_arrow_table()
            assert rows.num_rows == 0
            assert [(f.name, f.type) for f in rows.schema if not pa.types.is_list(f.type)] == [
                (f.name, f.type) for f in schema if not pa.types.is_list(f.type)
            ]


def test_the_session_is_in_utc():
    with warehouse.connect({}, enrolment({})) as con:
        assert con.execute("select current_setting('TimeZone')").fetchone() == ("UTC",)


def test_a_sample_outside_every_enrolment_is_nobodys(tmp_path):
    files = {"battery": write(tmp_path, "battery", [{"start_utc": utc("2026-05-20T08:00"), "level_pct": 50}])}
    for bounds, count in [
        ({}, 1),
        ({"valid_from_utc": utc("2026-05-20T08:00")}, 1),
        ({"valid_from_utc": utc("2026-05-20T08:01")}, 0),
        ({"valid_to_utc": utc("2026-05-20T08:00")}, 0),
        ({"device": "band-2"}, 0),
    ]:
        with warehouse.connect(files, enrolment(bounds)) as con:
            assert con.execute("select count(*) from observations_battery").fetchone() == (count,)


def test_older_files_lack_a_younger_column(tmp_path):
    (path,) = write(
        tmp_path,
        "flare_report",
        [{"report_id": "r", "respondent": "patient", "start_utc": utc("2026-05-20T08:00")}],
    )
    pq.write_table(pq.read_table(path).drop_columns(["has_stopped_activities"]), path)
    with warehouse.connect({"flare_report": [path]}, enrolment({})) as con:
        found = con.execute(
            "select report_id, has_stopped_activities from observations_flare_report"
        ).fetchall()
    assert found == [("r", None)]


def test_files_of_another_kind_are_one_clear_error(tmp_path):
    files = {
        "heart_rate": write(tmp_path, "battery", [{"start_utc": utc("2026-05-20T08:00"), "level_pct": 50}])
    }
    with pytest.raises(WarehouseError, match="heart_rate: lake files lack the column end_utc, bpm"):
        warehouse.connect(files, enrolment({}))
    with pytest.raises(WarehouseError, match="cannot read the lake"):
        warehouse.connect({"battery": [tmp_path / "gone.parquet"]}, enrolment({}))


def test_every_column_of_a_snapshot_says_what_it_is(tmp_path):
    alerts = pa.table(
        {"alert": ["a"]}, schema=pa.schema([pa.field("alert", pa.string(), metadata={"doc": "id"})])
    )
    current = publish.publish(
        tmp_path, derived() | {"alerts": alerts}, {}, clock=CLOCK, enrolment=enrolment({})
    )
    bare = query.run(
        current, "select table_name, column_name from duckdb_columns() where comment is null and not internal"
    )
    assert bare.to_pylist() == []
    units = query.run(
        current,
        "select comment from duckdb_columns() where table_name = 'coverage' and column_name = 'wear_min'",
    )
    assert units.to_pylist() == [{"comment": "minutes worn [min]"}]
    names = query.run(current, "select distinct table_name from duckdb_columns() where not internal")
    assert set(names["table_name"].to_pylist()) == {
        *TABLES,
        "alerts",
        "coverage",
        "pro_scores",
        "rhythm_weekly",
        "enrolment",
        "snapshot",
        *(f"observations_{kind}" for kind in KINDS),
    }


def test_parquet_and_catalog_hold_the_same_rows(tmp_path):
    tables = derived()
    current = publish.publish(tmp_path, tables, {}, clock=CLOCK)
    folder = tmp_path / "snapshots" / current.resolve().stem
    for name, rows in tables.items():
        assert pq.read_table(folder / f"{name}.parquet").equals(rows)
        assert query.run(current, f"select count(*) n from {name}").to_pylist() == [{"n": rows.num_rows}]


def test_observations_come_with_the_patient_and_once(tmp_path):
    rows = minutes(utc("2026-05-20T08:00"), [1] * 60, "steps")
    files = write(tmp_path, "step_count", rows, name="a") + write(tmp_path, "step_count", rows, name="b")
    current = publish.publish(
        tmp_path / "pub", derived(), {"step_count": files}, clock=CLOCK, enrolment=enrolment({})
    )
    found = query.run(current, "select patient, sum(steps) s from observations_step_count group by patient")
    assert found.to_pylist() == [{"patient": "p-1", "s": 60}]
    # a folder that was moved as a whole still answers
    (tmp_path / "pub").rename(tmp_path / "moved")
    assert query.run(tmp_path / "moved" / "current.duckdb", "select 1 one").num_rows == 1


def test_a_reader_keeps_its_snapshot_and_a_failed_one_changes_nothing(tmp_path, monkeypatch):
    first = publish.publish(tmp_path, derived(), {}, clock=CLOCK).resolve()
    monkeypatch.setattr(publish, "_write_catalog", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        publish.publish(tmp_path, derived(), {}, clock=CLOCK)
    monkeypatch.undo()
    assert (tmp_path / "current.duckdb").resolve() == first
    second = publish.publish(tmp_path, derived(), {}, clock=CLOCK).resolve()
    assert first != second
    assert query.run(first, "select 1 one").num_rows == 1


def test_the_link_is_never_missing(tmp_path):
    current = publish.publish(tmp_path, {}, {}, clock=CLOCK)
    is_done, missing = threading.Event(), []

    def watch():
        while not is_done.is_set():
            try:
                os.readlink(current)
            except FileNotFoundError:
                missing.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(10):
        publish.publish(tmp_path, {}, {}, clock=CLOCK)
    is_done.set()
    watcher.join()
    assert not missing


def test_two_snapshots_of_one_instant(tmp_path):
    names = {
        publish.publish(tmp_path, derived(), {}, clock=lambda: 1_800_000_000_000_000).resolve()
        for _ in range(3)
    }
    assert len(names) == 3


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("selec 1", "syntax error"),
        ("select nosuch from patient_day", "nosuch"),
        ("drop table patient_day", "read-only"),
        ("", "not a query"),
    ],
)
def test_a_mistake_in_sql_is_one_clear_line(tmp_path, sql, message):
    current = publish.publish(tmp_path, derived(), {}, clock=CLOCK)
    with pytest.raises(QueryError, match=message) as caught:
        query.run(current, sql)
    assert "\n" not in str(caught.value)


def test_nothing_published_yet(tmp_path):
    with pytest.raises(QueryError, match="nothing published yet"):
        query.run(Path(tmp_path / "current.duckdb"), "select 1")


def test_names_sort_as_snapshots_were_made_whatever_the_clock_says(tmp_path):
    """A clock that stands, then one that was put back: after each the new one alone is kept."""
    made = []
    for at in (CLOCK(), CLOCK(), CLOCK(), CLOCK() - 1_000_000):
        made.append(publish.publish(tmp_path, derived(), {}, clock=lambda at=at: at).resolve().stem)
        snapshots.expire(tmp_path, snapshots.FOREVER)
        assert snapshots.kept(tmp_path) == made[-1:]
    assert made == sorted(set(made))


def test_a_spoilt_manifest_keeps_nobody_from_publishing(tmp_path):
    name = publish.publish(tmp_path, derived(), {}, clock=CLOCK, made_of="a").resolve().stem
    assert publish.made_of(tmp_path) == "a"
    (tmp_path / "snapshots" / name / publish.MANIFEST).write_text("")
    assert publish.made_of(tmp_path) is None
    assert publish.files_of(tmp_path, name) == set()


@pytest.mark.parametrize("step", range(1, 9))
def test_one_that_was_killed_keeps_no_later_one_of_the_same_name_from_being_published(
    tmp_path, monkeypatch, step
):
    publish.publish(tmp_path, derived(), {}, clock=CLOCK)
    # a clock that was put back: the name follows the newest snapshot's, and is the same again
    before, done = (lambda: 1), []

    def killed(function):
        def step_or_killed(*arguments):
            done.append(function)
            if len(done) == step:
                raise KeyboardInterrupt
            return function(*arguments)

        return step_or_killed

    with monkeypatch.context() as patched:
        patched.setattr(publish, "sync_folder", killed(publish.sync_folder))
        patched.setattr(Path, "replace", killed(Path.replace))
        patched.setattr(Path, "rename", killed(Path.rename))
        with pytest.raises(KeyboardInterrupt):
            publish.publish(tmp_path, derived(), {}, clock=before)
    current = publish.publish(tmp_path, derived(), {}, clock=before)
    assert query.run(current, "select count(*) as n from patient_day").to_pylist() == [{"n": 3}]
