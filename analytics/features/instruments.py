"""Questionnaire scores: published rules, one version each, no item texts.

A score needs every item in its range: nothing is prorated, imputed or guessed.
Items are known by their number in the published form ("1", "2", ...), those of PEG
by name.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa

from analytics.errors import ScoringError
from devices import units
from devices.tables import field


@dataclass(frozen=True)
class Instrument:
    """How a questionnaire is scored.

    Parameters
    ----------
    items : tuple of str
        Every one must be answered.
    low, high : float
        Range of each answer.
    rule : str
        Sum or mean of the items.
    recall_days : int
        What the questions ask about; 0: now or today.
    version : str
        Raised with every change of the rule; stands beside each score.
    """

    id: str
    items: tuple[str, ...]
    low: float
    high: float
    rule: Literal["sum", "mean"]
    recall_days: int
    version: str
    source: str


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, count + 1))


_PHQ_SOURCE: Final = "Kroenke 2001 (PHQ-9), 2003 (PHQ-2), 2009 (PHQ-8)"
_INSTRUMENTS: Final = (
    Instrument("nrs", ("pain",), 0, 10, "mean", 0, "nrs/1", "Dworkin 2005 (IMMPACT)"),
    Instrument("peg", ("pain", "enjoyment", "activity"), 0, 10, "mean", 7, "peg/1", "Krebs 2009"),
    Instrument("phq-2", _numbered(2), 0, 3, "sum", 14, "phq-2/1", _PHQ_SOURCE),
    Instrument("phq-8", _numbered(8), 0, 3, "sum", 14, "phq-8/1", _PHQ_SOURCE),
    Instrument("phq-9", _numbered(9), 0, 3, "sum", 14, "phq-9/1", _PHQ_SOURCE),
    Instrument("gad-7", _numbered(7), 0, 3, "sum", 14, "gad-7/1", "Spitzer 2006"),
    Instrument("pgic", ("change",), 1, 7, "mean", 0, "pgic/1", "Guy 1976; Farrar 2001"),
)

#: Instrument id -> how it is scored.
INSTRUMENTS: Final[dict[str, Instrument]] = {one.id: one for one in _INSTRUMENTS}


@dataclass(frozen=True)
class Score:
    """A score, or why there is none."""

    value: float | None
    version: str
    recall_days: int
    quality: str | None


def score(instrument: str, answers: Mapping[str, float]) -> Score:
    """Score of one administration.

    Parameters
    ----------
    instrument : str
        One of :data:`INSTRUMENTS`.
    answers : mapping of str to float
        Item -> answer; items the instrument does not have are not looked at.

    Raises
    ------
    ScoringError
        For an instrument that is not known.
    """
    known = INSTRUMENTS.get(instrument)
    if known is None:
        raise ScoringError(f"no instrument {instrument!r}; there are: {', '.join(INSTRUMENTS)}")
    values = [answers[item] for item in known.items if item in answers]
    fits = [known.low <= value <= known.high and value == int(value) for value in values]
    if len(values) < len(known.items):
        reason = f"{len(values)} of {len(known.items)} items answered"
    elif not all(fits):
        reason = f"an answer is not a whole number from {known.low:.0f} to {known.high:.0f}"
    else:
        total = float(sum(values))
        value = total / len(values) if known.rule == "mean" else total
        return Score(value, known.version, known.recall_days, None)
    return Score(None, known.version, known.recall_days, reason)


#: T-scores of PROMIS short forms by raw sum: the user's table, none is shipped.
T_SCORE: Final = pa.schema(
    [
        field("form", pa.string(), units.NONE, "short form, as answers name their instrument"),
        field("raw_sum", pa.int32(), units.SCORE, "sum of the answers, 1 to 5 each"),
        field("t_score", pa.float64(), units.SCORE, "T-score: 50 is the mean of the reference population"),
        field("standard_error", pa.float64(), units.SCORE, "its standard error"),
        field("recall_days", pa.int32(), "d", "days the questions ask about; null: not told", nullable=True),
    ],
    metadata={"doc": "T-scores by raw sum, as loaded"},
)
#: Answers of a PROMIS item.
T_LOW, T_HIGH = 1, 5


def read_t_scores(path: Path) -> pa.Table:
    """Rows of :data:`T_SCORE` of a CSV file with these columns; recall_days may be left out.

    A form is whole: it has every sum from all its items answered 1 to all answered 5. How many items
    it has follows from that.

    Raises
    ------
    ScoringError
        With the line, or the form, that cannot be used.
    """
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    # spreadsheets put a mark before the first name
    with path.open(newline="", encoding="utf-8-sig") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            try:
                key = row["form"], int(row["raw_sum"])
                values = [float(row[name]) for name in ("t_score", "standard_error")]
                recall = int(row["recall_days"]) if row.get("recall_days") else None
                if not all(map(isfinite, values)) or values[1] < 0 or (recall or 0) < 0:
                    raise ValueError
            except (KeyError, ValueError, TypeError) as error:
                raise ScoringError(
                    f"{path.name} line {number}: form, raw_sum, t_score, standard_error: numbers are needed"
                ) from error
            if key in rows:
                raise ScoringError(f"{path.name} line {number}: {key[0]} {key[1]} stands there twice")
            rows[key] = dict(zip(T_SCORE.names, (*key, *values, recall), strict=True))
    for form in {form for form, _ in rows}:
        sums = sorted(total for own, total in rows if own == form)
        if form in INSTRUMENTS:
            raise ScoringError(f"{path.name}: {form} has a rule of its own")
        if sums[0] < T_LOW or sums != list(range(sums[0], T_HIGH * sums[0] // T_LOW + 1)):
            raise ScoringError(f"{path.name}: {form} lacks raw sums; a form of n items has n to 5 n")
    return pa.Table.from_pylist([rows[key] for key in sorted(rows)], schema=T_SCORE)


#: Of two answers to an item on a date the later one.
_LATEST: Final = """
                select patient, (start_utc at time zone zone)::date as local_date, instrument, item, value
                from observations_pro_answer
                qualify row_number() over (
                    partition by patient, (start_utc at time zone zone)::date, instrument, item
                    order by start_utc desc, answer_id desc
                ) = 1"""


def t_score_statement() -> str:
    """Select statement like :func:`score_statement`, of the forms of a table `t_score`."""
    return f"""
        select patient, local_date, instrument, if(answered = wanted and fits, t.t_score, null) as score,
            f.recall_days, 'promis-t/1' as version,
            case
                when answered <> wanted then answered || ' of ' || wanted || ' items answered'
                when not fits then 'an answer is not a whole number from {T_LOW} to {T_HIGH}'
            end as quality
        from (
            select patient, local_date, instrument, count(*) as answered, sum(value) as total,
                bool_and(value between {T_LOW} and {T_HIGH} and value = floor(value)) as fits
            from ({_LATEST})
            group by patient, local_date, instrument
        )
        join (
            select form as instrument, min(raw_sum) as wanted, any_value(recall_days) as recall_days
            from t_score group by form
        ) f using (instrument)
        left join t_score t on t.form = instrument and t.raw_sum = total"""


def score_statement() -> str:
    """Select statement of the rows of every questionnaire, from observations_pro_answer.

    Made from :data:`INSTRUMENTS`. One row per patient, local date and instrument; of two
    answers to an item on a date the later one counts. The date is that of the zone enrolled.
    """
    scored = [one for one in _INSTRUMENTS if one.id != "nrs"]
    rules = ", ".join(
        f"('{one.id}', '{item}', {one.low:.0f}, {one.high:.0f}, {len(one.items)}, '{one.rule}', "
        f"{one.recall_days}, '{one.version}')"
        for one in scored
        for item in one.items
    )
    return f"""
        select patient, local_date, instrument,
            case when answered = wanted and fits then if(rule = 'mean', total / wanted, total) end as score,
            recall_days, version,
            case
                when answered < wanted then answered || ' of ' || wanted || ' items answered'
                when not fits then 'an answer is not a whole number from ' || low || ' to ' || high
            end as quality
        from (
            select patient, local_date, instrument, count(*) as answered, sum(value) as total,
                bool_and(value between low and high and value = floor(value)) as fits,
                any_value(low) as low, any_value(high) as high, any_value(wanted) as wanted,
                any_value(rule) as rule, any_value(recall_days) as recall_days, any_value(version) as version
            from ({_LATEST}
            ) join (values {rules}) as rules(
                instrument, item, low, high, wanted, rule, recall_days, version
            ) using (instrument, item)
            group by patient, local_date, instrument
        )"""
