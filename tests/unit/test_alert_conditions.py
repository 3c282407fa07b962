"""Conditions by arrays: what stepping every patient by plain words gives, in any order of nights."""

import random
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from alerts.engine.columns import NightColumns
from alerts.engine.evaluate import Band, event_time, fold
from alerts.engine.journal import Journal
from alerts.engine.night import Surroundings, run_night
from alerts.engine.silence import USUAL_NIGHTS, Wear, band_of_silence
from alerts.rules.pack import read_pack_text
from alerts.store import readings
from alerts.store.erasing import erase_patient
from analytics.tables import FLARE_RISK, PATIENT_DAY, TREND
from devices.clock import DAY
from tests.fixtures_alerts import NIGHT, Hands

HEAD = """
[[route]]
id = "team"
channels = ["push"]
step = [{ to = "inbox:it" }]
"""
RULE = """
[[rule]]
id = "{id}"
version = 1
title = "x"
severity = "low"
route = "team"
{words}
[[rule.example]]
name = "nothing"
nights = [{{}}]
want = ["{want}"]
"""
WORDS = {
    "low": 'kind = "threshold"\ncolumn = "flare_risk.deviation"\nagainst = "personal"\nenter = "<= -1.0"\n'
    'exit = "> -0.5"\nfor = "1d"\nexit_for = "2d"\nmax_gap = "2d"\n'
    'requires = { "flare_risk.cell_count" = ">= 5" }',
    "both": 'kind = "composite"\nleast = 2\nfor = "1d"\npart = [\n'
    '{ column = "flare_risk.deviation", enter = "<= -1.0", exit = "> -0.5" },\n'
    '{ column = "patient_day.nrs", enter = ">= 6", exit = "< 5" }]',
    "said": 'kind = "reported"\ncolumn = "patient_day.is_flare_reported"\nquiet_days = 2\nsilent_days = 4',
    "fewer": 'kind = "trend"\nmetric = "steps"\nenter = "<= -20"\nexit = "> -10"',
    "risky": 'kind = "risk"\nbudget = 5',
    "silent": 'kind = "no-data"\npresent = ["patient_day.nrs"]\nleast = "1d"\ntell = "list"',
    "lost": 'kind = "no-data"\npresent = ["patient_day.zone"]\nleast = "2d"\ntell = "staff"',
}
OVERRIDES = """
[[override]]
patient = "p-03"
rule = "low"
reason = "x"
author = "x"
until = 2026-12-01
enter = "<= -0.5"
exit = "> 0"
[[override]]
patient = "p-04"
rule = "low"
reason = "x"
author = "x"
until = 2027-12-01
is_off = true
"""
TEXT = (
    HEAD
    + OVERRIDES
    + "".join(
        RULE.format(id=name, words=words, want="stay" if "no-data" in words else "no-data")
        for name, words in WORDS.items()
    )
)
PACK = read_pack_text(TEXT, "test.toml")
PATIENTS = [f"p-{number:02d}" for number in range(12)]


def drawn(chance):
    """One patient's night, by name of the column."""
    return {
        "deviation": chance.choice([None, float("nan"), -1.5, -1.0, -0.7, -0.5, -0.4, 0.2]),
        "cell_count": chance.choice([None, 4, 5, 9, 9, 9]),
        "alert_load_7d": chance.choice([None, 4.0, 5.0, 5.5]),
        "nrs": chance.choice([None, None, 4.0, 5.0, 6.0, 8.0]),
        "is_flare_reported": chance.choice([None, False, False, True]),
        "zone": chance.choice([None, None, "UTC"]),
        "change_pct": chance.choice([None, -30.0, -20.0, -15.0, 0.0]),
        "change_high_pct": chance.choice([None, -5.0, 0.0, 5.0]),
    }


def as_tables(day, rows):
    def table(schema, names, **more):
        cells = [
            {"patient": patient, "local_date": day, **{name: row[name] for name in names}, **more}
            for patient, row in rows.items()
        ]
        return pa.Table.from_pylist(cells, schema=schema)

    other = {"patient": "p-99", "local_date": day - timedelta(days=1)}
    days = table(PATIENT_DAY, ("nrs", "is_flare_reported", "zone"))
    return {
        "patient_day": pa.concat_tables([days, pa.Table.from_pylist([other], schema=PATIENT_DAY)]),
        "flare_risk": table(FLARE_RISK, ("deviation", "cell_count", "alert_load_7d")),
        "trend": pa.concat_tables(
            [
                table(TREND, (), metric="tst_min", change_pct=-90.0, change_high_pct=-80.0),
                table(TREND, ("change_pct", "change_high_pct"), metric="steps"),
            ]
        ),
    }


def lies(value, enter, leave):
    if value is None or value != value:
        return Band.ABSENT
    return Band.BREACH if enter(value) else Band.CLEAR if leave(value) else Band.BETWEEN


def plain_band(name, patient, day, row):
    """The words of the rules above, once more."""
    deviation, nrs, change = row["deviation"], row["nrs"], row["change_pct"]
    if name == "low":
        if (row["cell_count"] or 0) < 5 or patient == "p-04":
            return Band.ABSENT
        if patient == "p-03" and (day.year, day.month, day.day) <= (2026, 12, 1):
            return lies(deviation, lambda v: v <= -0.5, lambda v: v > 0)
        return lies(deviation, lambda v: v <= -1, lambda v: v > -0.5)
    if name == "both":
        parts = [
            lies(deviation, lambda v: v <= -1, lambda v: v > -0.5),
            lies(nrs, lambda v: v >= 6, lambda v: v < 5),
        ]
        if parts == [Band.BREACH, Band.BREACH]:
            return Band.BREACH
        if Band.CLEAR in parts:
            return Band.CLEAR
        # both could be breached
        return Band.ABSENT if Band.BETWEEN not in parts else Band.BETWEEN
    if name == "said":
        return {None: Band.ABSENT, True: Band.BREACH, False: Band.CLEAR}[row["is_flare_reported"]]
    if name == "fewer":
        band = lies(change, lambda v: v <= -20, lambda v: v > -10)
        is_sure = (row["change_high_pct"] or 0) < 0
        return Band.BETWEEN if band is Band.BREACH and not is_sure else band
    if row["alert_load_7d"] is None:
        return Band.ABSENT
    return Band.BREACH if row["alert_load_7d"] <= 5 else Band.CLEAR


def plain_silence(rule, has_data, history, at, status):
    """By the nights known when the night is judged."""
    nights = {t: band for t, band in history.items() if at - USUAL_NIGHTS * DAY <= t < at}
    nights = {t: band for t, band in nights.items() if band is not Band.ABSENT}
    present = [t for t, band in nights.items() if band is Band.CLEAR]
    silent = sum(t > max(present) for t in nights) if present else len(nights)
    known = Wear(len(nights), len(present), silent)
    return band_of_silence(rule, has_data, known, is_suspended=status == "paused")


@pytest.mark.parametrize("seed", range(3))
def test_conditions_are_those_of_everybody_stepped_one_by_one(tmp_path, seed):
    chance = random.Random(seed)
    rules = {rule.id: rule for rule in PACK.rule}
    histories = {(patient, name): {} for patient in PATIENTS for name in WORDS}
    # nights in order, with holes; some come late and some again
    numbers = sorted({7, *chance.sample(range(60), 30)})
    order = [max(0, n - chance.choice([0, 0, 0, 0, 3, 9])) for n in numbers]
    with Journal(tmp_path / "j", Hands()) as journal:
        for number in order:
            day = NIGHT + timedelta(days=number)
            at = event_time(day)
            rows = {patient: drawn(chance) for patient in PATIENTS if chance.random() < 0.9}
            statuses = {"p-05": "paused", "p-06": "withdrawn"} if number % 3 else {}
            night = run_night(journal, PACK, day, as_tables(day, rows), Surroundings(statuses))
            judged = {*rows, *statuses} - {p for p, status in statuses.items() if status == "withdrawn"}
            for patient in judged:
                row = rows.get(patient, dict.fromkeys(drawn(chance)))
                for name, rule in rules.items():
                    history = histories[patient, name]
                    if name in ("silent", "lost"):
                        has_data = row["nrs" if name == "silent" else "zone"] is not None
                        band = plain_silence(rule, has_data, history, at, statuses.get(patient))
                    else:
                        band = plain_band(name, patient, day, row)
                    history[at] = band
            assert night.judged == len(judged) * len(rules)
            assert night.no_data == sum(
                histories[patient, name][at] is Band.ABSENT for patient in judged for name in rules
            )
            for name, rule in rules.items():
                folded = {p: fold(rule, histories[p, name]) for p in PATIENTS}
                wanted = {p: state for p, state in folded.items() if state.phase != "idle"}
                assert journal.conditions(name) == wanted, (number, name)


def test_a_large_clinic_is_a_byte_per_patient_rule_and_night(tmp_path):
    calm = dict.fromkeys(drawn(random.Random(0))) | {"deviation": 0.2, "cell_count": 9, "nrs": 3.0}
    rows = {f"p-{n:04d}": calm for n in range(2000)} | {"p-0007": calm | {"deviation": -1.5}}
    with Journal(tmp_path / "j", Hands()) as journal:
        run_night(journal, PACK, NIGHT, as_tables(NIGHT, rows))
        assert list(journal.conditions("low")) == ["p-0007"]
        with journal.transaction() as con:
            sizes = con.exec_driver_sql("select length(codes) from reading").scalars().all()
            assert con.exec_driver_sql("select count(*) from condition").scalar() == 1
    assert len(sizes) == len(WORDS)
    assert max(sizes) < 2000


def test_what_is_erased_is_blank_and_its_number_says_nothing_of_the_next(tmp_path):
    clear = np.array([Band.CLEAR] * 3, np.uint8)
    with Journal(tmp_path / "j", Hands()) as journal, journal.transaction() as con:
        numbers = readings.numbers_of(con, ["p-1", "p-2", "p-3"])
        readings.keep(con, "low", 0, numbers, clear)
        readings.keep(con, "low", DAY, numbers[:2], clear[:2])
        assert erase_patient(con, "p-3", utc=0, actor="x") == {"reading": 1, "subject_number": 1}
        assert erase_patient(con, "p-2", utc=0, actor="x") == {"reading": 2, "subject_number": 1}
        again = readings.numbers_of(con, ["p-1", "p-4", "p-3"])
        nights = readings.nights(con, "low", again)
    assert nights.at == [0, DAY]
    assert nights.codes.tolist() == [[Band.CLEAR, 0, 0]] * 2


def test_a_later_word_replaces_and_others_stay(tmp_path):
    with Journal(tmp_path / "j", Hands()) as journal, journal.transaction() as con:
        first = readings.numbers_of(con, ["p-2", "p-1"])
        readings.keep(con, "low", DAY, first, np.array([1, 2], np.uint8))
        both = readings.numbers_of(con, ["p-1", "p-2", "p-9"])
        readings.keep(con, "low", DAY, both[[0, 2]], np.array([3, 4], np.uint8))
        assert readings.nights(con, "low", both).of(DAY).tolist() == [3, 1, 4]
        assert readings.nights(con, "low", both, before=DAY).of(DAY).tolist() == [0, 0, 0]
        assert readings.nights(con, "other", both).at == []


def test_columns_by_the_names_of_rules():
    rows = {
        "p-2": drawn(random.Random(1)) | {"nrs": 4.0},
        "p-1": drawn(random.Random(2)) | {"change_pct": -3.0},
    }
    columns = NightColumns(as_tables(NIGHT, rows), NIGHT, {"p-3": "paused", "p-2": "withdrawn"})
    assert columns.patients == ["p-1", "p-3"]
    assert columns.numbers("trend.change_pct.steps").tolist()[:1] == [-3.0]
    assert np.isnan(columns.numbers("trend.change_pct.steps")[1])
    assert columns.value("trend.change_pct.tst_min", 0) == -90.0
    assert columns.value("trend.metric.rmssd_ms", 0) is None
    assert columns.value("baseline.z.steps", 0) is None
    assert columns.is_there("patient_day.local_date").tolist() == [True, False]
