"""`flarecast serve`: Prefect's server and the schedules of the night shift, as one command."""

import signal
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from devices.clock import system_clock
from flows import settings, stack
from flows.clinic import Clinic
from flows.errors import UserError
from flows.shift import watch
from flows.shift.schedules import read_schedules
from ingest.lake.manifest import only_one

#: A server or a runner that dies is started again, not faster than this.
PAUSE_S: Final = 10.0
POLL_S: Final = 0.5
#: A flow at work ends its share first.
RUNNER_STOP_S: Final = 30


def run_serve(home: Path, *, port: int, zone: str | None) -> int:
    """Run the schedules until stopped; returns the exit code."""
    if not home.is_dir():
        raise UserError(f"no clinic folder at {home}: set --home or FLARECAST_HOME")
    # one Prefect run is a process of its own and knows no folder of ours
    configured = replace(settings.from_environment(), home=home.resolve())
    schedules = read_schedules(configured.home, zone or configured.zone)
    with ExitStack() as resources:
        # two would schedule and run every night twice
        resources.enter_context(only_one(configured.home / "serve.lock", "`flarecast serve`"))
        watch.begin(Clinic(configured.home), system_clock)
        server = None
        if configured.prefect_api_url is None:
            _check_free(port)
            server = stack.PrefectServer(configured.home / "prefect", configured, port=port)
            resources.callback(server.stop)
            server.start()
            server.wait()
            configured = replace(configured, prefect_api_url=server.api_url)
        print(f"Prefect at {configured.prefect_api_url}, schedules by the clocks of {schedules.zone}:")
        for flow, line in schedules.cron.items():
            print(f"  {flow:16} {line or 'when asked for'}", flush=True)
        _keep_running(configured, schedules.zone, server, resources)
    return 0


def _check_free(port: int) -> None:
    """Refuse a port on which somebody else would answer for our server."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror}: give another") from None


def _keep_running(
    configured: settings.Settings, zone: str, server: stack.PrefectServer | None, resources: ExitStack
) -> None:
    env = settings.child_environment(configured, prefect_home=configured.home / "prefect")
    command = [sys.executable, "-m", "flows.shift.serve_runner", str(configured.home), zone]
    runner = stack.start_bound(command, env)
    resources.callback(lambda: stack.stop_process(runner, RUNNER_STOP_S))
    while True:
        time.sleep(POLL_S)
        if server is not None and server.has_ended():
            print("the Prefect server has ended: started again", file=sys.stderr, flush=True)
            time.sleep(PAUSE_S)
            server.start()
            server.wait()
        if runner.poll() is not None:
            print(
                f"the runner has ended with {runner.returncode}: started again", file=sys.stderr, flush=True
            )
            time.sleep(PAUSE_S)
            runner = stack.start_bound(command, env)


def end_in_order() -> None:
    """SIGTERM ends it as Ctrl-C does, and so does a terminal that closes."""

    def stop(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    # nohup has asked for it to be ignored
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stop)
