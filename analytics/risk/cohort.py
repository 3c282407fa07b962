"""A cohort made ready for fitting and judging: labels, features, what counts, rows."""

from dataclasses import dataclass

from analytics.risk.arrays import Floats, Marks
from analytics.risk.baseline import Deviation, deviations
from analytics.risk.features import features
from analytics.risk.hazard import day_ahead, own_history
from analytics.risk.labels import Labels, flare_labels
from analytics.risk.landmarks import Landmarks, hazards, make_landmarks
from analytics.risk.model import SHIPPED, Model
from analytics.risk.panel import Panel
from analytics.risk.scales import DEFAULT_SCALES, Scales
from analytics.risk.status import standing


@dataclass(frozen=True)
class Cohort:
    """Matrices (patients, days) of a panel, and its landmark rows.

    Parameters
    ----------
    is_sufficient : matrix of bool
        Enough data to be scored.
    is_counted : matrix of bool
        At risk and with enough data to be scored: what the own history counts.
    is_scored : matrix of bool
        The same after the learning period: days that have a risk.
    is_observed : matrix of bool
        The patient said how the day was.
    """

    panel: Panel
    labels: Labels
    deviations: dict[str, Deviation]
    features: dict[str, Floats]
    is_sufficient: Marks
    is_counted: Marks
    is_scored: Marks
    is_observed: Marks
    rows: Landmarks

    def history(self, model: Model) -> Floats:
        """ln M of every day, (patients, days)."""
        return self.sums(model)[0]

    def sums(self, model: Model) -> tuple[Floats, Floats, Floats]:
        """ln M of every day, and the onsets known and expected behind it."""
        hazards = day_ahead(self.features, self.is_counted, model)
        return own_history(hazards, self.labels, self.is_observed, model.rate_prior)

    def of_rows(self, matrix: Floats) -> Floats:
        """Values of a matrix on the rows."""
        return matrix[self.rows.patient, self.rows.column]

    def hazards(self, model: Model, *, has_history: bool = True) -> Floats:
        """Hazards of the rows, (rows, 7)."""
        history = self.of_rows(self.history(model)) if has_history else 0.0
        return hazards(model, self.rows, history)


def make_cohort(panel: Panel, scales: Scales = DEFAULT_SCALES) -> Cohort:
    """Labels, features and rows of a panel that holds the patients' whole past."""
    labels = flare_labels(panel)
    against = deviations(panel, scales)
    found = features(panel, labels, against)
    stand = standing(panel, labels, against, SHIPPED)
    counted = labels.is_at_risk & stand.is_sufficient
    observed = panel.is_observed()
    scored = counted & stand.is_scored
    rows = make_landmarks(found, labels.is_onset, scored, observed)
    return Cohort(panel, labels, against, found, stand.is_sufficient, counted, scored, observed, rows)
