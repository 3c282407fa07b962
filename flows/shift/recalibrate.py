"""The risk model looked after, weekly: does the active version still hold, and is there enough for a new one?

A candidate is fitted, never approved: a person does that (`flarecast model approve`).
"""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa

from analytics.risk.drift import Drift
from analytics.risk.gates import LEAST_ONSETS
from analytics.risk.site_fit import DEFAULT_BUDGET
from devices.clock import Clock, from_utc
from devices.durable import replace_file
from flows.clinic import Clinic
from flows.night.demographics import traits_of
from flows.risk.model_command import (
    TooLittleError,
    drift_in_words,
    fit_inputs,
    fit_version,
    freeze_if_drifted,
    site_days,
)
from flows.risk.model_registry import ModelRegistry

_DRAWS: Final = 500


@dataclass(frozen=True)
class Recalibration:
    """What a run found.

    Parameters
    ----------
    active : str or None
        Version in force; None: the shipped one, a shadow in any case.
    drift : Drift or None
        Of the active version.
    candidate : str or None
        Version for these days, made now or by a run before.
    verdict : str or None
        Of its gates: pass, fail or wait.
    too_little : str or None
        Why there is no candidate.
    """

    active: str | None
    drift: Drift | None
    candidate: str | None
    verdict: str | None
    too_little: str | None

    @property
    def has_drifted(self) -> bool:
        """Whether the active version was frozen."""
        return self.drift is not None and bool(self.drift.reasons)

    def words(self) -> list[str]:
        """One line per finding."""
        said = ["no version is active: the shipped weights are a shadow"]
        if self.active is not None and self.drift is not None:
            said = [f"active: {self.active}", *drift_in_words(self.active, self.drift)]
        if self.candidate is None:
            return [*said, f"nothing was fitted: {self.too_little}"]
        gates = {"pass": "its gates passed", "fail": "its gates FAILED", "wait": "extend validation"}
        return [
            *said,
            f"candidate {self.candidate}: {gates[self.verdict or 'wait']}; approved by nobody yet "
            f"(flarecast model show {self.candidate})",
        ]


def recalibrate(
    clinic: Clinic, *, clock: Clock, budget: float = DEFAULT_BUDGET, draws: int = _DRAWS
) -> Recalibration:
    """Check the active version for drift and fit a candidate; the same days again make no other one.

    Parameters
    ----------
    budget : float
        Alerts per eligible patient and 30 days a candidate's threshold is set for.
    draws : int
        Draws of the patient bootstrap.

    Returns
    -------
    Recalibration
        Kept as ``reports/recalibrate-*.json``; it names no patient.
    """
    registry = ModelRegistry(clinic.home, clock)
    found = _look(clinic, registry, budget, draws, clock)
    stamp = from_utc(clock()).strftime("%Y%m%dT%H%M%S.%fZ")
    text = json.dumps(_known(asdict(found)) | {"problems": []}, indent=1, allow_nan=False)
    replace_file(clinic.reports / f"recalibrate-{stamp}.json", text, mode=0o600)
    return found


def _look(clinic: Clinic, registry: ModelRegistry, budget: float, draws: int, clock: Clock) -> Recalibration:
    active = registry.active_version()
    try:
        days, context = site_days(clinic.home, None)
    except TooLittleError as error:
        return Recalibration(active, None, None, None, str(error))
    drift = freeze_if_drifted(registry, active, days, context) if active else None
    candidate = _made_before(registry, days, budget)
    if candidate is None:
        try:
            candidate = fit_version(
                registry,
                days,
                context,
                budget,
                traits=traits_of(clinic, clock()),
                is_synthetic=clinic.is_synthetic,
                draws=draws,
                least_onsets=LEAST_ONSETS,
            )
        except TooLittleError as error:
            return Recalibration(active, drift, None, None, str(error))
    return Recalibration(active, drift, candidate, registry.read(candidate).fit["verdict"], None)


def _known(value: Any) -> Any:
    """The same with null for what is not a number: JSON has no word for that."""
    if isinstance(value, dict):
        row: dict[str, Any] = value
        return {name: _known(one) for name, one in row.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _made_before(registry: ModelRegistry, days: pa.Table, budget: float) -> str | None:
    """The candidate of these days, by this code and from the version in force, when there is one."""
    wanted = fit_inputs(days, budget, registry.active()[0].version)
    for version in reversed(registry.versions()):
        fit = registry.read(version).fit
        if {name: fit.get(name) for name in wanted} == wanted:
            return version
    return None
