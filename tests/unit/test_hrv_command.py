"""`flarecast hrv` on files of one's own: shapes, names, windows, faults in one line."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows import cli
from flows.analyst.hrv_command import OUTPUT

COLUMNS = [
    "recording",
    "window_start_s",
    "n_rr",
    "n_nn",
    "coverage_pct",
    "mean_nn_ms",
    "sdnn_ms",
    "rmssd_ms",
    "pnn50_pct",
    "sd1_ms",
    "sd2_ms",
    "lf_ms2",
    "hf_ms2",
    "lf_hf",
    "quality",
]


@pytest.fixture
def write(tmp_path):
    def save(columns, name="rr.parquet"):
        pq.write_table(pa.table(columns), tmp_path / name)
        return tmp_path / name

    return save


def run(capsys, *arguments):
    assert cli.main(["hrv", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def steady(count, seed=1):
    return (900 + np.random.default_rng(seed).normal(0, 30, count)).round().astype(int).tolist()


def test_a_list_per_row_without_names_is_numbered(write, capsys):
    rows = run(capsys, write({"rr_ms": [[800, 860, 800], [1000, 1000, 1010]]}), "--raw")
    assert [list(row) for row in rows] == [COLUMNS] * 2
    assert [row["recording"] for row in rows] == ["0", "1"]
    assert rows[0]["rmssd_ms"] == 60
    assert rows[0]["quality"] == "no LF and HF: less than 2 minutes"


def test_long_rows_give_what_lists_give(write, capsys):
    a, b = steady(900), steady(700, 2)
    long = write({"who": ["b"] * 700 + ["a"] * 900, "ms": b + a}, "long.parquet")
    wide = write({"who": ["a", "b"], "ms": [a, b]}, "wide.parquet")
    for window, count in (("whole", 2), ("5min", 4)):
        common = ("--column", "ms", "--recording", "who", "--window", window)
        found = run(capsys, long, *common)
        assert found == run(capsys, wide, *common)
        assert len(found) == count
    assert [row["window_start_s"] for row in found] == [0, 300, 0, 300]
    assert found[0]["lf_hf"] == pytest.approx(found[0]["lf_ms2"] / found[0]["hf_ms2"])


def test_artifacts_go_unless_raw(write, capsys):
    rr = steady(400)
    rr[200] = 1900
    file = write({"rr_ms": [rr]})
    (clean,), (raw,) = run(capsys, file), run(capsys, file, "--raw")
    assert raw["n_nn"] == raw["n_rr"] == 400
    assert clean["n_nn"] < 400
    assert raw["rmssd_ms"] > clean["rmssd_ms"] + 20


@pytest.mark.parametrize("raw", [[], ["--raw"]])
@pytest.mark.parametrize("window", ["whole", "5min"])
@pytest.mark.parametrize("rr", [[], [800], [None] * 500, [800] * 500, [0] * 9, [7427] * 400, None])
def test_whatever_is_in_it_there_is_a_row(write, capsys, rr, window, raw):
    rows = run(capsys, write({"rr_ms": pa.array([rr], pa.list_(pa.float64()))}), "--window", window, *raw)
    assert rows
    assert all(row["quality"] or row["sdnn_ms"] is not None for row in rows)
    if rr == [800] * 500 and window == "whole":
        assert (rows[0]["mean_nn_ms"], rows[0]["rmssd_ms"], rows[0]["lf_hf"]) == (800, 0, None)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_durations_are_taken_for_what_they_are(write, capsys, unit):
    rr = [1000 * (1 + number % 2) for number in range(300)] if unit == "s" else steady(300)
    lasted = [None, *pa.array(rr, pa.duration("ms")).cast(pa.duration(unit), safe=False).to_pylist()]
    of_rows = write({"rr_ms": pa.array(lasted, pa.duration(unit))}, "rows.parquet")
    of_lists = write({"rr_ms": pa.array([lasted], pa.list_(pa.duration(unit)))}, "lists.parquet")
    plain = run(capsys, write({"rr_ms": [None, *rr]}))
    assert run(capsys, of_rows) == run(capsys, of_lists) == plain


@pytest.mark.parametrize(
    "kind", [pa.int16(), pa.uint16(), pa.int32(), pa.uint64(), pa.float32(), pa.float64()]
)
def test_the_type_of_the_column_changes_nothing(write, capsys, kind):
    rows = run(capsys, write({"rr_ms": pa.array(steady(700), kind)}), "--window", "5min")
    assert rows == run(capsys, write({"rr_ms": [steady(700)]}, "lists.parquet"), "--window", "5min")
    assert len(rows) == 2


def test_no_difference_across_a_missing_interval(write, capsys):
    rr = pa.array([[800, 810, None, 900, 910]], pa.list_(pa.int32()))
    (row,) = run(capsys, write({"rr_ms": rr}), "--raw")
    assert (row["n_rr"], row["n_nn"], row["rmssd_ms"]) == (5, 4, 10)


def test_out_is_a_parquet_file_of_the_same_rows(write, capsys, tmp_path):
    file = write({"rr_ms": [steady(300)]})
    out = tmp_path / "out.parquet"
    rows = run(capsys, file, "--out", out)
    assert pq.read_table(out).to_pylist() == rows
    assert pq.read_schema(out).equals(OUTPUT)
    assert OUTPUT.names == COLUMNS


@pytest.mark.parametrize(
    ("columns", "arguments", "says"),
    [
        ({"rr": [[800]]}, [], "has no column rr_ms; there are: rr"),
        ({"rr_ms": ["800"]}, [], "holds string, not numbers"),
        ({"rr_ms": [[800], [810]], "who": ["a", "a"]}, ["--recording", "who"], "recording a has two rows"),
        ({"rr_ms": [800, 810], "at": [1, 1]}, ["--order", "at"], "two intervals at at 1"),
        ({"rr_ms": [[800]], "at": [1]}, ["--order", "at"], "--order is for"),
        ({"rr_ms": [800, 810], "at": [1, None]}, ["--order", "at"], "rows without a value"),
        ({"rr_ms": [800, 810], "at": [1, float("nan")]}, ["--order", "at"], "rows without a value"),
        ({"rr_ms": [800, 810], "at": [{"a": 1}, {"a": 2}]}, ["--order", "at"], "which has no order"),
        ({"rr_ms": [800, 810], "who": [[1], [2]]}, ["--recording", "who"], "column who holds list"),
        ({"rr_ms": [[800], [810]], "who": [b"\xff", b"\xfe"]}, ["--recording", "who"], "binary, no names"),
        ({"rr_ms": [800, -1]}, [], "negative"),
        ({"rr_ms": pa.array([800, -1], pa.duration("ms"))}, [], "negative"),
        ({"rr_ms": [800, 810], "who": ["a", None]}, ["--recording", "who"], "who has rows without a name"),
        ({"rr_ms": [800_000, 810_000]}, [], "shortest interval is 800000 ms: are they in milliseconds?"),
        ({"rr_ms": [800, 2**60 + 1]}, [], "longer than a day: are they in milliseconds?"),
        ({"rr_ms": [[800.0, 1e300]]}, ["--raw"], "longer than a day"),
    ],
)
def test_a_fault_is_one_line(write, capsys, columns, arguments, says):
    assert cli.main(["hrv", str(write(columns)), *arguments]) == 2
    errors = capsys.readouterr().err
    assert says in errors
    assert errors.count("\n") == 1


def test_no_file_and_no_parquet(tmp_path, capsys):
    (tmp_path / "text").write_text("800")
    for name, says in (("absent", "no file at"), ("text", "is not a Parquet file")):
        assert cli.main(["hrv", str(tmp_path / name)]) == 2
        assert says in capsys.readouterr().err
    twice = pa.Table.from_arrays([pa.array([800])] * 2, ["rr_ms"] * 2)
    pq.write_table(twice, tmp_path / "x.parquet")
    assert cli.main(["hrv", str(tmp_path / "x.parquet")]) == 2
    assert "has several columns rr_ms" in capsys.readouterr().err
    pq.write_table(pa.table({"rr_ms": [800]}), tmp_path / "x.parquet")
    assert cli.main(["hrv", str(tmp_path / "x.parquet"), "--out", str(tmp_path / "no" / "o")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_the_file_that_is_read_is_never_written(write, capsys):
    file = write({"rr_ms": [steady(400)]})
    before = file.read_bytes()
    assert cli.main(["hrv", str(file), "--out", str(file.parent / ".." / file.parent.name / file.name)]) == 2
    assert "it would be lost" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_intervals_in_seconds_are_said(write, capsys):
    assert cli.main(["hrv", str(write({"rr_ms": [[0.8, 0.81] * 200]}))]) == 2
    assert "the longest interval is 0.81 ms: are they in milliseconds?" in capsys.readouterr().err
