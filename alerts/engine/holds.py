"""Why an alert is open but silent: pure.

A storm, a silence somebody set, no data of the same metric, or a night judged late. Nothing holds a
critical alert. When the reason is gone and the alert is still open, it speaks (`unmuted`).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from alerts.engine.alert import Alert
from devices.clock import DAY

STORM: Final = "storm"
RETROSPECTIVE: Final = "judged late"
#: Longest silence.
SILENCE_LIMIT: Final = 7 * DAY
#: Fields a silence may match.
MATCHED: Final = ("rule", "subject", "site", "severity")
#: Nights from which the storm breaker goes by what is usual here.
KNOWN_NIGHTS: Final = 28
LEAST_STORM: Final = 20


@dataclass(frozen=True, slots=True)
class Silence:
    """What somebody silenced, for whom and until when."""

    silence: str
    matcher: Mapping[str, str]
    starts_utc: int
    expires_utc: int

    def covers(self, alert: Alert, now: int) -> bool:
        """Whether the alert is silenced now."""
        if not self.starts_utc <= now < self.expires_utc:
            return False
        seen: dict[str, Any] = {name: getattr(alert, name) for name in MATCHED}
        return all(seen[name] == value for name, value in self.matcher.items())


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What silences alerts now.

    Parameters
    ----------
    silences : sequence of Silence
        Not ended.
    inhibitors : mapping
        Rule -> the no-data rules that inhibit it.
    firing : collection
        (subject, rule) whose no-data condition holds.
    is_storm : bool
        Whether a storm is being looked into.
    """

    silences: Sequence[Silence] = ()
    inhibitors: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    firing: Collection[tuple[str, str]] = frozenset()
    is_storm: bool = False


def holder(alert: Alert, around: Circumstances, now: int) -> str | None:
    """Why the alert is silent; None when it is not."""
    if alert.is_critical:
        return None
    if alert.held_by == RETROSPECTIVE:
        return RETROSPECTIVE
    if alert.held_by == STORM and around.is_storm:
        return STORM
    for rule in around.inhibitors.get(alert.rule, ()):
        if alert.scope == "patient" and (alert.subject, rule) in around.firing:
            return f"inhibited by {rule}"
    for silence in around.silences:
        if silence.covers(alert, now):
            return f"silence {silence.silence}"
    return None


def storm_threshold(patients: int, opened: Sequence[int]) -> int:
    """More alerts than this in one night are a fault of ours rather than of so many patients.

    Parameters
    ----------
    patients : int
        Patients judged.
    opened : sequence of int
        Alerts opened by each earlier night, of the last 28.
    """
    if len(opened) < KNOWN_NIGHTS:
        return max(LEAST_STORM, math.ceil(0.05 * patients))
    last = sorted(opened[-KNOWN_NIGHTS:])
    # of 28 values the 99th percentile, by the nearest rank, is the largest
    p99 = last[math.ceil(0.99 * len(last)) - 1]
    return max(LEAST_STORM, 3 * p99)
