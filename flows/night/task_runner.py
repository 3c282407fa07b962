"""Where the shares of a night are computed: threads of this machine, or a Dask cluster.

The functions, the shares and the files are the same; only who calls them differs. A share
that a worker held when it was killed is computed again by another one, and what is entered
in the ledger is not.
"""

from typing import Any, Final

from prefect.task_runners import ThreadPoolTaskRunner

from flows.errors import UserError
from flows.night.runner import WORKERS

THREADS: Final = "threads"
#: A cluster of two processes on this machine, for a first look and for the tests.
LOCAL_DASK: Final = "dask"


def task_runner(choice: str) -> Any:
    """Task runner of Prefect by the setting FLARECAST_TASK_RUNNER.

    Parameters
    ----------
    choice : str
        ``threads``, ``dask`` (two workers on this machine), or the address of a scheduler
        (``tcp://host:8786``) whose workers see the same folders.

    Raises
    ------
    UserError
        For another word, or when the extra `scale` is not installed.
    """
    if choice == THREADS:
        return ThreadPoolTaskRunner(max_workers=WORKERS)
    if choice != LOCAL_DASK and not choice.startswith(("tcp://", "tls://")):
        raise UserError(
            f"FLARECAST_TASK_RUNNER is {choice!r}, not {THREADS}, {LOCAL_DASK} or tcp:// of a scheduler"
        )
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise UserError("Dask is not installed here: pip install 'flarecast[scale]'") from None
    if choice == LOCAL_DASK:
        # a thread per worker: a share's sums never meet another's
        own = {"n_workers": WORKERS, "threads_per_worker": 1, "dashboard_address": None}
        return DaskTaskRunner(cluster_kwargs=own)
    return DaskTaskRunner(address=choice)
