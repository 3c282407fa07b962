"""Asks Prefect's server what is due and runs it: python -m flows.shift.serve_runner HOME ZONE."""

import sys
import warnings
from pathlib import Path
from typing import Any, Final

from prefect import serve
from prefect.client.orchestration import get_client
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows.shift import scheduled
from flows.shift.schedules import read_schedules

FLOWS: Final[dict[str, Any]] = {
    "nightly": scheduled.nightly_run,
    "backfill": scheduled.backfill_run,
    "recalibrate": scheduled.recalibrate_run,
    "quality_review": scheduled.quality_review_run,
    "compact": scheduled.compact_run,
    "retention": scheduled.retention_run,
    "erase": scheduled.erase_run,
    "backup": scheduled.backup_run,
}


def main(home: Path, zone: str) -> None:
    """Make the limit, then the deployments, then wait for what is due."""
    with get_client(sync_client=True) as client:
        # a limit that is not there would let everybody in
        client.upsert_global_concurrency_limit_by_name(scheduled.LIMIT, 1)
    cron = read_schedules(home, zone).cron
    deployments: list[Any] = [
        FLOWS[name].to_deployment(
            name="flarecast",
            # an empty list takes away the one it had
            schedules=[Cron(line, timezone=zone)] if line else [],
            parameters={"home": str(home), "zone": zone},
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for name, line in cron.items()
    ]
    # Prefect's own at every stop; it reads like a fault
    warnings.filterwarnings("ignore", "coroutine 'Runner.astop' was never awaited", RuntimeWarning)
    # the default pauses every schedule at SIGTERM, and a restart would find them so
    serve(*deployments, pause_on_shutdown=False, print_starting_message=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
