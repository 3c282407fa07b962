"""A clinic of a few dozen people for tests of the night shift: steps, pain scores and a tap now and then."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from devices.blobs import pack_u16
from devices.clock import DAY, HOUR, MINUTE, to_utc
from devices.observations import FlareReport, Observation, ProAnswer, StepCount
from flows.clinic import Clinic
from ingest.lake.columns import Arrived, to_table
from tests.fixtures_ingest import ENROLMENT_HEADER

FIRST = date(2026, 5, 1)
DAYS = 18
LAST = FIRST + timedelta(days=DAYS - 1)
PEOPLE = 6
#: When it all arrived.
ARRIVED = to_utc(datetime(2026, 6, 1, tzinfo=UTC))


def now() -> int:
    """A clock that stands still."""
    return ARRIVED + DAY


def patient(number: int) -> str:
    return f"p-{number:03d}"


def make_clinic(
    home: Path, *, people: int = PEOPLE, days: int = DAYS, partitions: int = 8, first: date = FIRST
) -> Clinic:
    """A clinic with `days` dates of observations; the same people give the same files."""
    home.mkdir(parents=True, exist_ok=True)
    clinic = Clinic(home, partitions=partitions)
    rows = [enrolment_row(number) for number in range(people)]
    clinic.enrolment_path.write_text(ENROLMENT_HEADER + "".join(rows))
    for day in range(days):
        land(
            clinic,
            [one for number in range(people) for one in observations(number, day, first=first)],
            ARRIVED + day,
        )
    return clinic


def enrolment_row(number: int, zone: str = "Europe/Berlin") -> str:
    return f"{patient(number)},north,{zone},gw-{number},band-{number},2020-01-01T00:00Z,\n"


def land(clinic: Clinic, observations: list[Observation], at: int) -> list[Path]:
    """Land observations, a file per kind."""
    by_kind: dict[str, list[Arrived]] = {}
    for one in observations:
        by_kind.setdefault(one.kind, []).append(Arrived(one, f"gw-{one.device.split('-')[1]}", 1))
    tables: dict[str, pa.Table] = {kind: to_table(kind, rows, at) for kind, rows in by_kind.items()}
    return clinic.lake.commit(tables, writer="collector-1", now=at)


def observations(number: int, day: int, *, scale: float = 1.0, first: date = FIRST) -> list[Observation]:
    """A date of one person: a walking day that falls by half at the end for every third of them."""
    random = np.random.default_rng(1000 * number + day)
    start = to_utc(datetime.combine(first + timedelta(days=day), datetime.min.time(), UTC)) + 6 * HOUR
    low = 0.4 if number % 3 == 0 and day >= DAYS - 4 else 1.0
    counts = random.poisson(9 * low * scale, 14 * 60).tolist()
    wearable: dict[str, Any] = {"device": f"band-{number}", "source": "test/1"}
    found: list[Observation] = [
        StepCount(**wearable, start_utc=start, period_s=60, counts=pack_u16(counts)),
        ProAnswer(
            **wearable,
            start_utc=start + 5 * MINUTE,
            answer_id=f"a-{number}-{day}",
            instrument="nrs",
            item="now",
            value=float(4 + (4 if low < 1 else 0) + random.integers(0, 2)),
            form_version="1",
            language="de",
            mode="app",
            respondent="patient",
        ),
    ]
    if low < 1 and day == DAYS - 2:
        found.append(
            FlareReport(
                **wearable,
                start_utc=start + HOUR,
                report_id=f"r-{number}",
                respondent="patient",
                has_stopped_activities=True,
            )
        )
    return found


def shown(clinic: Clinic) -> dict[str, list[dict[str, Any]]]:
    """Every derived table as it holds, in order of its keys, whatever the shares."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in ("night", "patient_day", "day_clock", "rhythm", "baseline", "trend", "flare_risk"):
        rows = clinic.derived.read(name, date(2026, 1, 1), date(2029, 1, 1)).to_pylist()
        found[name] = sorted(rows, key=lambda r: (r["patient"], r["local_date"], r.get("metric") or ""))
    return found
