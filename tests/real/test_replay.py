"""Real recordings through the whole path: BLE, spool, MQTT, collector, Parquet, nightly numbers."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

from analytics.features.hrv import windows
from devices.clock import to_utc
from devices.units import RR_MAX_MS
from tests.fixtures_ingest import DEMO_S

START = datetime(2024, 1, 15, 12, tzinfo=UTC)
NIGHT = date(2024, 1, 16)
pytestmark = pytest.mark.timeout(900)


def flarecast(*arguments: str | Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEMO_S, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def replay_rr(real_data: Path, out: Path, per_notification: int, recordings: list[str]) -> dict[str, Any]:
    chosen = [text for name in recordings for text in ("--recording", name)]
    return flarecast(
        "replay",
        real_data / "rr" / "nsr2db_16.parquet",
        *chosen,
        "--per-notification",
        str(per_notification),
        "--out",
        out,
    )


def lake_runs(home: Path, device: str) -> list[tuple[int, list[int], int | None]]:
    """Start (microseconds UTC), intervals and gap of every stored run, in order."""
    pattern = str(home / "lake" / "landing" / "rr_interval" / "*" / "*.parquet")
    with duckdb.connect() as con:
        rows = con.execute(
            "select epoch_us(start_utc), rr_ms, gap_before_ms from read_parquet(?) where device = ? "
            "qualify row_number() over (partition by start_utc order by received_utc desc) = 1 "
            "order by start_utc",
            [pattern, device],
        ).fetchall()
    return [(start, list(rr_ms), gap) for start, rr_ms, gap in rows]


def test_one_interval_a_notification_comes_out_equal_and_in_order(real_data: Path, tmp_path: Path) -> None:
    summary = replay_rr(real_data, tmp_path / "out", 1, ["nsr001"])
    assert summary["missing"] == 0
    assert_equal_and_in_order(real_data, tmp_path / "out", ["nsr001"])


def test_nine_a_notification_and_the_nightly_numbers_equal_those_from_the_file(
    real_data: Path, tmp_path: Path
) -> None:
    recordings = ["nsr002", "nsr003", "nsr004"]
    summary = replay_rr(real_data, tmp_path / "out", 9, recordings)
    assert summary["missing"] == 0
    assert_equal_and_in_order(real_data, tmp_path / "out", recordings)
    assert_nightly_numbers(real_data, tmp_path / "out", recordings)


def assert_equal_and_in_order(real_data: Path, home: Path, recordings: list[str]) -> None:
    """Every interval a frame can say is in the lake, and every longer one is a gap."""
    table = pl.read_parquet(real_data / "rr" / "nsr2db_16.parquet").sort("rec", "beat")
    for name in recordings:
        recorded = table.filter(pl.col("rec") == name)["rr_ms"].to_list()
        runs = lake_runs(home, f"strap-{name}")
        stored = [ms for _, intervals, _ in runs for ms in intervals]
        assert stored == [ms for ms in recorded if ms <= RR_MAX_MS]
        assert_silences_are_gaps(recorded, runs)
        assert_the_clock_is_true(recorded, runs)


def assert_silences_are_gaps(recorded: list[int], runs: list[tuple[int, list[int], int | None]]) -> None:
    """Intervals longer than a frame can say come out as recorded gaps, within a second."""
    silences: list[int] = []
    pending = 0
    for ms in recorded:
        if ms > RR_MAX_MS:
            pending += ms
        elif pending:
            silences.append(pending)
            pending = 0
    gaps = [gap for _, _, gap in runs if gap]
    assert len(gaps) == len(silences) > 0
    for gap, silence in zip(gaps, silences, strict=True):
        assert abs(gap - silence) <= 1000


def assert_the_clock_is_true(recorded: list[int], runs: list[tuple[int, list[int], int | None]]) -> None:
    """The last beat ends where the recording ends, to the second."""
    start, intervals, _ = runs[-1]
    last_beat = start + 1000 * sum(intervals)
    while recorded[-1] > RR_MAX_MS:
        recorded = recorded[:-1]
    assert abs(last_beat - (to_utc(START) + 1000 * sum(recorded))) <= 1_000_000


def assert_nightly_numbers(real_data: Path, home: Path, recordings: list[str]) -> None:
    """The night of the command equals the windows computed straight from the file."""
    report = flarecast("nightly", "--home", home, "--date", NIGHT.isoformat())
    assert report["nights"] == len(recordings)
    table = pl.read_parquet(real_data / "rr" / "nsr2db_16.parquet").sort("rec", "beat")
    with duckdb.connect(report["snapshot"], read_only=True) as con:
        for name in recordings:
            night = con.execute(
                "select sleep_source, rmssd_ms, sdnn_ms, mean_nn_ms, window_count from night "
                "where patient = ? and local_date = ?",
                [f"recording-{name}", NIGHT],
            ).fetchone()
            assert night is not None
            assert night[0] == "assumed_night"
            direct = night_from_file(table.filter(pl.col("rec") == name)["rr_ms"].to_list())
            assert night[4] == len(direct["rmssd_ms"]) >= 60
            for column, at in (("rmssd_ms", 1), ("sdnn_ms", 2), ("mean_nn_ms", 3)):
                expected = float(np.median(direct[column]))
                assert night[at] == pytest.approx(expected, rel=1e-9), column  # type: ignore[arg-type]


def night_from_file(recorded: list[int]) -> dict[str, list[float]]:
    """Windows of 00:00-06:00 computed straight from the file: no radio, no broker, no lake."""
    rr = np.array([ms for ms in recorded if ms <= RR_MAX_MS], np.uint16)
    all_ends = to_utc(START) + 1000 * np.cumsum(recorded, dtype=np.int64)
    is_sent = np.array(recorded) <= RR_MAX_MS
    ends = all_ends[is_sent]
    breaks = np.concatenate([[True], np.diff(np.flatnonzero(is_sent)) > 1])
    first, last = to_utc(datetime(2024, 1, 16, 0, tzinfo=UTC)), to_utc(datetime(2024, 1, 16, 6, tzinfo=UTC))
    inside = (ends > first) & (ends <= last)
    found = windows(rr[inside], ends[inside], breaks[inside], start_us=first, end_us=last)
    keep = ~np.isnan(found.rmssd_ms)
    return {name: getattr(found, name)[keep].tolist() for name in ("rmssd_ms", "sdnn_ms", "mean_nn_ms")}


def test_step_minutes_arrive_minute_by_minute(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "steps" / "actiwearcheck_minutes.parquet"
    summary = flarecast("replay", source, "--out", tmp_path / "out")
    assert summary["missing"] == 0
    assert summary["by_kind"]["step_count"]["stored"] == 360_000
    recorded = pl.read_parquet(source).group_by("person").agg(pl.col("steps").sum()).sort("person")
    pattern = str(tmp_path / "out" / "lake" / "landing" / "step_count" / "*" / "*.parquet")
    with duckdb.connect() as con:
        stored = con.execute(
            "select sum(steps) from (select distinct device, start_utc, steps from read_parquet(?)) "
            "group by device order by device",
            [pattern],
        ).fetchall()
        first = con.execute("select min(epoch_us(start_utc)) from read_parquet(?)", [pattern]).fetchone()
    assert [int(row[0]) for row in stored] == recorded["steps"].to_list()
    assert first is not None
    earliest: datetime = pl.read_parquet(source)["minute_local"].min()  # type: ignore[assignment]
    assert first[0] == to_utc(earliest.replace(tzinfo=UTC) - timedelta(hours=9)), "Asia/Tokyo is UTC+9"
