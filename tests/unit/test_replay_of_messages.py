"""Messages kept as they came: read again, they bring what a codec or the register had missed, once."""

import json
from datetime import date

import pyarrow.parquet as pq
import pytest

from analytics.store import warehouse
from devices.clock import DAY, SECOND
from devices.observations import StepCount
from flows.cli import main
from ingest.errors import MessageError
from ingest.lake import intake as intake_module
from ingest.lake import raw
from ingest.lake.enrolment import read_enrolment
from ingest.lake.files import RAW_MESSAGES, Lake
from ingest.lake.intake import Intake, Received
from ingest.wire import messages
from ingest.wire.messages import encode_batch, encode_observation
from tests.fixtures_ingest import T0, beats, one_of_each, stored_rows, write_enrolment


def message(sequence, observations, *, gateway="gw-1", arrived=T0):
    kind = observations[0].kind
    payload = encode_batch(sequence, T0, kind, [encode_observation(one) for one in observations])
    return Received(f"flarecast/v1/north/{gateway}/{kind}", payload, None, arrived)


def collect(lake, enrolment, received, *, now=T0):
    """What a collector's flush does."""
    flush = Intake(enrolment).sort(received)
    tables = flush.tables(now) | {RAW_MESSAGES: raw.raw_table(received)}
    lake.commit(tables, writer="collector-1", now=now)


@pytest.fixture
def enrolment(tmp_path):
    return read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1"]))


def seen(lake, enrolment, kind):
    with warehouse.connect({kind: lake.files(kind)}, enrolment.table) as con:
        return sorted(
            con.sql(f"select * exclude (received_utc) from observations_{kind}").fetchall(), key=repr
        )


def test_what_was_read_well_is_the_same_after_any_number_of_replays(tmp_path, enrolment):
    lake = Lake(tmp_path / "lake")
    everything = [message(i, [one]) for i, one in enumerate(one_of_each(), 1)]
    collect(lake, enrolment, everything)
    before = {one.kind: seen(lake, enrolment, one.kind) for one in one_of_each()}
    for _ in range(2):
        done = raw.replay(lake, enrolment, raw.raw_files(lake), now=T0 + 1)
        assert (done.messages, done.still_refused, done.released) == (len(everything), 0, 0)
    assert {kind: seen(lake, enrolment, kind) for kind in before} == before


def test_a_mended_codec_wins_over_its_former_reading_and_not_over_a_later_revision(
    tmp_path, enrolment, monkeypatch
):
    """The same slot: read wrongly at first; the slot of the second message had grown since the first."""
    lake = Lake(tmp_path / "lake")
    ring = {"device": "ring-1", "start_utc": T0, "source": "colmi/1", "period_s": 900}
    first = StepCount(**ring, counts=(12).to_bytes(2, "little") + (7).to_bytes(2, "little"))
    grown = StepCount(**ring, counts=(99).to_bytes(2, "little"))
    with monkeypatch.context() as patch:
        wrong = StepCount(**ring, counts=bytes(4))
        patch.setattr(
            intake_module,
            "decode_batch",
            lambda payload, kind: messages.Decoded(
                messages.Batch(1, 1, T0, kind, [wrong if payload == early.payload else grown]), []
            ),
        )
        early, late = message(1, [first]), message(2, [grown], arrived=T0 + DAY)
        # a message waits a little for company: it is stored after it arrived
        collect(lake, enrolment, [early], now=T0 + 2 * SECOND)
        collect(lake, enrolment, [late], now=T0 + DAY + 2 * SECOND)
    steps = [row[-1] for row in seen(lake, enrolment, "step_count")]
    assert sorted(steps) == [0, 99]
    raw.replay(lake, enrolment, raw.raw_files(lake), now=T0 + 2 * DAY)
    assert sorted(row[-1] for row in seen(lake, enrolment, "step_count")) == [7, 99]


def test_what_no_codec_could_read_comes_in_and_leaves_the_quarantine(tmp_path, enrolment, monkeypatch):
    lake = Lake(tmp_path / "lake")

    def fails(payload, kind):
        raise MessageError(f"{kind}: not understood")

    good, hopeless = message(1, [beats(0, [800, 810], gap=None)]), message(2, [one_of_each()[5]])
    broken = hopeless._replace(payload=b"\xc1")
    with monkeypatch.context() as patch:
        patch.setattr(intake_module, "decode_batch", fails)
        collect(lake, enrolment, [good, broken])
    assert not lake.files("rr_interval")
    assert len(lake.quarantined()) == 2
    done = raw.replay(lake, enrolment, raw.raw_files(lake), now=T0 + 1)
    assert (done.released, done.still_refused) == (1, 1)
    assert len(lake.quarantined()) == 1
    assert len(seen(lake, enrolment, "rr_interval")) == 1


def test_a_foreign_data_point_comes_in_when_its_wearable_is_enrolled(tmp_path, enrolment):
    """And a wrong one stays, whatever is enrolled."""
    lake = Lake(tmp_path / "lake")
    rate = {
        "header": {
            "uuid": "0d6e1f3c-8a51-4c5e-9d1b-6e0c2f4a7b10",
            "schema_id": {"namespace": "omh", "name": "heart-rate", "version": "2.0"},
            "source_creation_date_time": "2026-09-21T09:00:05Z",
        },
        "body": {
            "heart_rate": {"value": 72, "unit": "beats/min"},
            "effective_time_frame": {"date_time": "2026-09-21T09:00:00Z"},
        },
    }
    wrong = {**rate, "body": {**rate["body"], "heart_rate": {"value": 72, "unit": "Hz"}}}
    payload = json.dumps([rate, wrong]).encode()
    collect(lake, enrolment, [Received("flarecast/v1/north/gw-2/points/strap-2", payload, None, T0)])
    assert sum(lake.quarantined().values()) == 2
    later = read_enrolment(write_enrolment(tmp_path / "later.csv", ["gw-1", "gw-2"]))
    raw.replay(lake, later, raw.raw_files(lake), now=T0 + 1)
    assert [row["bpm"] for row in stored_rows(lake.files("heart_rate"))][:1] == [72]
    assert len(seen(lake, later, "heart_rate")) == 1
    ((reason, count),) = lake.quarantined().items()
    assert ("Hz" in reason, count) == (True, 1)


def test_days_and_gateways_are_chosen_and_old_messages_forgotten(tmp_path, enrolment):
    lake = Lake(tmp_path / "lake")
    for day in range(4):
        one = message(day + 1, [beats(0, [800], gap=None)], arrived=T0 + day * DAY)
        collect(lake, enrolment, [one], now=T0 + day * DAY)
    days = [date.fromisoformat(path.parent.name[3:]) for path in raw.raw_files(lake)]
    assert len(days) == 4
    assert raw.raw_files(lake, days[1], days[2]) == raw.raw_files(lake)[1:3]
    nobody = raw.replay(lake, enrolment, raw.raw_files(lake), now=T0, gateway="gw-9")
    assert nobody.messages == 0
    assert raw.forget(lake, before=raw.keep_since(T0 + 3 * DAY, 2)) == 1
    assert raw.raw_files(lake, days[1]) == raw.raw_files(lake)
    assert pq.read_table(raw.raw_files(lake)[0]).num_rows == 1


def test_the_command(tmp_path, capsys):
    home = tmp_path / "home"
    home.mkdir()
    enrolment = read_enrolment(write_enrolment(home / "enrolment.csv", ["gw-1"]))
    collect(Lake(home / "lake"), enrolment, [message(1, [beats(0, [800, 810], gap=None)])])
    assert main(["lake", "replay", "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["messages"] == 1
    assert main(["lake", "replay", "--home", str(home), "--from", "2030-01-01"]) == 0
    assert "0 messages of 0 files" in capsys.readouterr().out
    for wrong in ("yesterday", "0026-11-24"):
        with pytest.raises(SystemExit):
            main(["lake", "replay", "--home", str(home), "--from", wrong])
        assert f"'{wrong}' is not a date" in capsys.readouterr().err
    assert main(["lake", "replay", "--home", str(home), "--gateway", "gw-1"]) == 0
    assert main(["lake", "replay", "--home", str(home), "--gateway", "nobody"]) == 2
    assert "no gateway nobody is known" in capsys.readouterr().err
