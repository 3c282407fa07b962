"""Answers that page and were not seen live: written down by hand, imported, released from quarantine.

The night offers those of the last weeks to the item rules once more; what was judged before is passed
over by its id. An answer that comes by a gateway is judged live, however old it is; in a file of years,
older ones page nobody: they are history.
"""

from datetime import timedelta
from typing import Final

import pyarrow.compute as pc
import pyarrow.dataset as ds

from alerts.engine.events import Answer
from alerts.rules.pack import RulePack
from alerts.rules.rule import ItemRule
from devices.clock import from_utc, to_utc
from devices.observations import ProAnswer
from flows.clinic import Clinic
from ingest.lake.enrolment import read_enrolment_leniently

#: Answers given within so long are offered again.
RECENT: Final = timedelta(days=30)
_COLUMNS: Final = ["device", "start_utc", "answer_id", "instrument", "item", "value"]


def late_answers(clinic: Clinic, pack: RulePack, now: int) -> list[Answer]:
    """Recent answers of the lake that some item rule asks for, of devices whose patient is known."""
    wanted = {(rule.instrument, rule.item) for rule in pack.rule if isinstance(rule, ItemRule)}
    files = [str(path) for path in clinic.lake.files(ProAnswer.kind)] if wanted else []
    if not files:
        return []
    is_recent = pc.field("start_utc") >= from_utc(now) - RECENT
    is_asked = pc.field("instrument").isin(sorted({instrument for instrument, _ in wanted}))
    rows = ds.dataset(files, format="parquet").to_table(columns=_COLUMNS, filter=is_recent & is_asked)
    enrolment = read_enrolment_leniently(clinic.enrolment_path)[0]
    found: list[Answer] = []
    for row in rows.to_pylist():
        at = to_utc(row["start_utc"])
        owner = enrolment.lookup(row["device"], at)
        if owner is not None and (row["instrument"], row["item"]) in wanted:
            found.append(
                Answer(
                    answer=row["answer_id"],
                    patient=owner.patient,
                    instrument=row["instrument"],
                    item=row["item"],
                    value=row["value"],
                    at=at,
                    zone=owner.zone,
                    site=owner.site,
                )
            )
    return found
