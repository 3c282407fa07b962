"""`flarecast evaluate lifesnaps`: the same figures on real people who were asked whether they were tired.

Tired stands for a flare, because that is what there is: yes/no, no pain. Onset is tired after the three
days before were reported and untired. Features without pain and mood. Weights are never fitted on the people
they are judged on: five folds of people.
"""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analytics.metrics import METRICS
from analytics.risk.alert_measures import theta_for
from analytics.risk.arrays import EPOCH, STREAMS, Floats, Marks
from analytics.risk.baseline import deviations
from analytics.risk.cohort import Cohort
from analytics.risk.evaluation import Evaluation, Forecast, evaluate
from analytics.risk.features import features
from analytics.risk.fit import fit_hazard, rate_prior, recalibrate
from analytics.risk.labels import flare_labels
from analytics.risk.landmarks import make_landmarks
from analytics.risk.model import HORIZON, SHIPPED, Model
from analytics.risk.panel import Panel
from analytics.risk.site_fit import DEFAULT_BUDGET, risk_matrix
from analytics.risk.status import standing
from flows.errors import UserError

FOLDS = 5
QUIET_DAYS = 3
_COLUMNS = {
    "steps": "steps",
    "tst_min": "minutesAsleep",
    "waso_min": "minutesAwake",
    "resting_hr_bpm": "resting_hr",
    "rmssd_ms": "rmssd",
}
_OUTCOME = "TIRED"


def evaluate_lifesnaps(path: Path, *, seed: int, draws: int) -> dict[str, Evaluation]:
    """Title -> figures, for the shipped weights and for weights fitted on other people."""
    cohort = lifesnaps_cohort(path)
    last = cohort.panel.shape[1] - 1
    return {
        title: evaluate(cohort, _by_folds(cohort, is_refit, seed), 0, last, draws=draws)
        for title, is_refit in (
            ("shipped weights, intercept from other people", False),
            ("weights refitted on other people (prior SD .10)", True),
        )
    }


def lifesnaps_cohort(path: Path) -> Cohort:
    """The file as a cohort.

    Raises
    ------
    UserError
        The file cannot be read, or a column is missing or holds something else.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    missing = {"id", "date", _OUTCOME, *_COLUMNS.values()} - set(table.column_names)
    if missing:
        raise UserError(f"{path}: no column {', '.join(sorted(missing))}")
    try:
        panel, tired = _panel(table)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: its columns are not those of LifeSnaps ({error})") from None
    reported, is_tired = ~np.isnan(tired), tired == 1
    untired = reported & ~is_tired
    quiet = np.ones(untired.shape, np.bool_)
    for lag in range(QUIET_DAYS):
        quiet[:, lag:] &= untired[:, : untired.shape[1] - lag]
        quiet[:, :lag] = False
    onset = np.zeros(quiet.shape, np.bool_)
    onset[:, 1:] = quiet[:, :-1] & is_tired[:, 1:]
    labels = replace(
        flare_labels(panel),
        is_flare_day=is_tired,
        is_tapped=np.zeros(quiet.shape, np.bool_),
        is_onset=onset,
        is_at_risk=quiet,
    )
    against = deviations(panel)
    found = features(panel, labels, against)
    stand = standing(panel, labels, against, SHIPPED)
    counted = quiet & stand.is_sufficient
    rows = make_landmarks(found, onset, counted, reported, known_after=0)
    return Cohort(panel, labels, against, found, stand.is_sufficient, counted, counted, reported, rows)


def _panel(table: pa.Table) -> tuple[Panel, Floats]:
    ids = table["id"].to_numpy()
    patients = sorted(set(ids.tolist()))
    day = np.array([(date.fromisoformat(text) - EPOCH).days for text in table["date"].to_pylist()])
    first = int(day.min())
    row = np.searchsorted(patients, ids)
    shape = len(patients), int(day.max()) - first + 1

    def spread(name: str) -> Floats:
        matrix = np.full(shape, np.nan)
        matrix[row, day - first] = table[name].to_numpy().astype(np.float64)
        return matrix

    values = {metric: np.full(shape, np.nan) for metric in METRICS}
    values |= {metric: spread(column) for metric, column in _COLUMNS.items()}
    # the file has zeros where nothing was measured
    values = {metric: np.where(own > 0, own, np.nan) for metric, own in values.items()}
    values["tst_min"] = np.where(values["tst_min"] >= 180, values["tst_min"], np.nan)
    present = np.zeros(shape, np.bool_)
    present[row, day - first] = True
    panel = Panel(
        patients=patients,
        first=date.fromordinal(EPOCH.toordinal() + first),
        is_present=present,
        values=values,
        segments={stream: np.where(present, 0, -1).astype(np.int32) for stream in STREAMS},
        is_flare_reported=np.zeros(shape, np.bool_),
    )
    return panel, spread(_OUTCOME)


def _by_folds(cohort: Cohort, is_refit: bool, seed: int) -> Forecast:
    """Forecasts of every fold of people from the others."""
    people = len(cohort.panel.patients)
    fold = np.random.default_rng(seed).permutation(people) % FOLDS
    of_row = fold[cohort.rows.patient]
    without, with_history = np.zeros((len(of_row), HORIZON)), np.zeros((len(of_row), HORIZON))
    risk = np.full(cohort.panel.shape, np.nan)
    for one in range(FOLDS):
        model = _fitted(cohort, of_row != one, fold != one, is_refit)
        here = of_row == one
        without[here] = cohort.hazards(model, has_history=False)[here]
        with_history[here] = cohort.hazards(model)[here]
        risk[fold == one] = risk_matrix(cohort, model)[fold == one]
    theta = theta_for(risk, DEFAULT_BUDGET)
    return Forecast(without, with_history, risk, theta, DEFAULT_BUDGET)


def _fitted(cohort: Cohort, rows: Marks, people: Marks, is_refit: bool) -> Model:
    model = SHIPPED
    for _ in range(2):
        history = cohort.of_rows(cohort.history(model))[rows]
        own = cohort.rows.where(rows)
        if is_refit:
            model = fit_hazard(own, prior=SHIPPED, history=history).model("folds", SHIPPED)
        else:
            model = recalibrate(own, SHIPPED, "folds", has_slope=False, history=history)
        _, onsets, expected = cohort.sums(model)
        model = replace(model, rate_prior=rate_prior(onsets[people, -1], expected[people, -1]))
    return model
