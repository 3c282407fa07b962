"""Lake files written by hand, for tests of the analytics: a few samples each, every field spelt out."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.tables import PATIENT_DAY
from devices.tables import ENROLMENT, TABLES

ZONE = "Europe/Berlin"
ALWAYS = datetime(2020, 1, 1, tzinfo=UTC)


def utc(text: str) -> datetime:
    """Instant of an ISO text without zone, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def enrolment(*rows: Mapping[str, Any]) -> pa.Table:
    """Enrolment of (patient, device) pairs; zone Berlin and no end unless said."""
    usual = {
        "patient": "p-1",
        "site": "site-1",
        "zone": ZONE,
        "gateway": "gw-1",
        "device": "band-1",
        "valid_from_utc": ALWAYS,
        "valid_to_utc": None,
    }
    return pa.Table.from_pylist([usual | dict(row) for row in rows], schema=ENROLMENT)


def write(folder: Path, kind: str, rows: Iterable[Mapping[str, Any]], *, name: str = "one") -> list[Path]:
    """One lake file of `rows`; what every kind has is filled in."""
    usual = {"device": "band-1", "gateway": "gw-1", "sequence": 1, "source": "test/1"}
    usual |= {"received_utc": utc("2026-06-01T00:00")}
    path = folder / f"{kind}-{name}.parquet"
    schema = TABLES[kind]
    pq.write_table(pa.Table.from_pylist([usual | dict(row) for row in rows], schema=schema), path)
    return [path]


def minutes(start: datetime, values: Sequence[int], column: str, **more: Any) -> list[dict[str, Any]]:
    """Consecutive one-minute samples."""
    one = timedelta(minutes=1)
    return [
        {"start_utc": start + i * one, "end_utc": start + (i + 1) * one, column: value, **more}
        for i, value in enumerate(values)
    ]


def run(start: datetime, rr_ms: Sequence[int], **more: Any) -> dict[str, Any]:
    """One gap-free run of RR intervals of a strap."""
    end = start + timedelta(milliseconds=int(sum(rr_ms)))
    usual = {
        "device": "strap-1",
        "connection": "c-1",
        "first_beat": 0,
        "gap_before_ms": None,
        "sensor": "ecg",
    }
    return usual | {"start_utc": start, "end_utc": end, "rr_ms": list(rr_ms)} | more


def patient_days(first: date, columns: Mapping[str, Sequence[Any]], *, patient: str = "p-1") -> pa.Table:
    """Consecutive days of one patient; columns not given are null, segments those of one band and strap."""
    length = len(next(iter(columns.values())))
    segment = "steps=band-1 sleep=band-1 hrv=strap-1 pulse=strap-1"
    constant: dict[str, Any] = {"patient": patient, "zone": ZONE, "device_segment": segment}
    constant |= {"day_minutes": 1440, "is_flare_reported": False, "is_valid_day": True}
    rows = [
        constant
        | {"local_date": first + timedelta(days=i)}
        | {name: values[i] for name, values in columns.items()}
        for i in range(length)
    ]
    return pa.Table.from_pylist(rows, schema=PATIENT_DAY)
