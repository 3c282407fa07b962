"""Age and sex as the patient records say them."""

import json

from analytics.risk.subgroups import Traits
from flows.clinic import Clinic
from ingest.lake.records import as_of, read_records


def traits_of(clinic: Clinic, now: int) -> dict[str, Traits]:
    """Patient -> what is written down now; nobody where no records are kept."""
    records = read_records(clinic.records_path) if clinic.records_path.exists() else []
    found: dict[str, Traits] = {}
    for one in as_of(records, valid_utc=now, known_utc=now):
        if one.kind == "demographics":
            said = json.loads(one.payload)
            found[one.patient] = Traits(said.get("birth_year"), said.get("sex"))
    return found
