"""`flarecast evaluate lifesnaps` on SYNTHETIC days in the form of the file; faults in one line."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from flows.risk.evaluate_lifesnaps import lifesnaps_cohort

FIRST = date(2021, 5, 24)
PEOPLE, DAYS = 20, 50


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(8)
    count = PEOPLE * DAYS
    tired = np.where(rng.random(count) < 0.1, np.nan, rng.random(count) < 0.2)
    columns = {
        "id": [f"id-{number:02d}" for number in range(PEOPLE) for _ in range(DAYS)],
        "date": [str(FIRST + timedelta(days=day)) for _ in range(PEOPLE) for day in range(DAYS)],
        "steps": rng.integers(1000, 12000, count).astype(float),
        "minutesAsleep": rng.normal(400, 50, count),
        "minutesAwake": rng.normal(50, 10, count),
        "resting_hr": rng.normal(62, 2, count),
        "rmssd": np.where(rng.random(count) < 0.3, 0.0, rng.normal(40, 5, count)),
        "TIRED": tired,
    }
    place = tmp_path_factory.mktemp("lifesnaps") / "days.parquet"
    pq.write_table(pa.table(columns), place)
    return place


def test_an_onset_is_tired_after_three_reported_untired_days(path):
    cohort = lifesnaps_cohort(path)
    tired = np.array(pq.read_table(path)["TIRED"].to_pylist(), float).reshape(PEOPLE, DAYS)
    plain = [
        (row, day)
        for row in range(PEOPLE)
        for day in range(3, DAYS)
        if tired[row, day] == 1 and (tired[row, day - 3 : day] == 0).all()
    ]
    assert [tuple(map(int, cell)) for cell in np.argwhere(cohort.labels.is_onset)] == plain
    assert len(plain) > 20
    # a zero is nothing measured
    assert np.isnan(cohort.panel.values["rmssd_ms"]).mean() == pytest.approx(0.3, abs=0.05)
    assert np.isnan(cohort.panel.values["nrs"]).all()


def test_it_prints_both_weightings_with_intervals(path, capsys):
    assert main(["evaluate", "lifesnaps", str(path), "--draws", "10"]) == 0
    said = capsys.readouterr().out
    assert "== shipped weights, intercept from other people" in said
    assert "== weights refitted on other people" in said
    assert said.count(" onsets\n") == 2


def test_what_is_no_such_file_is_said_in_one_line(path, tmp_path, capsys):
    (tmp_path / "text").write_text("id,date\n")
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["TIRED"]), tmp_path / "short")
    at = table.schema.get_field_index("date")
    pq.write_table(table.set_column(at, "date", pa.array(["monday"] * len(table))), tmp_path / "monday")
    for name, reason in (
        ("none", "no file"),
        ("text", "cannot be read as Parquet"),
        ("short", "no column TIRED"),
        ("monday", "not those of LifeSnaps"),
    ):
        assert main(["evaluate", "lifesnaps", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert error.count("\n") == 1
