"""Parts of a site by what is written down and what the days say, and what stands beside them on a card."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from analytics.risk.cohort import make_cohort
from analytics.risk.panel import make_panel
from analytics.risk.subgroups import Traits, completeness, onsets_by_source, subgroups, wearables_of
from devices.clock import to_utc
from flows.clinic import Clinic
from flows.night.demographics import traits_of
from ingest.lake.records import COLUMNS
from tests.fixtures_analytics import patient_days, utc

FIRST = date(2026, 1, 5)
DAYS = 60


def cohort(people=6):
    """Everybody has one flare on day 50; even numbers tap, odd ones say so by two days of pain."""
    tables = []
    for number in range(people):
        pain = [3.0 + number + i % 2 for i in range(DAYS)]
        taps = [False] * DAYS
        if number % 2:
            pain[50] = pain[51] = 10.0
        else:
            taps[50] = True
        mood = [4.0 if i % (number + 1) == 0 else None for i in range(DAYS)]
        columns = {"nrs": pain, "mood": mood, "is_flare_reported": taps}
        tables.append(patient_days(FIRST, columns, patient=f"p-{number}"))
    return make_cohort(make_panel(pa.concat_tables(tables), FIRST + timedelta(days=DAYS - 1)))


def test_age_is_that_of_the_last_day_and_who_is_not_known_is_in_no_group():
    traits = {
        "p-0": Traits(1982, "female"),
        "p-1": Traits(1981, "male"),
        "p-2": Traits(1961, "unknown"),
        "p-3": Traits(None, "female"),
        "p-9": Traits(1990, "male"),
    }
    found = {name: np.flatnonzero(who).tolist() for name, who in subgroups(cohort(), traits).items()}
    assert found["age under 45"] == [0]
    assert found["age 45 to 64"] == [1]
    assert found["age 65 and over"] == [2]
    assert found["sex female"] == [0, 3]
    assert (found["sex male"], found["sex other"]) == ([1], [])
    assert found["pain, lowest third"] == [0, 1]
    assert found["pain, highest third"] == [4, 5]


def test_work_days_and_wearables_are_groups_and_who_never_scored_is_in_no_third_of_pain():
    own = cohort()
    own.panel.values["nrs"][0] = np.nan
    traits = {
        "p-1": Traits(work=frozenset({0, 4})),
        "p-2": Traits(work=frozenset({4, 5})),
        "p-3": Traits(work=frozenset()),
        "p-4": Traits(1970),
    }
    wearables = {"p-0": "no wearable", "p-5": "heart sensor ppg"}
    found = {name: np.flatnonzero(who).tolist() for name, who in subgroups(own, traits, wearables).items()}
    assert found["works Monday to Friday"] == [1]
    assert found["works at weekends too"] == [2]
    assert found["works on no fixed days"] == [3]
    assert (found["no wearable"], found["heart sensor ppg"], found["heart sensor ecg"]) == ([0], [5], [])
    assert found["pain, lowest third"] == [1, 2]
    assert not any(0 in found[f"pain, {which} third"] for which in ("lowest", "middle", "highest"))
    assert "heart sensor ecg" not in subgroups(own, traits)


def test_where_nearly_everybody_is_alike_nobody_of_them_is_in_the_lowest_third():
    own = cohort()
    own.panel.values["nrs"][:] = 4.0
    own.panel.values["nrs"][5] = 7.0
    found = {name: np.flatnonzero(who).tolist() for name, who in subgroups(own, {}).items()}
    assert [found[f"pain, {which} third"] for which in ("lowest", "middle", "highest")] == [
        [],
        [*range(5)],
        [5],
    ]


def test_a_patient_has_the_sensor_of_most_nights_with_one():
    segments = {
        "p-0": ["hrv=a/ecg steps=b", "hrv=c/ppg", "steps=b hrv=c/ppg", *["steps=b"] * 9],
        "p-1": ["steps=b pulse=b", None],
        "p-2": [None, None],
        "p-3": ["hrv=old"],
    }
    rows = [
        {"patient": patient, "local_date": FIRST + timedelta(days=n), "device_segment": text}
        for patient, texts in segments.items()
        for n, text in enumerate(texts)
    ]
    assert wearables_of(pa.Table.from_pylist(rows)) == {
        "p-0": "heart sensor ppg",
        "p-1": "wearable without heart values",
        "p-2": "no wearable",
        "p-3": "heart sensor unknown",
    }


def test_what_is_there_is_a_share_of_the_days_that_are():
    found = completeness(cohort(), 30, 49)
    assert (found["nrs"], found["steps"], found["patient said something"]) == (1, 0, 1)
    assert found["mood"] == pytest.approx(
        np.mean([sum(i % (n + 1) == 0 for i in range(30, 50)) / 20 for n in range(6)])
    )
    assert (found["scored"], found["scoring suspended"]) == (1, 0)
    assert np.isnan(completeness(cohort(), 70, 80)["nrs"])


def test_onsets_stand_under_what_they_were_known_by_with_the_alerts_before_them():
    own = cohort()
    alerts = np.zeros(own.panel.shape, np.bool_)
    alerts[:3, 45] = True
    alerts[3, 41] = True
    assert onsets_by_source(own, alerts, 30, 55) == {"nrs": (3, 1), "tap": (3, 2), "nrs and tap": (0, 0)}
    assert onsets_by_source(own, alerts, 46, 55)["tap"] == (3, 0)


def test_the_last_word_of_a_record_counts_and_what_was_written_later_does_not(tmp_path):
    rows = [
        ("r-1", '{"birth_year":1970,"sex":"female"}', "2026-01-01T00:00:00+00:00"),
        ("r-1", '{"birth_year":1971,"sex":"female"}', "2026-02-01T00:00:00+00:00"),
        ("r-1", '{"birth_year":1972,"sex":"female"}', "2026-04-01T00:00:00+00:00"),
    ]
    work = ("r-2", '{"weekdays":["mon","sun"]}', "2026-01-02T00:00:00+00:00")
    lines = [
        f"{record},p-1,{kind},2026-01-01T00:00:00+00:00,,{known},nurse-1,"
        + '"'
        + said.replace('"', '""')
        + '"'
        for record, said, known in [*rows, work]
        for kind in ["work_days" if record == "r-2" else "demographics"]
    ]
    clinic = Clinic(tmp_path)
    assert traits_of(clinic, to_utc(utc("2026-03-01T00:00"))) == {}
    clinic.records_path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    assert traits_of(clinic, to_utc(utc("2026-03-01T00:00"))) == {
        "p-1": Traits(1971, "female", frozenset({0, 6}))
    }
