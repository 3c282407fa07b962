"""Questionnaire scores: golden vectors, every item or none, and the same rows in the snapshot."""

from datetime import date

import pytest

from analytics.errors import ScoringError
from analytics.features.instruments import INSTRUMENTS, read_t_scores, score
from analytics.store import publish, query
from analytics.tables import TABLES
from tests.fixtures_analytics import enrolment, utc, write

#: Instrument, answers in order of its items, score.
GOLDEN = [
    ("nrs", [0], 0),
    ("nrs", [10], 10),
    ("peg", [7, 5, 6], 6),
    ("peg", [7, 5, 5], 17 / 3),
    ("phq-2", [1, 2], 3),
    ("phq-8", [3] * 8, 24),
    ("phq-9", [0, 1, 2, 3, 0, 1, 2, 3, 1], 13),
    ("phq-9", [3] * 9, 27),
    ("gad-7", [0] * 7, 0),
    ("gad-7", [1, 2, 3, 1, 2, 3, 1], 13),
    ("pgic", [1], 1),
    ("pgic", [7], 7),
]


def answers(instrument, values):
    return dict(zip(INSTRUMENTS[instrument].items, values, strict=True))


@pytest.mark.parametrize(("instrument", "values", "wanted"), GOLDEN)
def test_golden_vectors(instrument, values, wanted):
    found = score(instrument, answers(instrument, values))
    assert (found.value, found.quality, found.version) == (wanted, None, f"{instrument}/1")


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_every_item_or_none(instrument):
    known = INSTRUMENTS[instrument]
    full = answers(instrument, [known.high] * len(known.items))
    for item in known.items:
        found = score(instrument, {name: value for name, value in full.items() if name != item})
        assert found.value is None
        assert found.quality == f"{len(known.items) - 1} of {len(known.items)} items answered"
        for wrong in (known.low - 1, known.high + 1, known.low + 0.5, float("nan"), float("inf")):
            assert score(instrument, full | {item: wrong}).value is None, wrong
    assert score(instrument, full | {"another": 99.0}).value is not None


def test_recall_windows():
    days = {name: one.recall_days for name, one in INSTRUMENTS.items()}
    assert days == {"nrs": 0, "peg": 7, "phq-2": 14, "phq-8": 14, "phq-9": 14, "gad-7": 14, "pgic": 0}
    with pytest.raises(ScoringError, match="no instrument 'phq-7'"):
        score("phq-7", {})


def test_the_snapshot_has_the_same_scores(tmp_path):
    usual = {"form_version": "1", "language": "en", "mode": "app", "respondent": "patient"}
    rows, wanted = [], {}
    for number, (instrument, values, value) in enumerate(GOLDEN[2:]):
        for item, one in answers(instrument, values).items():
            when = utc(f"2026-05-{number + 1:02}T22:30")  # the next day in Berlin
            # a first answer that was put right
            for minute, said in ((0, 0), (5, one)):
                rows.append(
                    usual
                    | {"answer_id": f"{number}-{item}-{minute}", "instrument": instrument, "item": item}
                    | {"value": float(said), "start_utc": when.replace(minute=30 + minute)}
                )
        wanted[date(2026, 5, number + 2), instrument] = (pytest.approx(value), None)
    rows.append(rows[0] | {"answer_id": "x", "start_utc": utc("2026-06-01T08:00")})
    wanted[date(2026, 6, 1), "peg"] = (None, "1 of 3 items answered")
    rows += [
        rows[0]
        | {"answer_id": f"y-{item}", "item": item, "value": 11.0, "start_utc": utc("2026-06-02T08:00")}
        for item in INSTRUMENTS["peg"].items
    ]
    wanted[date(2026, 6, 2), "peg"] = (None, "an answer is not a whole number from 0 to 10")
    files = {"pro_answer": write(tmp_path, "pro_answer", rows)}
    empty = {name: schema.empty_table() for name, schema in TABLES.items()}
    current = publish.publish(tmp_path, empty, files, clock=lambda: 1, enrolment=enrolment({}))
    found = query.run(current, "select * from pro_scores where patient = 'p-1'").to_pylist()
    assert {(row["local_date"], row["instrument"]): (row["score"], row["quality"]) for row in found} == wanted
    for row in found:
        known = INSTRUMENTS[row["instrument"]]
        assert (row["version"], row["recall_days"]) == (known.version, known.recall_days)


FORM = "form,raw_sum,t_score,standard_error,recall_days\n" + "".join(
    f"made-up-2,{total},{30.5 + total},2.5,7\n" for total in range(2, 11)
)


def test_t_scores_come_from_the_users_table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(FORM)
    rows = read_t_scores(path).to_pylist()
    assert [(row["raw_sum"], row["t_score"]) for row in rows] == [(n, 30.5 + n) for n in range(2, 11)]
    path.write_text("\ufeff" + FORM, encoding="utf-8")
    assert read_t_scores(path).to_pylist() == rows, "as a spreadsheet saves it"
    bad = tmp_path / "bad.csv"
    for line, message in [
        ("made-up-2,x,1,1,", "bad.csv line 11"),
        ("made-up-3,3,nan,1,", "line 11"),
        ("made-up-3,3,40,-1,", "line 11"),
        ("made-up-0,0,40,1,", "made-up-0 lacks raw sums"),
        ("made-up-2,4,1,1,", "made-up-2 4 stands there twice"),
        ("made-up-2,11", "line 11"),
        ("made-up-2,12,1,1,", "made-up-2 lacks raw sums"),
        ("phq-9,9,1,1,", "phq-9 has a rule of its own"),
    ]:
        bad.write_text(FORM + line + "\n")
        with pytest.raises(ScoringError, match=message):
            read_t_scores(bad)


def test_t_scores_stand_among_the_scores(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(FORM)
    said = {1: [3, 4], 2: [3], 3: [0, 4], 4: [2, 2.5], 5: [5, 5]}
    usual = {"form_version": "1", "language": "en", "mode": "app", "respondent": "patient"}
    rows = [
        usual
        | {"answer_id": f"{day}-{item}", "instrument": "made-up-2", "item": str(item), "value": float(value)}
        | {"start_utc": utc(f"2026-05-{day:02}T10:00")}
        for day, values in said.items()
        for item, value in enumerate(values, start=1)
    ]
    files = {"pro_answer": write(tmp_path, "pro_answer", rows)}
    tables = {name: schema.empty_table() for name, schema in TABLES.items()}
    tables |= {"t_score": read_t_scores(path)}
    current = publish.publish(tmp_path, tables, files, clock=lambda: 1, enrolment=enrolment({}))
    found = query.run(current, "select * from pro_scores order by local_date").to_pylist()
    no_item = "an answer is not a whole number from 1 to 5"
    assert [(row["score"], row["recall_days"], row["quality"]) for row in found] == [
        (37.5, 7, None),
        (None, 7, "1 of 2 items answered"),
        (None, 7, no_item),
        (None, 7, no_item),
        (40.5, 7, None),
    ]
