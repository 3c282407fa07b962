"""The risk model in shadow: what it would have alerted, and how far a model of the site's own is."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from analytics.risk.progress import Progress, progress
from analytics.store import query
from flows.words import counted

ALERT_DAYS: Final = 28
_SPAN: Final = f"""
    select
        min(local_date) filter (monitored_days > 0) as begun,
        max(local_date) as today,
        count(*) filter (would_alert and local_date > newest - {ALERT_DAYS}) as alerts,
        count(distinct patient) filter (local_date = newest) as patients
    from flare_risk, (select max(local_date) as newest from flare_risk)"""
_ONSETS: Final = """
    select distinct patient, last_onset_date from flare_risk where last_onset_date is not null"""


@dataclass(frozen=True)
class Shadow:
    """What the published nights say of the risk model."""

    today: date
    patients: int
    alerts: int
    progress: Progress

    def words(self) -> list[str]:
        """Two sentences: progress to calibration, and alerts that were not sent."""
        own = self.progress
        needed = "enough to fit a model of this site's own"
        if own.needed:
            when = (
                f", expected on {own.expected}" if own.expected else ", no date yet: no onset in eight weeks"
            )
            needed = f"{own.needed} needed for the next stage of fitting{when}"
        return [
            f"{own.onsets} onsets so far ({own.per_week:.1f} a week); {needed}.",
            f"The risk model would have alerted {counted(self.alerts, 'time')} in {ALERT_DAYS} days: "
            "not sent, unless a person has approved it.",
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        own = self.progress
        return {
            "date": str(self.today),
            "patients": self.patients,
            "onsets": own.onsets,
            "onsets_per_week": round(own.per_week, 2),
            "needed": own.needed,
            "expected": own.expected and str(own.expected),
            "shadow_alerts_28d": self.alerts,
        }


def shadow_of(current: Path) -> Shadow | None:
    """What a published snapshot says; None where nobody has been monitored."""
    (span,) = query.run(current, _SPAN).to_pylist()
    if span["begun"] is None:
        return None
    onsets = query.run(current, _ONSETS)["last_onset_date"].to_pylist()
    found = progress(onsets, span["begun"], span["today"])
    return Shadow(span["today"], span["patients"], span["alerts"], found)
