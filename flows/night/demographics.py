"""Age, sex and work days as the patient records say them."""

import json
from dataclasses import replace

from analytics.risk.subgroups import Traits
from flows.clinic import Clinic
from flows.night.work_days import WEEKDAYS
from ingest.lake.records import as_of, read_records


def traits_of(clinic: Clinic, now: int) -> dict[str, Traits]:
    """Patient -> what is written down now; nobody where no records are kept."""
    records = read_records(clinic.records_path) if clinic.records_path.exists() else []
    found: dict[str, Traits] = {}
    for one in as_of(records, valid_utc=now, known_utc=now):
        said, before = json.loads(one.payload), found.get(one.patient, Traits())
        if one.kind == "demographics":
            found[one.patient] = replace(before, birth_year=said.get("birth_year"), sex=said.get("sex"))
        elif one.kind == "work_days":
            days = frozenset(WEEKDAYS.index(name) for name in said["weekdays"])
            found[one.patient] = replace(before, work=days)
    return found
