"""Patient records: typed, bitemporal, in and out as CSV."""

import csv
import io

import msgspec
import pytest

from flows.cli import main
from ingest.errors import EnrolmentError
from ingest.lake.enrolment import read_instant
from ingest.lake.records import COLUMNS, RECORD_KINDS, as_of, merge, read_records, write_records

PAYLOADS = {
    "context_note": '{"text":"moved house"}',
    "status": '{"status":"paused"}',
    "consent": '{"scope":"research","is_given":false}',
    "goal": '{"text":"walk to the lake","milestones":["to the shop"]}',
    "plan": '{"module":"pacing","dose":"2x10min"}',
    "medication_class": '{"medication_class":"beta-blocker"}',
    "contraindication": '{"what":"breathing","answer":"unknown"}',
    "contact": '{"mode":"phone","text":""}',
    "device_loan": '{"device":"ring-1","due":"2024-09-01","returned":null}',
    "language": '{"language":"de","accessibility":["large-print"]}',
    "demographics": '{"birth_year":1970,"sex":"female"}',
    "work_days": '{"weekdays":["mon","sat"]}',
    "care_team": '{"member":"dr-1","role":"physician"}',
}


def line(kind="status", payload=None, *, record="r-1", valid="2024-05-01", to="", recorded="2024-05-02"):
    stream = io.StringIO()
    instants = [f"{day}T00:00:00+00:00" if day else "" for day in (valid, to, recorded)]
    cells = [record, "p-1", kind, *instants, "dr-1", PAYLOADS[kind] if payload is None else payload]
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def write(path, *lines):
    path.write_text(",".join(COLUMNS) + "\n" + "".join(lines))
    return path


@pytest.mark.parametrize("kind", RECORD_KINDS)
def test_every_kind_goes_in_and_out_unchanged(tmp_path, kind):
    path = write(tmp_path / "in.csv", line(kind))
    (record,) = read_records(path)
    assert msgspec.json.decode(record.payload) == msgspec.json.decode(PAYLOADS[kind])
    write_records(tmp_path / "out.csv", [record])
    assert (tmp_path / "out.csv").read_text() == path.read_text()


def test_what_was_known_when(tmp_path):
    first = line(recorded="2024-05-02")
    later = line(payload='{"status":"admitted"}', to="2024-06-01", recorded="2024-05-10")
    records = read_records(write(tmp_path / "in.csv", later, first))

    def known(valid, at):
        valid_utc, known_utc = (read_instant(f"{day}T00:00Z", "") for day in (valid, at))
        found = as_of(records, valid_utc=valid_utc, known_utc=known_utc)
        return [msgspec.json.decode(one.payload)["status"] for one in found]

    assert known("2024-05-05", "2024-05-01") == []
    assert known("2024-05-05", "2024-05-02") == ["paused"]
    assert known("2024-05-05", "2024-05-10") == ["admitted"]
    assert known("2024-06-01", "2024-05-09") == ["paused"]
    assert known("2024-06-01", "2024-05-10") == []
    assert known("2024-04-30", "2024-05-10") == []


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (line(payload='{"status":"gone"}'), "in.csv:2: payload: Invalid enum value"),
        (line(payload='{"status":"paused","x":1}'), "unknown field"),
        (line(payload="paused"), "payload"),
        (line().replace("status", "mood", 1), "kind: 'mood' is not one of"),
        (line().replace("p-1", "P 1"), "patient 'P 1'"),
        (line(to="2024-05-01"), "valid_to_utc: not after"),
        (line().replace("2024-05-02T00:00:00+00:00", "soon"), "recorded_utc"),
        ("a,b\n", "2 columns, not 8"),
    ],
)
def test_a_mistake_is_named(tmp_path, bad, says):
    with pytest.raises(EnrolmentError) as mistake:
        read_records(write(tmp_path / "in.csv", bad))
    assert says in str(mistake.value)


def test_a_row_written_down_is_never_changed(tmp_path):
    before = read_records(write(tmp_path / "a.csv", line()))
    other = read_records(write(tmp_path / "b.csv", line(payload='{"status":"active"}')))
    assert merge(before, before) == before
    with pytest.raises(EnrolmentError, match="written down differently"):
        merge(before, other)


def test_the_command_takes_and_gives_csv(tmp_path, capsys):
    path = write(tmp_path / "in.csv", line(), line("goal", record="r-2"))
    for added in (2, 0):
        assert main(["enrol", "import", "--records", "--home", str(tmp_path), str(path)]) == 0
        assert f"2 records, {added} added" in capsys.readouterr().out
    assert main(["enrol", "export", "--records", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out == path.read_text()
