"""`flarecast import`: the wire's checks, the lake's tables, and once is enough."""

import csv
import json
import os
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from devices.tables import TABLES
from flows.cli import main
from flows.clinic import Clinic
from ingest.lake.columns import Arrived, read_rows, to_table
from ingest.lake.importing import import_file
from tests.fixtures_ingest import ENROLMENT_HEADER, T0, one_of_each

ROW = "p-1,north,Europe/Berlin,gw-1,{},2020-01-01T00:00Z,\n"
STEPS = "device,start_utc,end_utc,steps\n"
MINUTE = "2024-05-01T10:00Z,2024-05-01T10:01Z"


@pytest.fixture
def clinic(tmp_path):
    clinic = Clinic(tmp_path / "home")
    clinic.home.mkdir()
    clinic.enrolment_path.write_text(ENROLMENT_HEADER + ROW.format("ring-1") + ROW.format("strap-1"))
    return clinic


def run(clinic, path, kind):
    return main(["import", str(path), "--kind", kind, "--home", str(clinic.home), "--json"])


@pytest.mark.parametrize("observation", one_of_each(), ids=lambda one: one.kind)
def test_every_kind_comes_in_as_it_went_out(clinic, tmp_path, observation, capsys):
    kind = observation.kind
    table = to_table(kind, [Arrived(observation, "gw-1", 5)], T0)
    pq.write_table(table, tmp_path / "in.parquet")
    assert run(clinic, tmp_path / "in.parquet", kind) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == table.num_rows * (
        3 if kind == "rr_interval" else 1
    )
    (path,) = clinic.lake.files(kind)
    stored = read_rows(path, kind)
    assert stored.schema.equals(TABLES[kind], check_metadata=True)
    assert stored.drop_columns(["received_utc"]).equals(table.drop_columns(["received_utc"]))


def test_csv_in_plain_words(clinic, tmp_path):
    (tmp_path / "in.csv").write_text(f"{STEPS}ring-1,{MINUTE},30\n")
    assert run(clinic, tmp_path / "in.csv", "step_count") == 0
    (row,) = pq.read_table(clinic.lake.files("step_count")[0]).to_pylist()
    assert (row["steps"], row["gateway"], row["sequence"], row["source"]) == (30, "gw-1", 1, "import/1")
    header = "device,start_utc,connection,first_beat,rr_ms,gap_before_ms,sensor\n"
    (tmp_path / "rr.csv").write_text(f"{header}strap-1,2024-05-01T10:00Z,c-1,0,800 810,,ecg\n")
    assert run(clinic, tmp_path / "rr.csv", "rr_interval") == 0
    (row,) = pq.read_table(clinic.lake.files("rr_interval")[0]).to_pylist()
    assert (row["rr_ms"], row["gap_before_ms"], row["end_utc"].microsecond) == ([800, 810], None, 610_000)
    header = "device,start_utc,end_utc,is_worn\n"
    (tmp_path / "wear.csv").write_text(f"{header}ring-1,{MINUTE},False\nring-1,{MINUTE},maybe\n")
    assert run(clinic, tmp_path / "wear.csv", "wear") == 0
    assert pq.read_table(clinic.lake.files("wear")[0])["is_worn"].to_pylist() == [False]
    assert clinic.lake.quarantined() == {"is_worn 'maybe' cannot be read": 1}


def test_what_the_wire_would_refuse_is_refused_with_the_same_words(clinic, tmp_path, capsys):
    lines = [
        f"ring-1,{MINUTE},301",
        f"ring-1,{MINUTE},many",
        f"ring-1,{MINUTE},70000",
        f"ring-9,{MINUTE},3",
        "ring-1,2024-05-01T10:00Z,2024-05-01T10:00:00.5Z,1",
        "ring-1,1999-05-01T10:00Z,1999-05-01T10:01Z,1",
        f"ring-1,{MINUTE}",
        f"ring-1,{MINUTE},",
        f"ring-1,{MINUTE},9",
        "ring-1,,2024-05-01T10:01Z,9",
    ]
    (tmp_path / "in.csv").write_text(STEPS + "\n".join(lines))
    assert run(clinic, tmp_path / "in.csv", "step_count") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["rows"], said["samples"], said["refused"]) == (10, 1, 9)
    reasons = " | ".join(clinic.lake.quarantined())
    for words in (
        "step_count of more than 300 in 60 s",
        "steps 'many' cannot be read",
        "value does not fit an unsigned 16-bit number",
        "device is not enrolled at that time",
        "not a whole number of seconds",
        "step_count: Expected",
        "more or fewer cells",
        "steps (empty) is no whole number",
        "start_utc (empty) is no instant",
    ):
        assert words in reasons


ODD = [
    "",
    "x",
    "-1",
    "1e400",
    "nan",
    "9" * 23,
    "0001-01-01T00:00:00+14:00",
    "2024-05-01T10:00",
    "1 x",
    "70000 1",
]


@pytest.mark.parametrize("observation", one_of_each(), ids=lambda one: one.kind)
def test_no_cell_ends_an_import(clinic, tmp_path, observation):
    """Whatever stands in one: the row is stored or refused."""
    kind = observation.kind
    row = to_table(kind, [Arrived(observation, "gw-1", 1)], T0).slice(0, 1).to_pylist()[0]
    cells = {name: as_cell(value) for name, value in row.items()}
    rows = [{**cells, name: odd} for name in cells for odd in ODD]
    with (tmp_path / "in.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(cells))
        writer.writeheader()
        writer.writerows(rows)
    done = import_file(clinic.lake, clinic.enrolment(), tmp_path / "in.csv", kind, clock=lambda: T0)
    assert done.rows == len(rows)
    assert done.refused > len(ODD)
    assert done.refused == sum(clinic.lake.quarantined().values())


def as_cell(value):
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else value.isoformat() if isinstance(value, datetime) else str(value)


def test_a_second_import_writes_nothing(clinic, tmp_path, capsys):
    (tmp_path / "in.csv").write_text(f"{STEPS}ring-1,{MINUTE},30\nring-9,{MINUTE},30\n")
    run(clinic, tmp_path / "in.csv", "step_count")
    before = sorted(clinic.lake.root.rglob("*"))
    capsys.readouterr()
    (tmp_path / "in.csv").rename(tmp_path / "other.csv")
    assert run(clinic, tmp_path / "other.csv", "step_count") == 0
    assert json.loads(capsys.readouterr().out)["is_repeated"]
    assert sorted(clinic.lake.root.rglob("*")) == before
    arguments = ["import", str(tmp_path / "other.csv"), "--kind", "step_count", "--home", str(clinic.home)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "imported before" in said, "and what was refused then is not hidden"
    assert "2 rows: 1 sample stored, 1 in quarantine" in said
    assert "the first in quarantine: device is not enrolled at that time" in said
    assert sorted(clinic.lake.root.rglob("*")) == before


def test_the_same_history_in_other_files_is_the_same_samples(clinic, tmp_path):
    """As CSV, as Parquet, and in a longer file: each sample once."""
    minutes = [f"2024-05-01T10:{minute:02}Z,2024-05-01T10:{minute + 1:02}Z,{minute}" for minute in range(4)]
    (tmp_path / "a.csv").write_text(STEPS + "".join(f"ring-1,{line}\n" for line in minutes[:3]))
    run(clinic, tmp_path / "a.csv", "step_count")
    stored = pq.read_table(clinic.lake.files("step_count")[0])
    pq.write_table(stored.select(["device", "start_utc", "end_utc", "steps"]), tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_text(STEPS + "".join(f"ring-1,{line}\n" for line in minutes))
    for name in ("b.parquet", "c.csv"):
        run(clinic, tmp_path / name, "step_count")
    assert main(["lake", "compact", "--home", str(clinic.home)]) == 0
    (path,) = clinic.lake.files("step_count")
    assert pq.read_table(path)["steps"].to_pylist() == [0, 1, 2, 3]


def test_refused_rows_are_released_by_enrolling(clinic, tmp_path):
    (tmp_path / "in.csv").write_text(f"{STEPS}ring-9,{MINUTE},30\n")
    assert run(clinic, tmp_path / "in.csv", "step_count") == 1, "nothing of it was stored"
    clinic.enrolment_path.write_text(ENROLMENT_HEADER + ROW.format("ring-9"))
    assert main(["lake", "release", "--home", str(clinic.home)]) == 0
    assert clinic.lake.quarantined() == {}
    assert len(clinic.lake.files("step_count")) == 1


def test_an_import_of_which_nothing_was_stored_is_no_success(clinic, tmp_path, capsys):
    (tmp_path / "in.csv").write_text(f"{STEPS}ring-9,{MINUTE},30\n")
    arguments = ["import", str(tmp_path / "in.csv"), "--kind", "step_count", "--home", str(clinic.home)]
    for _ in ("first", "again"):
        assert main(arguments) == 1
        said = capsys.readouterr().out
        assert "1 row: 0 samples stored, 1 in quarantine" in said
        assert "device is not enrolled at that time" in said
    (tmp_path / "none.csv").write_text(STEPS)
    assert run(clinic, tmp_path / "none.csv", "step_count") == 0, "nothing was refused either"


def test_a_file_that_is_none_is_one_line(clinic, tmp_path, capsys):
    (tmp_path / "a.csv").write_text("device,steps,mood\n")
    (tmp_path / "b.parquet").write_bytes(b"?")
    os.mkfifo(tmp_path / "pipe")
    naive = pa.table({"device": ["ring-1"], "start_utc": ["x"], "level_pct": [5]})
    pq.write_table(naive, tmp_path / "c.parquet")
    (tmp_path / "e.csv").write_text("device,start_utc,end_utc,steps,mood\n")
    for name, kind, says in (
        ("e.csv", "step_count", "not the columns of step_count: has mood"),
        ("a.csv", "step_count", "lacks start_utc, end_utc; has mood"),
        ("b.parquet", "step_count", "neither .csv nor Parquet"),
        ("c.parquet", "battery", "start_utc is string, not"),
        ("d.csv", "battery", "No such file"),
        ("pipe", "battery", "pipe: not a file"),
        ("a.csv", "mood", "unknown observation kind 'mood'"),
    ):
        assert run(clinic, tmp_path / name, kind) == 2
        assert says in capsys.readouterr().err
