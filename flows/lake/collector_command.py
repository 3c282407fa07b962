"""`flarecast collector`: run one until it is stopped, or show what it has done."""

import json
import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devices.clock import from_utc, system_clock
from devices.ids import check_id
from flows.clinic import Clinic, read_json
from flows.errors import UserError
from ingest.lake.collector import Collector
from ingest.lake.counts import serve
from ingest.lake.intake_enrolment import EnrolmentFile
from ingest.wire.address import BrokerAddress


def run_collector(
    home: Path,
    broker: BrokerAddress,
    *,
    name: str,
    group: str | None,
    window: int,
    flush_s: float,
    metrics_port: int | None,
    keep_raw_days: int,
) -> int:
    """Collect into the clinic's lake until SIGTERM or SIGINT; returns the exit code.

    The enrolment file is read again when it changes: enrolling needs no restart.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    check_id(name, "collector")
    clinic = Clinic(home)
    collector = Collector(
        broker,
        clinic.lake,
        EnrolmentFile(clinic.enrolment_path),
        clock=system_clock,
        collector=name,
        group=group,
        window=window,
        flush_s=flush_s,
        keep_raw_days=keep_raw_days,
    )
    if metrics_port is not None:
        try:
            serve(collector.counts, metrics_port)
        except OSError as error:
            raise UserError(f"--metrics-port {metrics_port}: {error.strerror}") from None

    def stop(signum: int, frame: Any) -> None:
        del signum, frame
        collector.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    collector.run()
    return 0


def show_status(home: Path, *, as_json: bool) -> int:
    """Print each collector's counters."""
    folder = Clinic(home).lake.root / "status"
    statuses = {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}
    if not statuses:
        raise UserError(f"no collector has run on {folder.parent}")
    if as_json:
        print(json.dumps(statuses))
        return 0
    for name, status in statuses.items():
        try:
            print("\n".join(in_words(name, status)))
        except (KeyError, TypeError, AttributeError):
            path = folder / f"{name}.json"
            raise UserError(f"{path} is no status: delete it and restart {name}") from None
    return 0


def in_words(name: str, status: Mapping[str, Any]) -> list[str]:
    """Lines about a collector: is it at work, and samples by kind."""
    utc = status.get("utc", {})
    standing = "connected to" if status["is_subscribed"] else "not connected to"
    said = "".join(f", {what} {from_utc(at):%Y-%m-%d %H:%M} UTC" for what, at in utc.items())
    columns = ("received", "stored", "quarantined")
    kinds = sorted({kind for column in columns for kind in status[column]})
    messages = ", ".join(f"{count:,} {what}" for what, count in status["messages"].items())
    return [
        f"{name}: {standing} its broker{said}",
        f"  {'samples':14}" + "".join(f"{column:>14}" for column in columns),
        *(
            f"  {kind:14}" + "".join(f"{status[column].get(kind, 0):>14,}" for column in columns)
            for kind in kinds
        ),
        f"  messages      {messages}; {status['connections']} connections to the broker so far",
        *(f"  quarantined   {count:,} {cause}" for cause, count in status.get("causes", {}).items()),
    ]
