"""What every test run shares: the profile of generated tests, and a plain word on the real recordings."""

import asyncio
import faulthandler
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.fixtures_stores import postgres, shared_database, store
from tests.fixtures_time import SimulatedTime

__all__ = ["postgres", "shared_database", "store"]

# Two busy cores make single examples slow now and then: time is not what these tests judge.
NO_CLOCK = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=50, **NO_CLOCK)
settings.register_profile("ci", max_examples=50, derandomize=True, print_blob=True, **NO_CLOCK)
settings.register_profile("night", max_examples=5000, **NO_CLOCK)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))

REAL_DATA = Path(os.environ.get("FLARECAST_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
REAL_TESTS = "tests/real/"
#: Stopping a server's processes takes seconds; a link that never closes takes for ever.
TEARDOWN_S = 240
#: Tests that share what takes seconds to make (a run of the demo, a clinic after its nights, a browser)
#: stay with one worker; the largest of these begin first.
TOGETHER = (
    "tests/e2e/test_demo",
    "tests/e2e/test_fhir.py",
    "tests/e2e/test_worklist_in_chromium.py",
    "tests/real/test_hrv_published.py",
    "tests/sim/test_sim_cohort.py",
    "tests/sim/test_sim_drift.py",
    "tests/unit/test_backtest.py",
    "tests/unit/test_backtest_as_run.py",
    "tests/unit/test_care_show.py",
    "tests/unit/test_carried_nights.py",
    "tests/unit/test_erase.py",
    "tests/unit/test_first_nights.py",
    "tests/unit/test_night_of_version.py",
    "tests/unit/test_nightly.py",
    "tests/unit/test_preview_command.py",
    "tests/unit/test_quality_review.py",
    "tests/unit/test_risk_leakage.py",
    "tests/unit/test_site_fit.py",
    "tests/unit/test_upkeep.py",
)


class _Workers(LoadScopeScheduling):
    """Every test to whichever worker is free, those that share something together.

    xdist's own way, ``--dist loadgroup``, writes the group into an attribute that pytest 9.2
    no longer reads: nothing is grouped, and nothing says so.
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((shared for shared in TOGETHER if nodeid.startswith(shared)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Workers:
    """Share the tests out among the workers of ``make test``."""
    return _Workers(config, log)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Coroutines that are tests: all of them live on the virtual radio, none with a thread or a socket."""
    return {"simulated time": SimulatedTime}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the kernels once for all workers, beside their first tests."""
    if getattr(session.config.option, "numprocesses", None):
        command = [sys.executable, "-m", "tests.kernels"]
        beside = subprocess.Popen(
            command, cwd=session.config.rootpath, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        session.config.add_cleanup(lambda: (beside.kill(), beside.wait()))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """End the worker when a fixture never ends: pytest-timeout stops its watch at the first failure."""
    faulthandler.dump_traceback_later(TEARDOWN_S, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real recordings; the test is skipped where there is none."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real recordings at {REAL_DATA}")
    return REAL_DATA


def _real_outcomes(reporter: pytest.TerminalReporter) -> dict[str, set[str]]:
    return {
        outcome: {
            report.nodeid
            for report in reporter.stats.get(outcome, [])
            if getattr(report, "nodeid", "").startswith(REAL_TESTS)
        }
        for outcome in ("passed", "failed", "error", "skipped")
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that saw a real recording, and those that did not."""
    outcomes = _real_outcomes(terminalreporter)
    if not any(outcomes.values()):
        return
    terminalreporter.section("real recordings")
    for outcome, tests in outcomes.items():
        for nodeid in sorted(tests):
            terminalreporter.write_line(f"{outcome:8} {nodeid.removeprefix(REAL_TESTS)}")
    if outcomes["skipped"] and not REAL_DATA.is_dir():
        terminalreporter.write_line(f"skipped because there are no recordings at {REAL_DATA}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that skipped a real recording although the recordings are here."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not REAL_DATA.is_dir():
        return
    skipped = _real_outcomes(reporter)["skipped"]
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"\nthe recordings are at {REAL_DATA}, yet skipped: {', '.join(sorted(skipped))}")
