"""A whole night of 100,000 SYNTHETIC patients whose features are there: scores, rules, publication."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from analytics.risk.panel import COLUMNS
from analytics.store.ledger import Done
from analytics.store.partitions import by_partition, count_for
from analytics.tables import PATIENT_DAY
from bench.apart import peak_mib
from bench.cases.risk import patient_days
from bench.harness import Bench, Result, case
from devices.clock import system_clock
from flows.clinic import Clinic
from flows.night import inventory
from flows.night.nightly import run
from flows.night.plan import take_stock

PATIENTS = int(os.environ.get("FLARECAST_BENCH_PATIENTS", "100000"))
#: Trends look back eight weeks, baselines five; a clinic in its ninth week has this much.
DAYS = 57
NIGHT = date(2026, 11, 23)
#: Days before the measured night are written share by share: what memory holds.
BATCH = 4000


def _names() -> list[str]:
    return [f"p-{number:06d}" for number in range(PATIENTS)]


def _clinic(home: Path) -> Clinic:
    clinic = Clinic(home)
    clinic.lake.root.mkdir(parents=True)
    header = "patient,site,zone,gateway,device,valid_from_utc,valid_to_utc\n"
    rows = (f"{name},s-1,Europe/Berlin,gw-{name},d-{name},2026-01-01T00:00Z,\n" for name in _names())
    clinic.enrolment_path.write_text(header + "".join(rows))
    return clinic


def _share_rows(own: Sequence[str], seed: int) -> pa.Table:
    made = patient_days(len(own), DAYS, seed)
    names = made["patient"].combine_chunks().dictionary_encode()
    columns: dict[str, Any] = {name: made[name] for name in made.column_names}
    columns["patient"] = pa.array(own).take(names.indices)
    count = made.num_rows
    columns |= {"zone": pa.repeat("Europe/Berlin", count), "day_minutes": pa.repeat(1440, count)}
    columns |= {"wear_min": pa.repeat(900.0, count), "is_valid_day": pa.repeat(True, count)}
    values = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in PATIENT_DAY
    ]
    return pa.table(values, schema=PATIENT_DAY)


def _write_features(clinic: Clinic) -> None:
    """What the nights before and the features of this one have left."""
    first = NIGHT - timedelta(days=DAYS - 1)
    with clinic.derived.ledger() as ledger:
        stock = take_stock(clinic, ledger)
        inputs = inventory.Inputs(stock.seen, stock.rows, first, NIGHT)
        code = inventory.code_version("features")
        for share, own in by_partition(_names(), count_for(PATIENTS)).items():
            parts = clinic.derived.files.write(
                {"patient_day": _share_rows(own, share.number)}, first, NIGHT, share
            )
            days = [first + timedelta(days=n) for n in range(DAYS)]
            ledger.enter("features", {day: Done(inputs.of(day, share), code) for day in days}, share, parts)


def _in_own_process(home: Path, night: date) -> dict[str, float]:
    """A night in a process of its own, so that its memory is its own."""
    words = [sys.executable, "-m", "bench.cases.nightly", str(home), night.isoformat()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def _night(home: Path, night: date) -> dict[str, float]:

    clinic = Clinic(home)
    began, cpu = time.perf_counter(), time.process_time()
    report = run(clinic, night, night, clock=system_clock)
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    if report.problems or report.feature_days or not report.snapshot:
        raise AssertionError(f"{report.feature_days} days of features, problems {report.problems[:2]}")
    peak = peak_mib()
    with clinic.derived.ledger() as ledger:
        parts = ledger.parts("patient_day", night - timedelta(days=DAYS - 1), night)
    began, scanned = time.perf_counter(), time.process_time()
    rows = sum(clinic.derived.files.read("patient_day", [part], COLUMNS).num_rows for part in parts)
    scan_wall, scan = time.perf_counter() - began, time.process_time() - scanned
    again = run(clinic, night, night, clock=system_clock)
    if again.written or rows != PATIENTS * len({part.day for part in parts}):
        raise AssertionError(f"written again {again.written}, {rows} rows scanned")
    return {
        "wall": wall, "cpu": used, "peak": peak, "scan": scan, "scan_wall": scan_wall,
        "alerts": report.alerts_opened,
    }  # fmt: skip


@case
def nightly(bench: Bench) -> list[Result]:
    """Baseline, trend, risk, sentences, rules and publication of 100,000 patients; in threads, no Prefect.

    The night before has been scored and judged, as it has on any but the first night of a clinic.
    """
    with TemporaryDirectory() as folder:
        clinic = _clinic(Path(folder) / "home")
        _write_features(clinic)
        _in_own_process(clinic.home, NIGHT - timedelta(days=1))
        found, _ = bench.timed(lambda: _in_own_process(clinic.home, NIGHT))
    people = f"{PATIENTS:,} SYNTHETIC patients, {DAYS} days of patient_day scanned"
    return [
        Result("nightly.seconds", found["wall"], "s", found["wall"] / found["scan_wall"], people, 1),
        Result("nightly.cpu", found["cpu"], "CPU s", found["cpu"] / found["scan"], people, 1),
        Result("nightly.memory", found["peak"], "MiB", None, None, 1),
    ]


if __name__ == "__main__":
    print(json.dumps(_night(Path(sys.argv[1]), date.fromisoformat(sys.argv[2]))))
