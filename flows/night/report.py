"""What a run did and what went wrong, as printed, kept, and held against the clock by a dead man's switch."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from analytics.errors import PartError
from analytics.store.parts import Part, PartFiles
from devices.clock import Clock, from_utc
from devices.durable import replace_file
from flows.clinic import Clinic
from flows.night.problems import Problem


@dataclass
class NightReport:
    """What a run did."""

    first: str
    last: str
    patients: int
    nights: int = 0
    feature_days: int = 0
    score_days: int = 0
    written: int = 0
    alerts_opened: int = 0
    alerts_resolved: int = 0
    alerts_delivered: int = 0
    alerts_failed: int = 0
    #: where a device's own daily total is not what its minutes add up to
    vendor_difference_days: int = 0
    vendor_difference_patients: int = 0
    snapshot: str | None = None
    problems: list[Problem] = field(default_factory=list[Problem])

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json`` and the kept report; it names patients and stays at the clinic."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return own | {"problems": [problem.to_json() for problem in self.problems]}


def count_vendor_differences(
    report: NightReport, files: PartFiles, parts: Iterable[Part], patients: Sequence[str] | None
) -> None:
    """Enter days and patients whose device's own daily total is not the sum of its minutes.

    Parameters
    ----------
    parts : iterable of Part
        Files of patient_day; one that is damaged has been named by who needs it.
    patients : sequence of str, optional
        These only.
    """
    found: list[str] = []
    for part in parts:
        with suppress(PartError):
            rows = files.read("patient_day", [part], ["patient", "vendor_difference_steps"])
            found += rows.filter(rows["vendor_difference_steps"].is_valid())["patient"].to_pylist()
    own = [patient for patient in found if patients is None or patient in patients]
    report.vendor_difference_days = len(own)
    report.vendor_difference_patients = len(set(own))


def keep_report(clinic: Clinic, report: NightReport, clock: Clock) -> None:
    """Keep the report beside the others; a disk that is full keeps none."""
    stamp = from_utc(clock()).strftime("%Y%m%dT%H%M%S.%fZ")
    with suppress(OSError):
        replace_file(
            clinic.reports / f"nightly-{stamp}.json", json.dumps(report.to_json(), indent=1), mode=0o600
        )


def keep_watermark(clinic: Clinic, report: NightReport, clock: Clock) -> None:
    """Leave a mark that a night was published; :mod:`flows.shift.watch` looks at its age, not at Prefect."""
    mark = {"utc": clock(), "night": report.last, "snapshot": Path(report.snapshot or "").stem}
    replace_file(clinic.watermark_path, json.dumps(mark))
