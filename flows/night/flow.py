"""The nightly run as a Prefect flow: the same functions, each call a task with a history and retries."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from prefect import Task, flow
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed

from devices.clock import system_clock
from flows import settings
from flows.care.channels import from_settings
from flows.clinic import Clinic
from flows.night import nightly
from flows.night.task_runner import task_runner

Item = TypeVar("Item")
Result = TypeVar("Result")
RETRIES = 1
RETRY_S = 2


@dataclass(frozen=True)
class Tasks:
    """Calls as Prefect tasks (:class:`flows.night.runner.Runner`)."""

    def each(
        self, name: str, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result | Exception]]:
        """A task per share, as many at once as the flow's task runner has workers."""
        task: Any = Task(function, name=name, retries=RETRIES, retry_delay_seconds=RETRY_S, **_PLAIN)
        futures = {task.submit(item): number for number, item in enumerate(items)}
        for future in as_completed(list(futures)):
            try:
                result = future.result()
            except Exception as error:  # noqa: BLE001 - it is handed to whoever asked, with its item
                result = error
            yield futures[future], result

    def once(self, name: str, function: Callable[[], Result]) -> Result:
        """One call in this thread."""

        def call() -> Result:
            return function()

        task: Any = Task(call, name=name, **_PLAIN)
        return task()


_PLAIN: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


TASK_RUNNER: Any = task_runner(settings.from_environment().task_runner)


@flow(
    name="nightly", log_prints=False, persist_result=False, validate_parameters=False, task_runner=TASK_RUNNER
)
def nightly_flow(
    home: str, lake_root: str | None, first: str, last: str, request: str | None
) -> dict[str, Any]:
    """Bring the nights `first` to `last` (ISO dates) of the clinic at `home` up to date.

    `request` names a file under ``requests/`` that lists the patients; all when it is None.
    """
    patients = json.loads((Path(home) / "requests" / request).read_text()) if request else None
    configured = settings.from_environment()
    clinic = Clinic(Path(home), Path(lake_root) if lake_root else None, configured.partitions)
    report = nightly.run(
        clinic,
        date.fromisoformat(first),
        date.fromisoformat(last),
        clock=system_clock,
        patients=patients,
        channels=from_settings(configured),
        runner=Tasks(),
    )
    return report.to_json()
