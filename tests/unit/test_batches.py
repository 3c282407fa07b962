"""Clocks and zones of every message: recorded with it, over days of 23 and 25 hours."""

from collections import Counter
from datetime import date
from zoneinfo import ZoneInfo

import msgspec
import pyarrow.parquet as pq
import pytest

from devices.clock import DAY, HOUR, MINUTE, SECOND, day_bounds, from_utc, local_date
from devices.tables import BATCH
from flows.cli import main
from ingest.edge.spool import Spool
from ingest.errors import MessageError
from ingest.lake.batches import batch_rows, batch_table, merge_batches
from ingest.lake.enrolment import read_enrolment
from ingest.lake.files import BATCHES, Lake
from ingest.lake.intake import Intake, Received
from ingest.wire.messages import (
    Batch,
    WearableState,
    decode_batch,
    encode_batch,
    encode_observation,
)
from tests.fixtures_ingest import ENROLMENT_HEADER, T0, beats, steps, stored_rows, write_enrolment

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def enrolment(tmp_path):
    return read_enrolment(write_enrolment(tmp_path / "enrolment.csv", ["gw-1"]))


def through(spool, enrolment, lake, *, now):
    """From the spool's messages to the lake's files."""
    intake = Intake(enrolment)
    topic = "flarecast/v1/north/gw-1/{}".format
    received = [Received(topic(m.kind), m.payload, None, now) for m in spool.pending()]
    flush = intake.sort(received)
    lake.commit(flush.tables(now), writer="collector-1", now=now)
    # delivered again it is not recorded again
    intake.remember(flush)
    assert intake.sort(received).batches == []
    return stored_rows(lake.batch_files())


def test_device_clock_gateway_clock_and_zone_of_every_message(tmp_path, enrolment):
    """A ring three hours ahead, a watch 1.5 s behind, a band without a clock, a gateway an hour slow."""
    gateway_now = T0 - HOUR
    spool = Spool(tmp_path / "s.db", clock=lambda: gateway_now, key=bytes(32))
    found = {"ring-1/clock-offset-s": 7200, "ring-1/clock-offset-found-s": 7200 + 3 * 3600}
    spool.append([steps(T0 - 2 * HOUR, [1, 2])], cursors=found)
    watch = {"strap-1/clock-offset-s": 3600, "strap-1/clock-drift-ms": -1500}
    spool.append([steps(T0 - 3 * HOUR, [3], device="strap-1")], cursors=watch)
    spool.append([beats(0, [800], device="band-9", start_utc=T0 - HOUR)])
    spool.note_firmware("band-9", "2.1.0")
    spool.seal(force=True)
    lake = Lake(tmp_path / "lake")
    rows = through(spool, enrolment, lake, now=T0)
    (path,) = lake.batch_files()
    assert path.parent.name == "dt=2026-09-21"
    assert pq.read_schema(path).equals(BATCH, check_metadata=True)
    known = {
        row["device"]: tuple(
            row[name] for name in ("device_offset_s", "device_drift_ms", "zone", "utc_offset_min", "firmware")
        )
        for row in rows
    }
    assert known == {
        "ring-1": (7200, 3 * 3600 * 1000, "Europe/Berlin", 120, None),
        "strap-1": (3600, -1500, "Europe/Berlin", 120, None),
        "band-9": (None, None, None, None, "2.1.0"),
    }
    assert {(row["gateway"], row["kind"]) for row in rows} == {
        ("gw-1", "step_count"),
        ("gw-1", "rr_interval"),
    }
    assert {(row["sealed_utc"], row["received_utc"]) for row in rows} == {(from_utc(T0 - HOUR), from_utc(T0))}
    assert len({row["sequence"] for row in rows}) == 2
    spool.close()


@pytest.mark.parametrize(
    ("day", "hours", "offsets"),
    [(date(2026, 3, 29), 23, {60, 120}), (date(2026, 10, 25), 25, {120, 60}), (date(2026, 6, 1), 24, {120})],
)
def test_days_of_23_and_25_hours_arrive_whole(tmp_path, enrolment, day, hours, offsets):
    start, end = day_bounds(day, BERLIN)
    assert end - start == hours * HOUR
    spool = Spool(tmp_path / "s.db", clock=lambda: end + HOUR)
    minutes = range(start - 30 * MINUTE, end + 30 * MINUTE, MINUTE)
    for first in minutes[::15]:
        spool.append([steps(first, [first // MINUTE % 60] * 15)])
        spool.seal(force=True)
    lake = Lake(tmp_path / "lake")
    rows = through(spool, enrolment, lake, now=end + HOUR)
    stored = stored_rows(lake.files("step_count"))
    at = [round(row["start_utc"].timestamp()) * SECOND for row in stored]
    assert sorted(at) == list(minutes)
    by_date = Counter(local_date(start_utc, BERLIN) for start_utc in at)
    assert by_date[day] == hours * 60
    inside = {
        row["utc_offset_min"] for row in rows if row["sealed_utc"] is not None and row["zone"] == BERLIN.key
    }
    assert inside == offsets
    spool.close()


def test_firmware_is_said_when_it_changes_and_once_a_day(tmp_path):
    now = [T0]
    spool = Spool(tmp_path / "s.db", clock=lambda: now[0])

    def said(minute):
        spool.append([steps(T0 + minute * MINUTE, [1])])
        spool.seal(force=True)
        (message,) = spool.pending(after=seen[-1])
        seen.append(message.sequence)
        return [one.firmware for one in decode_batch(message.payload, message.kind).batch.wearables]

    seen = [0]
    assert said(0) == []
    spool.note_firmware("ring-1", "R02-1.0")
    assert [said(1), said(2)] == [["R02-1.0"], []]
    # stated again at every visit
    spool.note_firmware("ring-1", "R02-1.0")
    assert said(3) == []
    spool.note_firmware("ring-1", "R02-1.1")
    assert [said(4), said(5)] == [["R02-1.1"], []]
    now[0] += DAY
    assert [said(6), said(7)] == [["R02-1.1"], []]
    spool.close()


def test_the_offset_changes_with_the_hour_that_is_repeated(enrolment):
    """02:30 comes twice on 25 October; before and after 01:00 UTC."""
    turn = day_bounds(date(2026, 10, 25), BERLIN)[0] + 3 * HOUR
    for start, offset in ((turn - MINUTE, 120), (turn, 60)):
        batch = Batch(1, 1, T0, "step_count", [steps(start, [1])])
        (row,) = batch_rows("gw-1", batch, [enrolment.lookup("ring-1", start)])
        assert row.utc_offset_min == offset


def test_a_wearable_without_a_clock_costs_no_byte():
    encoded = [encode_observation(beats(0, [800]))]
    plain = encode_batch(1, T0, "rr_interval", encoded)
    assert len(msgspec.msgpack.decode(plain)) == 5
    assert decode_batch(plain, "rr_interval").batch.wearables == []
    clocks = [WearableState("strap-1", 7200, -3)]
    timed = encode_batch(1, T0, "rr_interval", encoded, clocks)
    assert len(timed) - len(plain) == 15
    assert decode_batch(timed, "rr_interval").batch.wearables == clocks
    # beside an observation that is refused the clocks stay
    bad = encode_batch(1, T0, "rr_interval", [*encoded, encode_observation(beats(0, [0]))], clocks)
    decoded = decode_batch(bad, "rr_interval")
    assert (len(decoded.rejected), decoded.batch.wearables) == (1, clocks)


@pytest.mark.parametrize("clocks", [[["strap-1", 2**40]], [["strap-1", 1, 2**60]], [[7]], 7])
def test_a_clock_that_is_none_is_a_reason(clocks):
    raws = [msgspec.Raw(encode_observation(beats(0, [800])))]
    payload = msgspec.msgpack.encode((1, 1, T0, "rr_interval", raws, clocks))
    with pytest.raises(MessageError, match="not a batch: Expected"):
        decode_batch(payload, "rr_interval")


def land(lake, enrolment, sequence, *, now):
    batch = Batch(1, sequence, T0, "step_count", [steps(T0, [1])])
    table = batch_table(batch_rows("gw-1", batch, [enrolment.lookup("ring-1", T0)]), now)
    lake.commit({BATCHES: table}, writer="collector-1", now=now)


def test_days_that_are_over_become_one_file_and_lose_no_row(tmp_path, enrolment):
    lake = Lake(tmp_path / "lake")
    for sequence in (3, 1, 2):
        land(lake, enrolment, sequence, now=T0)
        land(lake, enrolment, sequence, now=T0 + DAY)
    assert merge_batches(lake, T0 + DAY) == 3
    old, *today = lake.batch_files()
    assert len(today) == 3
    assert pq.read_table(old)["sequence"].to_pylist() == [1, 2, 3]
    assert pq.read_schema(old).equals(BATCH, check_metadata=True)
    # killed before the old files were gone: each row is there once after the next run
    land(lake, enrolment, 2, now=T0)
    assert merge_batches(lake, T0 + DAY) == 2
    assert pq.read_table(lake.batch_files()[0])["sequence"].to_pylist() == [1, 2, 3]
    assert merge_batches(lake, T0 + DAY) == 0
    assert len(stored_rows(lake.batch_files())) == 6


def test_the_nightly_compaction_merges_them(tmp_path, enrolment):
    lake = Lake(tmp_path / "lake")
    land(lake, enrolment, 1, now=T0)
    land(lake, enrolment, 2, now=T0)
    (tmp_path / "enrolment.csv").write_text(ENROLMENT_HEADER)
    assert main(["lake", "compact", "--home", str(tmp_path)]) == 0
    assert len(lake.batch_files()) == 1
