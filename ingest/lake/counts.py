"""What a collector has done since there is a collector of its name: for its status, and for a monitor.

The numbers are of messages, samples, kinds and reasons; no gateway, wearable or
patient is named.
"""

import json
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector as Source

from devices.clock import SECOND
from ingest.lake.intake import Flush
from ingest.lake.quarantine import AHEAD_OF_ARRIVAL, OTHER_GATEWAY, UNKNOWN_DEVICE, Refused

logger = logging.getLogger(__name__)

#: Samples by kind; they go on where the collector of this name left them.
COUNTED: Final = ("received", "stored", "quarantined")
#: Reasons in words are without number; a monitor gets their class.
_CAUSES: Final = {
    UNKNOWN_DEVICE: "unknown device",
    OTHER_GATEWAY: "other gateway",
    AHEAD_OF_ARRIVAL: "ahead of arrival",
}
_INVALID: Final = "invalid"


class Counts:
    """Counters of one collector; any thread may read them while they are counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples = {name: Counter[str]() for name in COUNTED}
        self._messages = Counter[str]()
        self._causes = Counter[str]()
        self._commits = 0
        self._commit_s = 0.0
        self._committed_utc = 0
        self.connections = 0
        self.is_subscribed = False

    def add(self, flush: Flush, messages: int, *, commit_s: float, now: int) -> None:
        """Count a flush of so many messages that is on the disk, `commit_s` after its commit began."""
        found = {
            "received": flush.received,
            "stored": flush.stored(),
            "quarantined": flush.quarantined(),
        }
        with self._lock:
            for name, samples in found.items():
                self._samples[name].update(samples)
            self._messages.update({"received": messages, "repeated": flush.repeated})
            self._causes.update(_causes(flush.refused))
            self._commits += 1
            self._commit_s += commit_s
            self._committed_utc = now

    def status(self) -> dict[str, Any]:
        """As the status file keeps it."""
        with self._lock:
            return {
                **{name: dict(samples) for name, samples in self._samples.items()},
                "is_subscribed": self.is_subscribed,
                "messages": dict(self._messages),
                "causes": dict(self._causes),
                "connections": self.connections,
            }

    def take_up(self, path: Path) -> None:
        """Go on from a status file; one that is absent or spoilt begins at 0."""
        try:
            status: dict[str, dict[str, int]] = json.loads(path.read_bytes())
            samples = {name: Counter(status[name]) for name in COUNTED}
            messages, causes = Counter(status["messages"]), Counter(status.get("causes", {}))
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("counts_lost reason=%s", error)
            return
        with self._lock:
            self._samples, self._messages, self._causes = samples, messages, causes

    def metrics(self) -> Iterator[Metric]:
        """In Prometheus' terms."""
        status = self.status()
        samples = CounterMetricFamily(
            "flarecast_samples", "Samples by what became of them.", labels=["outcome", "kind"]
        )
        for outcome in COUNTED:
            for kind, count in status[outcome].items():
                samples.add_metric([outcome, kind], count)
        yield samples
        messages = CounterMetricFamily(
            "flarecast_messages",
            "Messages received, and of them such as had been stored.",
            labels=["outcome"],
        )
        for outcome, count in status["messages"].items():
            messages.add_metric([outcome], count)
        yield messages
        causes = CounterMetricFamily(
            "flarecast_quarantined_samples",
            "Samples in quarantine by the class of the reason.",
            labels=["cause"],
        )
        for cause, count in status["causes"].items():
            causes.add_metric([cause], count)
        yield causes
        connections = CounterMetricFamily(
            "flarecast_connections", "Connections to the broker.", value=status["connections"]
        )
        subscribed = GaugeMetricFamily(
            "flarecast_is_subscribed",
            "1 while the broker keeps messages for us.",
            value=status["is_subscribed"],
        )
        yield from (connections, subscribed)
        with self._lock:
            commits, seconds, committed_utc = self._commits, self._commit_s, self._committed_utc
        yield SummaryMetricFamily(
            "flarecast_commit_seconds",
            "Time of a commit: write, fsync, rename, fsync.",
            count_value=commits,
            sum_value=seconds,
        )
        yield GaugeMetricFamily(
            "flarecast_last_commit_timestamp_seconds",
            "When messages were last stored; 0 before the first since the start.",
            value=committed_utc / SECOND,
        )


def _causes(refused: Iterable[Refused]) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in refused:
        found[_CAUSES.get(one.reason, _INVALID)] += one.sample_count
    return found


class _Source(Source):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Asked at every scrape."""
        return self._counts.metrics()


def serve(counts: Counts, port: int, *, host: str = "127.0.0.1") -> Any:
    """Answer Prometheus at ``http://host:port/metrics``; returns the server, to be shut down.

    Raises
    ------
    OSError
        When the port is taken.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Source(counts))
    server, _ = start_http_server(port, host, registry)
    return server
