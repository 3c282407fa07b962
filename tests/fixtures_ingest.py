"""Observations, lakes and processes for the tests of ingest."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from devices.blobs import pack_u16
from devices.clock import MINUTE
from devices.observations import (
    Battery,
    DeviceHrv,
    FlareReport,
    HeartRate,
    Observation,
    PracticeLog,
    ProAnswer,
    RrInterval,
    SleepEpisode,
    SleepStage,
    StepCount,
    Wear,
)

T0 = 1_790_000_000_000_000
#: How long a test waits for what must come; only what never comes is waited for so long.
PATIENCE_S = 120.0
#: The same for a whole demo or replay.
DEMO_S = 600.0
ENROLMENT_HEADER = "patient,site,zone,gateway,device,valid_from_utc,valid_to_utc\n"


def clock() -> int:
    return T0 + 3600 * 1_000_000


def beats(
    first_beat: int, rr_ms: list[int], *, start_utc: int = T0, gap: int | None = 0, device: str = "strap-1"
):
    return RrInterval(
        device=device,
        start_utc=start_utc,
        source="sig-heart-rate/1",
        connection="c-1",
        first_beat=first_beat,
        rr_ms=pack_u16(rr_ms),
        gap_before_ms=gap,
        sensor="ecg",
    )


def hourly(hour: int, *, device: str = "strap-1", count: int = 3600) -> RrInterval:
    """An hour of beats that are different in every hour."""
    rr_ms = np.random.default_rng(hour).integers(600, 1200, count).tolist()
    return beats(0, rr_ms, start_utc=T0 + hour * 60 * MINUTE, gap=None, device=device)


def steps(start_utc: int, counts: list[int], *, device: str = "ring-1") -> StepCount:
    return StepCount(
        device=device, start_utc=start_utc, source="colmi/1", period_s=60, counts=pack_u16(counts)
    )


def one_of_each() -> list[Observation]:
    ring = {"device": "ring-1", "start_utc": T0, "source": "colmi/1"}
    return [
        beats(0, [800, 810, 790], gap=None),
        HeartRate(**ring, period_s=300, bpm=bytes([60, 0, 72])),
        StepCount(**ring, period_s=900, counts=pack_u16([0, 12, 900])),
        SleepStage(**ring, epoch_s=60, stages=bytes([1, 2, 3, 4, 0])),
        Wear(**ring, duration_s=3600, is_worn=True),
        Battery(**ring, level_pct=77),
        DeviceHrv(**ring, period_s=1800, value_ms=43, method="vendor"),
        ProAnswer(
            **ring,
            answer_id="a-1",
            instrument="nrs",
            item="now",
            value=4.0,
            form_version="1",
            language="de",
            mode="app",
            respondent="patient",
        ),
        FlareReport(
            **ring, report_id="r-1", respondent="caregiver", has_stopped_activities=True, author="nurse-7"
        ),
        SleepEpisode(**ring, duration_s=27_000, total_sleep_s=24_600, awakening_count=3, is_main_sleep=True),
        PracticeLog(**ring, log_id="l-1", practice="walking", duration_s=1_200, intensity="light"),
    ]


def write_enrolment(path: Path, gateways: list[str]) -> Path:
    """Each gateway with a strap and a ring of its own: gw-1 has strap-1 and ring-1."""
    rows = [
        f"p-{gateway},north,Europe/Berlin,{gateway},{thing}-{gateway.removeprefix('gw-')},2020-01-01T00:00Z,\n"
        for gateway in gateways
        for thing in ("strap", "ring")
    ]
    path.write_text(ENROLMENT_HEADER + "".join(rows))
    return path


class CollectorProcess:
    """A collector in a process of its own, to be killed."""

    def __init__(self, folder: Path, port: int, enrolment: Path, *, flush_s: float = 0.1) -> None:
        self._folder = folder
        self._arguments = [str(folder / "lake"), str(enrolment), str(port), str(flush_s)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "collector.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, *self._arguments], stdout=log, stderr=log
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE_S)


def wait_until(is_so: Callable[[], bool], timeout_s: float = PATIENCE_S) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if is_so():
            return True
        time.sleep(0.02)
    return is_so()


def stored_rows(files: list[Path]) -> list[dict[str, object]]:
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def _run_collector(root: str, enrolment: str, port: str, flush_s: str) -> None:
    from devices.clock import system_clock
    from ingest.lake.collector import Collector
    from ingest.lake.enrolment import read_enrolment
    from ingest.lake.files import Lake
    from ingest.wire.address import BrokerAddress

    collector = Collector(
        BrokerAddress("127.0.0.1", int(port)),
        Lake(Path(root)),
        read_enrolment(Path(enrolment)),
        clock=system_clock,
        flush_s=float(flush_s),
    )
    signal.signal(signal.SIGTERM, lambda *_: collector.stop())
    collector.run()


if __name__ == "__main__":
    _run_collector(*sys.argv[1:])
