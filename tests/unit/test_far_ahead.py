"""Samples from the future: up to a day ahead they are stored, beyond they wait until the clocks are known."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from devices.clock import DAY, HOUR
from devices.tables import TABLES
from flows.cli import main
from flows.clinic import Clinic
from flows.lake import command as lake_command
from ingest.lake.compaction_release import release
from ingest.lake.importing import import_file
from ingest.lake.intake import Intake, Received
from ingest.lake.quarantine import AHEAD_OF_ARRIVAL
from ingest.wire.messages import encode_batch, encode_observation
from tests.fixtures_ingest import T0, steps, stored_rows, write_enrolment

ARRIVED = T0


@pytest.fixture
def clinic(tmp_path):
    write_enrolment(tmp_path / "enrolment.csv", ["gw-1"])
    return Clinic(tmp_path)


def sort(clinic, starts, *, device="ring-1"):
    encoded = [encode_observation(steps(start, [1, 2], device=device)) for start in starts]
    payload = encode_batch(1, T0, "step_count", encoded)
    intake = Intake(clinic.enrolment())
    flush = intake.sort([Received("flarecast/v1/north/gw-1/step_count", payload, None, ARRIVED)])
    clinic.lake.commit(flush.tables(ARRIVED), writer="collector-1", now=ARRIVED)
    return flush


def test_a_zone_that_is_wrong_is_stored_a_date_that_is_not_waits(clinic):
    """14 hours is the farthest zone; the doctor names what is ahead by less than a day."""
    flush = sort(clinic, [ARRIVED - DAY, ARRIVED + 3 * HOUR, ARRIVED + DAY, ARRIVED + DAY + 1])
    assert flush.confirmed == {("north", "gw-1"): [1]}
    assert [one.observation.start_utc for one in flush.arrived["step_count"]] == [
        ARRIVED - DAY,
        ARRIVED + 3 * HOUR,
        ARRIVED + DAY,
    ]
    assert clinic.lake.quarantined() == {AHEAD_OF_ARRIVAL: 2}
    # what nobody is enrolled for is ahead all the same: enrolling must not release it
    sort(clinic, [ARRIVED + 9 * DAY], device="ring-9")
    assert clinic.lake.quarantined() == {AHEAD_OF_ARRIVAL: 4}


def test_released_only_where_it_is_asked_for_and_past(clinic):
    sort(clinic, [ARRIVED + 2 * DAY, ARRIVED + 5 * DAY])
    enrolment = clinic.enrolment()
    later = ARRIVED + 3 * DAY
    assert release(clinic.lake, enrolment, clock=lambda: later) == 0
    assert release(clinic.lake, enrolment, clock=lambda: ARRIVED, has_ahead=True) == 0
    assert release(clinic.lake, enrolment, clock=lambda: later, has_ahead=True) == 2
    rows = stored_rows(clinic.lake.files("step_count"))
    assert len(rows) == 2
    # it was received when it was refused
    assert {row["received_utc"].timestamp() * 1e6 for row in rows} == {ARRIVED}
    assert clinic.lake.quarantined() == {AHEAD_OF_ARRIVAL: 2}


def test_the_command_asks_for_it(clinic, capsys, monkeypatch):
    sort(clinic, [ARRIVED + 2 * DAY])
    monkeypatch.setattr(lake_command, "system_clock", lambda: ARRIVED + 4 * DAY)
    home = ["--home", str(clinic.home)]
    assert main(["lake", "release", *home]) == 0
    assert "0 samples released" in capsys.readouterr().out
    assert main(["lake", "release", "--ahead", *home]) == 0
    assert "2 samples released" in capsys.readouterr().out


def test_an_import_is_judged_by_the_same_rule(clinic, tmp_path):
    path = tmp_path / "s.parquet"
    rows = [
        {
            "device": "ring-1",
            "start_utc": start,
            "end_utc": start + 60_000_000,
            "gateway": "gw-1",
            "sequence": 1,
            "received_utc": ARRIVED,
            "source": "x/1",
            "steps": 3,
        }
        for start in (ARRIVED + 3 * HOUR, ARRIVED + 2 * DAY)
    ]
    schema = TABLES["step_count"]
    table = pa.table({f.name: pa.array([row[f.name] for row in rows], type=f.type) for f in schema}, schema)
    pq.write_table(table, path)
    done = import_file(clinic.lake, clinic.enrolment(), path, "step_count", clock=lambda: ARRIVED)
    assert (done.samples, done.refused) == (1, 1)
    assert clinic.lake.quarantined() == {AHEAD_OF_ARRIVAL: 1}
