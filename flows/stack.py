"""A whole clinic on one machine: broker, collector and Prefect server, for demo and replay."""

import json
import logging
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import IO, Any

from flows import settings
from flows.clinic import Clinic
from flows.errors import UserError
from flows.settings import Settings
from ingest.edge.forwarder import Forwarder
from ingest.lake.broker import EmbeddedBroker, free_port
from ingest.wire.address import BrokerAddress

logger = logging.getLogger(__name__)

#: A collector needs a second or two to import its libraries, more on a busy machine.
COLLECTOR_START_S = 60
COLLECTOR_STOP_S = 60
#: Prefect's server answers after 15-27 s on two cores, later on a busy machine.
PREFECT_START_S = 120


@contextmanager
def broker(folder: Path) -> Generator[BrokerAddress]:
    """The embedded broker on a free loopback port."""
    embedded = EmbeddedBroker(folder)
    address = embedded.start()
    try:
        yield address
    finally:
        embedded.stop()


class CollectorProcess:
    """A collector process on the clinic's lake, started again when it dies; its log under `home`."""

    def __init__(self, clinic: Clinic, address: BrokerAddress, *, window: int = 100) -> None:
        self._clinic = clinic
        self._command = [sys.executable, "-m", "flows.cli", "collector", "run", "--home", str(clinic.home)]
        self._command += ["--host", address.host, "--port", str(address.port), "--window", str(window)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it receives: a broker keeps nothing for a collector it has not met."""
        self._clinic.forget_subscriptions()
        with (self._clinic.home / "collector.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + COLLECTOR_START_S
        while time.monotonic() < end and self._process.poll() is None:
            if self._clinic.has_subscribed_collector():
                return
            time.sleep(0.05)
        raise UserError(f"the collector did not start: see {self._clinic.home}/collector.log")

    def restart_if_dead(self) -> None:
        """Start it again when it has ended; what it had not confirmed is delivered again."""
        if self._process is not None and self._process.poll() is not None:
            logger.warning("collector ended code=%s, started again", self._process.returncode)
            self.start()

    def stop(self) -> None:
        """Stop it gracefully."""
        if self._process is not None:
            stop_process(self._process, COLLECTOR_STOP_S)


@contextmanager
def collector(clinic: Clinic, address: BrokerAddress) -> Generator[CollectorProcess]:
    """A collector process for the time of the context."""
    process = CollectorProcess(clinic, address)
    try:
        process.start()
        yield process
    finally:
        process.stop()


def drain(forwarder: Forwarder, process: CollectorProcess, timeout_s: float) -> bool:
    """Wait until everything of a gateway is confirmed, whatever happens to the collector; whether in time."""
    end = time.monotonic() + timeout_s
    while not forwarder.drain(1.0):
        process.restart_if_dead()
        if time.monotonic() > end:
            return False
    return True


def start_bound(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process that is ours to end: it hears no Ctrl-C, and SIGTERM when we are killed.

    For the main thread only: the signal comes when the thread ends that called this.
    """
    # an orphan would hold the port, and run flows beside those of the next one
    bound = ["setpriv", "--pdeathsig", "TERM", *command]
    return subprocess.Popen(bound, env=env, stdout=stdout, stderr=stderr, process_group=0)


def stop_process(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    """SIGTERM, wait, and SIGKILL if it does not go; returns the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


class PrefectServer:
    """A private Prefect server process: its database in `folder`, its port free, nothing sent out."""

    def __init__(self, folder: Path, base: Settings, *, port: int | None = None) -> None:
        """With `port` it serves its pages there; without it has none and takes a free one."""
        self._folder = folder
        self._base = base
        self._pages = [] if port else ["--no-ui"]
        self.port = port or free_port()
        self.api_url = f"http://127.0.0.1:{self.port}/api"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it in the background; it answers about 20 s later."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), *self._pages]
        with (self._folder / "server.log").open("ab") as log:
            env = settings.child_environment(self._base, prefect_home=self._folder)
            # flows at work need it until they have ended
            self._process = start_bound(command, env, stdout=log, stderr=log)

    def wait(self, timeout_s: float = PREFECT_START_S) -> None:
        """Wait until it answers.

        Raises
        ------
        UserError
            When it does not, with the place of its log.
        """
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and self._process is not None and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.api_url}/health", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.25)
        raise UserError(
            f"the Prefect server did not answer within {timeout_s:.0f} s: see {self._folder}/server.log"
        )

    def has_ended(self) -> bool:
        """Whether it was started and is not there any more."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            stop_process(self._process, 20)


def nightly(configured: Settings, first: date, last: date) -> dict[str, Any]:
    """Run `flarecast nightly` for a range in a process of its own; returns its report.

    Raises
    ------
    UserError
        When it fails, with the end of what it said.
    """
    command = [sys.executable, "-m", "flows.cli", "nightly", "--home", str(configured.home), "--json"]
    command += ["--from", first.isoformat(), "--to", last.isoformat()]
    env = settings.child_environment(configured, prefect_home=configured.home / "prefect")
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"the nightly run failed: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
