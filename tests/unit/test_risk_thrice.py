"""The same nights read three times: kernel, SQL and plain Python agree to 1e-6, awkward cases too."""

import dataclasses
import json
from datetime import UTC, date, datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from analytics.risk import scores, set_based
from analytics.risk.context import CONTEXT
from analytics.risk.features import FEATURES
from analytics.risk.model import SHIPPED
from analytics.risk.scales import DEFAULT_SCALES
from tests.fixtures_analytics import patient_days
from tests.oracle_risk import STREAM, Oracle

FIRST = date(2026, 1, 5)
DAYS = 100
DATES = (13, 40, 62, 77, 99)
TOLERANCE = 1e-6
#: Every feature weighs something.
MODEL = dataclasses.replace(SHIPPED, weights={name: 0.03 + 0.01 * i for i, name in enumerate(FEATURES)})


def day(number):
    return FIRST + timedelta(days=number)


def usual(seed, missing=0.2):
    """Days of somebody with gaps and a flare now and then."""
    rng = np.random.default_rng(seed)
    flare = np.arange(DAYS) % 17 > 14
    values = {
        "steps": np.exp(rng.normal(8.5, 0.4, DAYS)),
        "tst_min": rng.normal(400, 50, DAYS),
        "waso_min": rng.normal(40, 14, DAYS),
        "midpoint_h": rng.normal(3, 0.8, DAYS),
        "resting_hr_bpm": rng.normal(62, 2, DAYS),
        "rmssd_ms": np.exp(rng.normal(3.4, 0.18, DAYS)),
        "nrs": np.clip(np.rint(rng.normal(4, 1, DAYS) + 3 * flare), 0, 10),
        "mood": np.clip(np.rint(rng.normal(4, 1.2, DAYS)), 0, 10),
    }
    columns = {
        name: [None if rng.random() < missing else float(v) for v in own] for name, own in values.items()
    }
    return columns | {"is_flare_reported": (rng.random(DAYS) < 0.03).tolist()}


def note(patient, about, first, last):
    dates = {"first_date": day(first), "last_date": None if last is None else day(last)}
    return {"patient": patient, "about": about, **dates, "recorded_utc": datetime(2026, 1, 1, tzinfo=UTC)}


def people():
    """Patient -> columns of its days, the number of its first day, and the days of its second device."""
    constant = {name: [float(5)] * DAYS for name in STREAM} | {"is_flare_reported": [False] * DAYS}
    # seven days apart is one episode, eight are two
    taps = [i % 15 in (0, 7) for i in range(DAYS)]
    # there and back without a note, a clock set forward, a zone an hour further
    moves = {40: 1800, 61: 1800, 62: 1080, 75: 1380, 77: 1500, 98: 1081, 99: 1379}
    flown = usual(14, 0.0) | {"day_minutes": [moves.get(i, 1440) for i in range(DAYS)]}
    alternating = usual(12, 0.0) | {"nrs": [None] * DAYS}
    return {
        "alternating": (alternating, 0, range(1, DAYS, 4)),
        "always-ten": (usual(1) | {"nrs": [10.0] * DAYS}, 0, ()),
        "always-zero": (usual(2) | {"nrs": [0.0] * DAYS}, 0, ()),
        "constant": (constant, 0, ()),
        "flown": (flown, 0, ()),
        "enrolled-yesterday": (usual(3), 98, ()),
        "ill": (usual(4), 0, ()),
        "medicated": (usual(5), 0, ()),
        "one-value-device": (usual(6, 0.0), 0, (62, 99)),
        "sixty-missing": (usual(7, 0.6), 0, ()),
        "swap": (usual(8), 0, range(55, DAYS)),
        "silent": ({name: [None] * DAYS for name in STREAM} | {"is_flare_reported": [False] * DAYS}, 0, ()),
        "tap-storm": (usual(9) | {"is_flare_reported": [i % 9 < 4 for i in range(DAYS)]}, 0, ()),
        "taps-alone": (usual(13) | {"nrs": [None] * DAYS, "is_flare_reported": taps}, 0, ()),
        "traveller": (usual(10), 0, ()),
        "usual": (usual(11, 0.0), 0, ()),
    }


NOTES = [
    note("traveller", "travel", 58, 66),
    note("ill", "illness", 30, 41),
    note("ill", "illness", 97, None),
    note("medicated", "medication", 45, 70),
    note("swap", "algorithm-change", 80, None),
]


def tables():
    parts = []
    for patient, (columns, first, second) in people().items():
        rows = patient_days(day(0), columns, patient=patient)
        text = "steps={0} sleep={0} hrv={0} pulse={0}"
        device = pa.array([text.format("ring-2" if i in second else "ring-1") for i in range(DAYS)])
        at = rows.schema.get_field_index("device_segment")
        parts.append(rows.set_column(at, rows.schema.field(at), device).slice(first))
    return pa.concat_tables(parts), pa.Table.from_pylist(NOTES, schema=CONTEXT)


def oracle(patient):
    columns, first, second = people()[patient]
    rows = [{name: values[i] for name, values in columns.items()} for i in range(first, DAYS)]
    breaks = {stream: [] for stream in ("steps", "sleep", "hrv", "pulse")}
    suspended = set()
    for one in NOTES:
        if one["patient"] != patient:
            continue
        low = (one["first_date"] - FIRST).days
        high = DAYS if one["last_date"] is None else (one["last_date"] - FIRST).days + 1
        if one["about"] in ("travel", "illness"):
            suspended |= {d - first for d in range(low, high)}
        else:
            for stream in ("hrv", "pulse") if one["about"] == "medication" else breaks:
                breaks[stream] += [low, high] if one["last_date"] else [low]
    segments = {
        (stream, i - first): ("ring-2" if i in second else "ring-1", sum(b <= i for b in breaks[stream]))
        for stream in breaks
        for i in range(first, DAYS)
    }
    return Oracle(rows, segments, suspended, MODEL, DEFAULT_SCALES.within_sd), first


@pytest.fixture(scope="module")
def kernel():
    rows, context = tables()
    return scores.compute(rows, day(0), day(DAYS - 1), context=context, model=MODEL)


def of(table, number):
    return {row["patient"]: row for row in table.to_pylist() if row["local_date"] == day(number)}


def close(one, other):
    if one is None or other is None:
        return one is None and other is None
    return one == other if isinstance(one, str) else abs(one - other) <= TOLERANCE


COMPARED = ("status", "risk_3d", "risk_7d", "onset_count", "onsets_expected", "deviation", "cell_count")


def assert_same(ours, theirs, where):
    for name in COMPARED:
        assert close(ours[name], theirs[name]), (where, name, ours[name], theirs[name])
    for name in ours["contributions"].keys() | theirs["contributions"].keys():
        both = ours["contributions"].get(name, 0.0), theirs["contributions"].get(name, 0.0)
        assert close(*both), (where, name, both)


@pytest.mark.parametrize("patient", people())
def test_the_kernel_is_the_plain_reading(kernel, patient):
    plain, first = oracle(patient)
    for number in DATES:
        row = of(kernel["flare_risk"], number).get(patient)
        if number < first:
            assert row is None
            continue
        found = row | {"contributions": json.loads(row["contributions"])}
        assert_same(found, plain.score(number - first), (patient, number))
        for own in kernel["baseline"].to_pylist():
            if own["patient"] == patient and own["local_date"] == day(number):
                expected = plain.deviation(own["metric"], number - first)
                got = own["baseline_count"], own["center"], own["scale"], own["z"]
                assert all(map(close, got, expected)), (patient, number, own["metric"], got, expected)


@pytest.mark.parametrize("number", DATES)
def test_the_night_in_sql_is_the_kernel(kernel, number):
    rows, context = tables()

    def between(table, first, last):
        dates = table["local_date"]
        low, high = (pa.scalar(day(n)) for n in (first, last))
        return table.filter(pc.and_(pc.greater_equal(dates, low), pc.less_equal(dates, high)))

    inputs = {
        "patient_day": between(rows, number - 48, number),
        "baseline": between(kernel["baseline"], number - 13, number - 1),
        "before": between(kernel["flare_risk"], number - 1, number - 1),
        "context": context,
    }
    with duckdb.connect() as con:
        found = set_based.night(con, day(number), inputs, model=MODEL, scales=DEFAULT_SCALES)
    ours = of(kernel["flare_risk"], number)
    theirs = {row["patient"]: row for row in found["risk"].to_pylist()}
    assert ours.keys() == theirs.keys()
    for patient, row in theirs.items():
        parts = dict(row["contributions"]) | ({"own_history": row["history"]} if row["history"] else {})
        mine = ours[patient] | {"contributions": json.loads(ours[patient]["contributions"])}
        assert_same(mine, row | {"contributions": parts}, (patient, number))
    z = {(r["patient"], r["metric"]): r["z"] for r in found["deviation"].to_pylist()}
    for own in between(kernel["baseline"], number, number).to_pylist():
        assert close(own["z"], z.get((own["patient"], own["metric"]))), (own, z)
    assert len([value for value in z.values() if value is not None]) > 0 or number == 13


def test_flares_known_in_sql_are_those_of_the_kernel_on_every_date(kernel):
    rows, _ = tables()
    ours = {(r["patient"], r["local_date"]): r for r in kernel["flare_risk"].to_pylist()}
    flares = onsets = 0
    with duckdb.connect() as con:
        con.register("patient_day", rows)
        for number in range(20, DAYS, 2):
            found = con.sql(set_based.statement("select_label"), params={"today": day(number)})
            for row in found.to_arrow_table().to_pylist():
                mine, before = (ours.get((row["patient"], day(n))) for n in (number, number - 1))
                assert row["is_flare_2"] == (mine["last_flare_date"] == day(number - 2))
                if before:
                    is_counted = before["hazard_pending"][0] is not None
                    counted = row["is_onset_3"] and row["is_observed_3"] and is_counted
                    assert counted == mine["onset_count"] - before["onset_count"]
                flares += row["is_flare_2"]
                onsets += row["is_onset_3"]
    assert flares > onsets > 10
