"""Steps and wear of three real people: minute sums, and the vendor's heart-rate wear minutes."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analytics.features import days
from analytics.features.activity import vendor_disagreement
from analytics.store import warehouse
from devices.tables import TABLES, UTC
from tests.fixtures_analytics import enrolment


@pytest.fixture(scope="module")
def people(real_data):
    truth = pq.read_table(real_data / "steps" / "actiwearcheck_days.parquet").sort_by("date_local")
    return truth, pq.read_table(real_data / "steps" / "actiwearcheck_minutes.parquet")


def lake_file(folder, minutes, person):
    """The person's minutes as a lake file; their clock is that of Japan."""
    own = minutes.filter(pc.equal(minutes["person"], person))
    start = pc.assume_timezone(own["minute_local"].cast(pa.timestamp("us")), "Asia/Tokyo").cast(UTC)
    count = own.num_rows
    columns = {
        "device": [f"band-{person}"] * count,
        "start_utc": start,
        "gateway": ["gw-1"] * count,
        "sequence": [1] * count,
        "received_utc": start,
        "source": ["vendor/1"] * count,
        "end_utc": pc.add(start, pa.scalar(timedelta(minutes=1), pa.duration("us"))),
        "steps": own["steps"],
    }
    schema = TABLES["step_count"]
    path = folder / f"{person}.parquet"
    table = pa.table({name: columns[name] for name in schema.names}).cast(schema)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("person", ["name1", "name4", "name5"])
def test_steps_and_wear(people, person, tmp_path, capsys):
    truth, minutes = people
    truth = truth.filter(pc.equal(truth["person"], person))
    dates = truth["date_local"].to_pylist()
    path = lake_file(tmp_path, minutes, person)
    enrolled = enrolment({"patient": person, "device": f"band-{person}", "zone": "Asia/Tokyo"})
    with warehouse.connect({"step_count": [path]}, enrolled) as con:
        found = days.compute(con, dates[0], dates[-1])["patient_day"]
    rows = {row["local_date"]: row for row in found.to_pylist()}
    own = minutes.filter(pc.equal(minutes["person"], person))
    sums: dict = {}
    for moment, steps in zip(own["minute_local"].to_pylist(), own["steps"].to_pylist(), strict=True):
        sums[moment.date()] = sums.get(moment.date(), 0) + steps
    # every valid day has exactly the sum of its minutes
    for day in dates:
        if rows[day]["steps"] is not None:
            assert rows[day]["steps"] == sums[day]
    by_pulse = truth["hr_wear_min"].to_numpy()
    worn = np.array([rows[day]["wear_min"] for day in dates])
    is_valid, really = worn >= 600, by_pulse >= 600
    with capsys.disabled():
        print(
            f"\n{person}: {len(dates)} days, valid by both {int((is_valid & really).sum())}, by neither "
            f"{int((~is_valid & ~really).sum())}, by steps alone {int((is_valid & ~really).sum())}, by heart "
            f"rate alone {int((~is_valid & really).sum())}, agreement {np.mean(is_valid == really):.0%}, "
            f"median difference {np.median(worn - by_pulse):.0f} min"
        )
    assert np.mean(is_valid == really) >= 0.92
    # a day without a pulse is not called worn for lying still; steps without a pulse cannot do better
    assert not is_valid[(by_pulse == 0) & np.array([sums[day] == 0 for day in dates])].any()
    vendor = truth["vendor_daily_steps"].to_numpy().astype(float)
    difference, is_reported = vendor_disagreement([sums[day] for day in dates], vendor)
    reported = {"name1": 2, "name4": 0, "name5": 0}[person]
    assert int(is_reported.sum()) == reported
    assert np.abs(difference).max() == {"name1": 13_952, "name4": 21, "name5": 26}[person]
