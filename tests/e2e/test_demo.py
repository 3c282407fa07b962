"""The main job, end to end on real parts: wearables, gateways, broker, collector, Prefect, webhook, page."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from devices.observations import KINDS
from flows.demo.summary import in_words
from tests.fixtures_ingest import DEMO_S

pytestmark = pytest.mark.timeout(900)


def flarecast(*arguments: str | Path, timeout_s: float = DEMO_S) -> "subprocess.CompletedProcess[str]":
    """Run the command as a user would."""
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def test_every_sample_made_is_spooled_received_and_stored(demo: dict[str, Any]) -> None:
    assert demo["made"] > 100_000
    assert demo["made"] == demo["spooled"] == demo["stored"]
    assert demo["received"] >= demo["stored"], "a redelivery may be received twice, never less than once"
    assert demo["missing"] == 0
    assert demo["quarantined"] == 0
    for kind in ("rr_interval", "step_count", "sleep_stage", "battery", "pro_answer"):
        row = demo["by_kind"][kind]
        assert row["made"] == row["stored"] > 0, kind


def test_the_figures_of_the_json_object_are_all_there(demo: dict[str, Any]) -> None:
    wanted = (
        "people days made spooled received stored missing quarantined nights alerts_opened alerts_delivered"
    )
    for name in [*wanted.split(), "snapshot", "page", "seconds", "by_kind"]:
        assert name in demo
    assert demo["alerts_opened"] == demo["alerts_delivered"] + sum(demo["alerts_untold"].values())


def test_the_last_days_of_the_wearables_came_over_the_air(demo: dict[str, Any]) -> None:
    sources = {
        row
        for path in (demo["home"] / "lake" / "landing").rglob("*.parquet")
        for row in pq.read_table(path, columns=["source"])["source"].to_pylist()
    }
    assert {"sig-heart-rate/1", "colmi/1"} <= sources, "strap and ring were read by their codecs"
    assert demo["live_people"] == demo["people"]


def test_nights_carry_real_numbers(demo: dict[str, Any]) -> None:
    with duckdb.connect(demo["snapshot"], read_only=True) as con:
        nights = con.execute(
            "select rr_count, rmssd_ms, tst_min from night where sleep_source = 'recorded' and rr_count > 0"
        ).fetchall()
    assert demo["nights"] >= len(nights) > 0
    for rr_count, rmssd_ms, tst_min in nights:
        assert rr_count >= 18_000
        assert 5 < rmssd_ms < 200
        assert 120 < tst_min < 900


def test_the_same_night_again_writes_nothing(demo: dict[str, Any]) -> None:
    with duckdb.connect(demo["snapshot"], read_only=True) as con:
        row = con.execute("select min(local_date), max(local_date) from flare_risk").fetchone()
    assert row is not None
    first, last = row
    done = flarecast("nightly", "--home", demo["home"], "--from", str(first), "--to", str(last), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["written"] == 0
    assert report["nights"] == demo["nights"]


def test_one_patient_can_be_recomputed_without_touching_the_rest(demo: dict[str, Any]) -> None:
    with duckdb.connect(demo["snapshot"], read_only=True) as con:
        patient, day = con.execute(
            "select patient, max(local_date) from patient_day group by 1 limit 1"
        ).fetchone()  # type: ignore[misc]
    done = flarecast("nightly", "--home", demo["home"], "--date", str(day), "--patient", patient, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["written"] == 0, "the same input gives the same rows"
    assert report["patients"] == 1
    assert report["feature_days"] >= 1, "they were computed, not skipped"


def test_the_shadow_says_how_far_it_is_beside_the_model_that_was_fitted(demo: dict[str, Any]) -> None:
    done = flarecast("risk", "progress", "--home", demo["home"], "--json")
    assert done.returncode == 0, done.stderr
    told = dict(demo["shadow"])
    said = told.pop("said")
    assert told == json.loads(done.stdout), "the demo says what the command says"
    with duckdb.connect(demo["snapshot"], read_only=True) as con:
        (onsets,) = con.execute(
            "select sum(onsets) from (select max(onset_count) as onsets from flare_risk group by patient)"
        ).fetchone()
    assert onsets == told["onsets"]
    assert said.startswith(f"{told['onsets']} onsets so far")
    assert (f"expected on {told['expected']}" if told["expected"] else "no date yet") in said
    lines = in_words(demo).splitlines()
    at = lines.index(f"shadow    {said}")
    assert lines[at + 1].startswith("model     SYNTHETIC year")


def test_the_clock_set_ahead_leaves_no_alert_about_the_machines(demo: dict[str, Any]) -> None:
    done = flarecast("alerts", "list", "--home", demo["home"], "--json")
    assert done.returncode == 0, done.stderr
    assert {one["scope"] for one in json.loads(done.stdout)} == {"patient"}


def test_sql_runs_on_the_published_snapshot(demo: dict[str, Any]) -> None:
    done = flarecast(
        "sql", "--home", demo["home"], "--json", "select count(*) as n from observations_rr_interval"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["n"] > 0
    assert Path(demo["snapshot"]).exists()


def test_every_kind_has_a_view_and_every_column_a_comment(demo: dict[str, Any]) -> None:
    with duckdb.connect(demo["snapshot"], read_only=True) as con:
        views = {row[0] for row in con.execute("select distinct table_name from duckdb_columns()").fetchall()}
        bare = con.execute(
            "select table_name, column_name from duckdb_columns() where not internal and comment is null"
        ).fetchall()
    assert {f"observations_{kind}" for kind in KINDS} <= views
    assert {"patient_day", "night", "baseline", "trend", "flare_risk", "alerts"} <= views
    assert bare == []


def test_the_lake_alone_says_which_clinic_it_belongs_to(demo: dict[str, Any]) -> None:
    with duckdb.connect(demo["snapshot"], read_only=True) as con:
        row = con.execute("select max(local_date) from flare_risk").fetchone()
    assert row is not None
    done = flarecast("nightly", "--lake", demo["home"] / "lake", "--date", str(row[0]), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["written"] == 0


def test_sql_takes_a_snapshot_by_its_path(demo: dict[str, Any]) -> None:
    done = flarecast("sql", "--snapshot", demo["snapshot"], "--json", "select count(*) as n from patient_day")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["n"] >= demo["people"] * demo["days"]


#: Every Python process with this folder on its path reads it: the collector kills itself once, at
#: a file it is about to make visible, so that the kill falls into its work on any machine.
KILLED_ONCE = """
import os, signal, sys

def at_the_second_file(event, values):
    if event == "os.rename" and "/landing/" in str(values[1]) and "collector" in sys.orig_argv:
        seen.append(values[1])
        if len(seen) == 2:
            try:
                os.close(os.open({mark!r}, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

seen = []
sys.addaudithook(at_the_second_file)
"""


def test_a_collector_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "killed"
    (tmp_path / "sitecustomize.py").write_text(KILLED_ONCE.format(mark=str(mark)))
    command = [sys.executable, "-m", "flows.cli", "demo", "--people", "2", "--days", "4"]
    command += ["--out", str(tmp_path / "out"), "--json"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEMO_S, check=False)
    assert done.returncode == 0, done.stderr
    assert mark.exists(), "the collector was really killed"
    assert f"collector ended code={-signal.SIGKILL}, started again" in done.stderr
    summary = json.loads(done.stdout)
    assert summary["made"] == summary["stored"] > 100_000


@pytest.mark.parametrize(
    "query",
    [
        "copy (select 1) to '{out}'",
        "select * from read_csv('/etc/passwd')",
        "create table t as select 1",
        "select 1; select 2",
        "attach '{out}'",
    ],
)
def test_a_query_reads_the_snapshot_and_nothing_else(
    demo: dict[str, Any], tmp_path: Path, query: str
) -> None:
    out = tmp_path / "out"
    done = flarecast("sql", "--home", demo["home"], query.format(out=out))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not out.exists()
