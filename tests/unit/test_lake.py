"""The lake's files, its enrolment, and what a flush makes of messages."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from devices.blobs import pack_u16
from devices.clock import DAY
from devices.observations import RrInterval
from devices.tables import BATCH, ENROLMENT, QUARANTINE, RAW, SCHEMA_VERSION, TABLES, UTC
from devices.units import RR_MAX_MS
from ingest.errors import EnrolmentError, LakeError
from ingest.lake import manifest
from ingest.lake.columns import Arrived, read_kept, to_table
from ingest.lake.enrolment import read_enrolment
from ingest.lake.files import Lake
from ingest.lake.intake import Intake, Received
from ingest.wire.messages import CONTENT_TYPE, decode_batch, encode_batch, encode_observation
from tests.fixtures_ingest import ENROLMENT_HEADER, T0, beats, one_of_each, steps, write_enrolment

ROW = "p-1,north,Europe/Berlin,gw-1,strap-1,2024-01-01T00:00Z,2024-02-01T00:00Z\n"


def message(sequence, observations, *, gateway="gw-1", content_type=None):
    kind = observations[0].kind
    payload = encode_batch(sequence, T0, kind, [encode_observation(one) for one in observations])
    return Received(f"flarecast/v1/north/{gateway}/{kind}", payload, content_type, T0 + DAY)


@pytest.fixture
def intake(tmp_path):
    return Intake(read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1", "gw-2"])))


@pytest.mark.parametrize("observation", one_of_each(), ids=lambda one: one.kind)
def test_files_have_the_schema_of_their_kind(tmp_path, observation):
    table = to_table(observation.kind, [Arrived(observation, "gw-1", 5)], T0 + 9)
    lake = Lake(tmp_path)
    lake.commit({observation.kind: table}, writer="collector-1", now=T0)
    (path,) = lake.files(observation.kind)
    stored = pq.read_table(path)
    stored.validate(full=True)
    assert stored.schema.equals(TABLES[observation.kind], check_metadata=True)
    assert stored["sequence"].to_pylist()[0] == 5
    assert path.parent.name == "dt=2026-09-21"
    assert not list((tmp_path / "staging").rglob("*.parquet"))


@pytest.mark.parametrize("schema", [QUARANTINE, BATCH, RAW], ids=["quarantine", "batch", "raw"])
def test_what_lies_beside_the_samples_says_its_version_too(tmp_path, schema, monkeypatch):
    """Every file says it, and one of a later version than ours is refused in words."""
    name = {"batch": "batches"}.get(kind := schema.metadata[b"flarecast.kind"].decode(), kind)
    values = {pa.string(): "x", pa.binary(): b"x", UTC: T0, pa.uint32(): 1, pa.uint64(): 1}
    row = {field.name: None if field.nullable else values[field.type] for field in schema}
    (path,) = Lake(tmp_path).commit({name: pa.Table.from_pylist([row], schema=schema)}, writer="c", now=T0)
    assert pq.read_schema(path).metadata[b"flarecast.schema_version"].decode() == str(SCHEMA_VERSION)
    assert read_kept(path, schema).num_rows == 1
    monkeypatch.setattr(manifest, "SCHEMA_VERSION", SCHEMA_VERSION - 1)
    with pytest.raises(LakeError, match="update flarecast"):
        read_kept(path, schema)


def test_a_run_of_weeks_ends_when_its_last_beat_does():
    intervals = 70_000
    run = RrInterval(
        device="strap-1",
        start_utc=T0,
        source="sig-heart-rate/1",
        connection="c1",
        first_beat=0,
        rr_ms=pack_u16([RR_MAX_MS] * intervals),
    )
    table = to_table("rr_interval", [Arrived(run, "gw-1", 1)], T0)
    assert (
        table["end_utc"].cast(pa.int64()).to_pylist() == [T0 + 1000 * RR_MAX_MS * intervals] == [run.end_utc]
    )


def test_names_are_never_used_twice(tmp_path):
    table = to_table("battery", [Arrived(one_of_each()[5], "gw-1", 1)], T0)
    lake = Lake(tmp_path)
    for _ in range(3):
        lake.commit({"battery": table}, writer="collector-1", now=T0)
    assert len(lake.files("battery")) == 3


def test_a_sweep_removes_only_what_its_writer_left(tmp_path):
    for writer in ("collector-1", "collector-2"):
        folder = tmp_path / "staging" / writer
        folder.mkdir(parents=True)
        (folder / "half.parquet").write_bytes(b"PAR1")
    assert Lake(tmp_path).sweep("collector-1") == 1
    assert (tmp_path / "staging" / "collector-2" / "half.parquet").exists()


def test_a_message_is_stored_once_and_confirmed_every_time(intake):
    first = intake.sort([message(1, [beats(0, [800])])] * 2)
    assert (first.repeated, first.confirmed) == (1, {("north", "gw-1"): [1, 1]})
    intake.remember(first)
    again = intake.sort([message(1, [beats(0, [800])]), message(1, [beats(9, [700])])])
    assert again.repeated == 1
    assert [one.observation.first_beat for one in again.arrived["rr_interval"]] == [9]


def test_not_remembered_before_it_is_stored(intake):
    intake.sort([message(1, [beats(0, [800])])])
    assert intake.sort([message(1, [beats(0, [800])])]).repeated == 0


def test_every_sample_is_stored_or_refused_with_a_reason(intake):
    flush = intake.sort(
        [
            message(1, [beats(0, [800]), beats(0, [0])]),
            message(2, [steps(T0, [1, 2], device="ring-9")]),
            message(3, [steps(T0, [1, 2, 3], device="ring-2")]),
            message(4, [steps(T0, [1])], content_type="application/json"),
            Received("flarecast/v1/north/gw-1/mood", b"?", None, T0),
            Received("flarecast/v1/north/gw-1/state", b"{}", None, T0),
            Received("other/topic", b"?", None, T0),
            message(5, [steps(T0, [9])], content_type=CONTENT_TYPE),
        ]
    )
    assert [one.reason for one in flush.refused] == [
        "RR interval of 0 ms",
        "device is not enrolled at that time",
        "device is enrolled with another gateway",
        "content type is not that of a batch",
        "unknown observation kind",
        "topic is not flarecast/v1/<site>/<gateway>/<kind>",
    ]
    assert flush.received.total() == flush.stored().total() + flush.quarantined().total() == 11
    assert flush.stored() == {"rr_interval": 1, "step_count": 1}
    assert flush.confirmed == {("north", "gw-1"): [1, 2, 3, 5]}


def test_quarantine_keeps_the_payload(intake, tmp_path):
    lake = Lake(tmp_path)
    flush = intake.sort([message(2, [steps(T0, [1, 2], device="ring-9")])])
    lake.commit(flush.tables(T0), writer="collector-1", now=T0)
    assert lake.quarantined() == {"device is not enrolled at that time": 2}
    (row,) = pq.read_table(lake.quarantine_files()[0]).to_pylist()
    kept = decode_batch(row["payload"], row["kind"]).batch
    assert kept.observations == [steps(T0, [1, 2], device="ring-9")]


def test_an_enrolment_holds_for_its_interval(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text(ENROLMENT_HEADER + ROW + "p-2,north,UTC,gw-2,strap-1,2024-02-01T00:00+00:00,\n")
    enrolment = read_enrolment(path)
    january, february = 1_704_067_200_000_000, 1_706_745_600_000_000
    patients = [
        row.patient if row else None
        for row in (
            enrolment.lookup("strap-1", january - 1),
            enrolment.lookup("strap-1", january),
            enrolment.lookup("strap-1", february - 1),
            enrolment.lookup("strap-1", february),
            enrolment.lookup("strap-2", february),
        )
    ]
    assert patients == [None, "p-1", "p-1", "p-2", None]
    assert enrolment.table.schema.equals(ENROLMENT)
    assert enrolment.table.num_rows == 2


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (ROW.replace("Europe/Berlin", "Europe/Nowhere"), "e.csv:2: zone: 'Europe/Nowhere'"),
        (ROW.replace("Europe/Berlin", "../etc"), "e.csv:2: zone:"),
        (ROW.replace("strap-1", "Strap 1"), "e.csv:2: device 'Strap 1'"),
        (ROW.replace("2024-01-01T00:00Z", "2024-01-01T00:00"), "e.csv:2: valid_from_utc: '2024-01-01T00:00'"),
        (
            ROW.replace("2024-01-01T00:00Z", "0001-01-01T00:00+14:00"),
            "e.csv:2: valid_from_utc: '0001-01-01T00:00+14:00'",
        ),
        (ROW.replace("2024-02-01T00:00Z", "soon"), "e.csv:2: valid_to_utc: 'soon'"),
        (ROW.replace("2024-02-01", "2023-02-01"), "e.csv:2: valid_to_utc: not after valid_from_utc"),
        (ROW.replace(",north", ""), "e.csv:2: 6 columns, not 7"),
        (ROW + ROW.replace("p-1,", "p-2,", 1), "e.csv:3: device: strap-1 is enrolled twice at the same time"),
    ],
)
def test_a_mistake_in_the_enrolment_is_named_by_line_and_column(tmp_path, line, complaint):
    path = tmp_path / "e.csv"
    path.write_text(ENROLMENT_HEADER + line)
    with pytest.raises(EnrolmentError) as mistake:
        read_enrolment(path)
    assert complaint in str(mistake.value)


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"\xff\xfe\x00", ENROLMENT_HEADER.encode() + b'"x'])
def test_not_an_enrolment_at_all(tmp_path, content):
    path = tmp_path / "e.csv"
    path.write_bytes(content)
    with pytest.raises(EnrolmentError, match=r"e\.csv"):
        read_enrolment(path)
    with pytest.raises(EnrolmentError, match="No such file"):
        read_enrolment(tmp_path / "absent.csv")
