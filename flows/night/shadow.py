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
#: Days until an onset is in the personal rate: that of :mod:`analytics.risk.past`, which is slow to import.
COUNTED_AFTER: Final = 3
#: Onsets of the personal rate: it counts those a fit can use, three days late.
_ONSETS: Final = f"""
    with counted as (
        select local_date, onset_count - coalesce(
            lag(onset_count) over (partition by patient order by local_date), 0) as fresh
        from flare_risk
    )
    select local_date - {COUNTED_AFTER} as onset_date
    from (select local_date, unnest(range(fresh::bigint)) from counted where fresh > 0)"""


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
            when = f", expected on {own.expected}" if own.expected else ", no date yet: too few come"
            needed = f"{own.needed} needed for the next stage of fitting{when}"
        return [
            f"{own.onsets} onsets so far that a fit can use ({own.per_week:.1f} a week), {own.training} old "
            f"enough to train on; {needed}.",
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
            "onsets_to_train_on": own.training,
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
    onsets = query.run(current, _ONSETS)["onset_date"].to_pylist()
    found = progress(onsets, span["begun"], span["today"])
    return Shadow(span["today"], span["patients"], span["alerts"], found)
