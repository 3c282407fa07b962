"""What the patient records say of contraindications, and the pathways of a site."""

import json
from collections import defaultdict

from alerts.rules.pathway import Answer, Pathways, answers_of
from alerts.rules.pathway_lint import load_pathways
from flows.clinic import Clinic
from ingest.lake.records import as_of, read_records


def site_pathways(clinic: Clinic) -> Pathways:
    """Pathways in HOME/pathways; without that folder the placeholder."""
    return load_pathways(clinic.home / "pathways")


def contraindications(clinic: Clinic, now: int) -> dict[str, dict[str, Answer]]:
    """Patient -> contraindication -> what is known of it now; who has no record is not in it."""
    if not clinic.records_path.exists():
        return {}
    known: dict[str, list[tuple[str, Answer]]] = defaultdict(list)
    for one in as_of(read_records(clinic.records_path), valid_utc=now, known_utc=now):
        if one.kind == "contraindication":
            said = json.loads(one.payload)
            known[one.patient].append((said["what"], said["answer"]))
    return {patient: answers_of(said) for patient, said in known.items()}
