"""The nightly run as a Prefect flow: the same stages, each one a task with a history."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from prefect import Task, flow
from prefect.cache_policies import NO_CACHE

from devices.clock import system_clock
from flows import nightly, settings
from flows.channels import from_settings
from flows.clinic import Clinic


def call_as_task(name: str, stage: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Run a stage as a task of that name."""
    run = Task(stage, name=name, cache_policy=NO_CACHE, persist_result=False)
    return run(*args)


@flow(name="nightly", log_prints=False, persist_result=False, validate_parameters=False)
def nightly_flow(
    home: str, lake_root: str | None, first: str, last: str, request: str | None
) -> dict[str, Any]:
    """Bring the nights `first` to `last` (ISO dates) of the clinic at `home` up to date.

    `request` names a file under ``requests/`` that lists the patients; all when it is None.
    """
    patients = json.loads((Path(home) / "requests" / request).read_text()) if request else None
    clinic = Clinic(Path(home), Path(lake_root) if lake_root else None)
    report = nightly.run(
        clinic,
        date.fromisoformat(first),
        date.fromisoformat(last),
        clock=system_clock,
        patients=patients,
        channels=from_settings(settings.from_environment()),
        stage=call_as_task,
    )
    return report.to_json()
