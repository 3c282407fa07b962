"""Who computes the shares: chosen by a word, and a wrong word is a line."""

import subprocess
import sys
from datetime import timedelta

import pytest
from prefect.settings.models.server.services import ServerServicesDBVacuumSettings
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_dask import DaskTaskRunner

from flows.errors import UserError
from flows.night.task_runner import task_runner
from flows.settings import Settings, child_environment


def test_each_word_has_its_runner() -> None:
    assert isinstance(task_runner("threads"), ThreadPoolTaskRunner)
    for word in ("dask", "tcp://10.0.0.1:8786", "tls://scheduler:8786"):
        assert isinstance(task_runner(word), DaskTaskRunner)


@pytest.mark.parametrize("word", ["Dask", "ray", "http://scheduler:8786", ""])
def test_another_word_is_refused(word: str) -> None:
    with pytest.raises(UserError, match="FLARECAST_TASK_RUNNER is"):
        task_runner(word)


def test_one_machine_needs_no_dask_and_no_object_storage() -> None:
    """Whoever has one machine does not pay for a cluster: the extra `scale` need not be installed."""
    code = "import sys; sys.modules['obstore'] = None; from flows.night import nightly, task_runner as t"
    code += "; from flows.shift import erase"
    code += "; t.task_runner('threads'); print('distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_history_of_runs_goes_with_age(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Prefect's own service, which leaves runs alone unless it is told."""
    assert "flow_runs" not in ServerServicesDBVacuumSettings().enabled_vacuum_types
    name = "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED"
    monkeypatch.setenv(name, child_environment(Settings(tmp_path))[name])
    told = ServerServicesDBVacuumSettings()
    assert told.enabled_vacuum_types >= {"events", "flow_runs"}
    assert told.retention_period == timedelta(days=90)
