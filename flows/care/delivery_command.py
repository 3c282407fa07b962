"""`flarecast alerts worker`: a process that delivers what is due until it is stopped."""

import logging
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

from alerts.delivery.worker import Worker
from alerts.engine.journal import Journal
from devices.clock import system_clock
from flows import settings
from flows.care.channels import fallback_of, from_settings
from flows.care.ticking import Ticking
from flows.clinic import Clinic
from flows.errors import UserError

LOG = logging.getLogger(__name__)


def run_worker(home: Path, *, name: str, threads: int) -> int:
    """Deliver until SIGTERM or Ctrl-C; returns the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    configured = replace(settings.from_environment(), home=home)
    channels = from_settings(configured)
    if not channels:
        raise UserError(f"no channel is set up in {home / 'channels.toml'}: nothing could be delivered")
    clinic = Clinic(home)
    worker = Worker(
        lambda: Journal(clinic.alert_store, system_clock),
        channels,
        system_clock,
        name=name,
        fallback=fallback_of(configured),
        threads=threads,
        tick=Ticking(clinic, system_clock),
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    LOG.info("delivering name=%s channels=%s", name, ",".join(channel.name for channel in channels))
    worker.run(stop)
    LOG.info("stopped name=%s", name)
    return 0
