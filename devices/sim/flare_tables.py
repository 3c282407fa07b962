"""SYNTHETIC patient-days as tables: what was there of a day, and when it arrived."""

from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from devices.clock import to_utc
from devices.sim.flare_course import Floats, Marks
from devices.sim.flare_life import Life
from devices.sim.people import ZONES
from devices.sim.physiology import Rng

_NIGHT: Final = ("tst_min", "waso_min", "midpoint_h", "resting_hr_bpm", "rmssd_ms")


def make_tables(
    patients: list[str],
    first: date,
    zone: NDArray[np.int64],
    minutes: NDArray[np.int64],
    values: dict[str, Floats],
    tapped: Marks,
    life: Life,
) -> tuple[pa.Table, pa.Table]:
    """Full rows, and the first versions of those that came twice."""
    at = row, column = np.nonzero(life.is_enrolled)
    worn, answered = (life.is_worn & ~life.is_lost)[at], life.has_answer[at]
    valid = worn & ~life.is_short[at]
    there = {name: worn & (life.has_hrv[at] if name == "rmssd_ms" else True) for name in _NIGHT}
    there |= {"steps": valid, "nrs": answered, "mood": answered & life.has_mood[at]}
    there["midpoint_h"] = there["waso_min"] = there["tst_min"]
    streams = ("steps", "tst_min", "rmssd_ms", "resting_hr_bpm")
    segment = _segments(np.stack([there[name] for name in streams]), life.device[at])
    dates = (column + (first - date(1970, 1, 1)).days).astype(np.int32)
    arrival = dates + np.maximum(life.late_days, life.is_partial)[at]
    fields: dict[str, Any] = {
        "patient": pa.array(patients).take(pa.array(row)),
        "local_date": pa.array(dates).cast(pa.date32()),
        "zone": pa.array(ZONES).take(pa.array(zone[row])),
        "day_minutes": pa.array(minutes[at].astype(np.int32)),
        "wear_min": pa.array(np.where(worn, np.where(life.is_short[at], 300.0, 1000.0), 0.0)),
        "is_valid_day": pa.array(valid),
        "quality": pa.array(np.where(valid, None, "worn less than 600 minutes"), pa.string()),  # pyright: ignore
        **{
            name: pa.array(np.where(there[name], own[at], np.nan), from_pandas=True)
            for name, own in values.items()
        },
        "is_flare_reported": pa.array(tapped[at]),
        "device_segment": segment,
        "arrival": pa.array(arrival.astype(np.int32)).cast(pa.date32()),
    }
    rows = pa.table(fields)
    twice = np.flatnonzero(life.is_partial[at])
    return rows, _without_evening(rows.take(pa.array(twice)))


def _without_evening(rows: pa.Table) -> pa.Table:
    """First versions: no answers yet, half the steps, known on the day itself; the rest a day later."""
    for name in ("nrs", "mood"):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.nulls(rows.num_rows, pa.float64()))
    half = np.floor(np.asarray(rows["steps"], np.float64) / 2)
    rows = rows.set_column(rows.schema.get_field_index("steps"), "steps", pa.array(half, from_pandas=True))
    return rows.set_column(rows.schema.get_field_index("arrival"), "arrival", rows["local_date"])


def _segments(there: Marks, device: Floats) -> pa.Array:
    """Text of the wearables that spoke, such as ``steps=band-1 hrv=band-1``."""
    names = ("steps", "sleep", "hrv", "pulse")
    texts = [
        " ".join(f"{name}=wearable-{number + 1}" for bit, name in enumerate(names) if mask >> bit & 1) or None
        for number in range(4)
        for mask in range(16)
    ]
    mask = sum(there[bit].astype(np.int64) << bit for bit in range(4))
    return pa.array(texts, pa.string()).take(pa.array(mask + 16 * device.astype(np.int64)))


def make_notes(patients: list[str], first: date, life: Life) -> pa.Table:
    """Spells that were noted, written down on their first day at noon."""
    found: list[dict[str, Any]] = []
    spells = {
        "illness": life.is_illness_noted,
        "travel": life.is_travel_noted,
        "medication": life.has_medication,
    }
    for about, marks in spells.items():
        padded = np.pad(marks & life.is_enrolled, ((0, 0), (1, 1))).astype(np.int8)
        edges = np.diff(padded, axis=1)
        for (row, start), (_, end) in zip(np.argwhere(edges == 1), np.argwhere(edges == -1), strict=True):
            begun = first + timedelta(days=int(start))
            found.append(
                {
                    "patient": patients[row],
                    "about": about,
                    "first_date": begun,
                    "last_date": None if end == marks.shape[1] else first + timedelta(days=int(end) - 1),
                    "recorded_utc": to_utc(datetime.combine(begun, time(12), ZoneInfo("UTC"))),
                }
            )
    kinds = {
        "patient": pa.string(),
        "about": pa.string(),
        "first_date": pa.date32(),
        "last_date": pa.date32(),
    }
    schema = pa.schema([*kinds.items(), ("recorded_utc", pa.timestamp("us", tz="UTC"))])
    return pa.Table.from_pylist(found, schema=schema)


def make_people(rng: Rng, patients: list[str]) -> pa.Table:
    def drawn(*choices: str) -> pa.Array:
        return pa.array([choices[code] for code in rng.integers(0, len(choices), len(patients))])

    return pa.table(
        {
            "patient": pa.array(patients),
            "age_band": drawn("under 45", "45-64", "65 and over"),
            "sex": drawn("female", "male"),
            "device_model": drawn("band", "ring"),
        }
    )
