"""`flarecast extract --deid STUDY.toml`: rows of consented patients, de-identified and audited."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.store import deid, query
from analytics.store.study import Study, read_study
from devices.clock import from_utc, system_clock
from devices.durable import replace_file, sync_folder
from flows.clinic import Clinic
from flows.errors import UserError
from flows.os_user import os_user
from ingest.lake.manifest import only_one
from ingest.lake.records import PatientRecord, as_of, read_records

LOG = "extracts.jsonl"


def run_extract(home: Path, definition: Path, out: Path, *, as_json: bool) -> int:
    """Write the study's extract to `out` (a folder that is not there yet); returns the exit code."""
    clinic, study = Clinic(home), read_study(definition)
    if out.exists():
        raise UserError(f"{out} is there already: an extract never mixes with another")
    records = read_records(clinic.records_path) if clinic.records_path.exists() else []
    people = participants(records, study.consent_scope, now=system_clock())
    if not people:
        raise UserError(
            f"nobody has consented to {study.consent_scope!r} (patient records of the kind consent)"
        )
    snapshot = clinic.current.resolve()
    tables = {name: query.run(snapshot, _select(name, study)) for name in ("patient_day", *study.tables)}
    key = study_key(clinic.home / "studies", study.id)
    found = deid.extract(tables, people, deid.Disguise(key, study.min_cell, study.age_bands))
    _write(out, found, study, is_synthetic=clinic.is_synthetic)
    entry = {
        "utc": from_utc(system_clock()).isoformat(),
        "actor": os_user(),
        "study": study.id,
        "definition_sha256": hashlib.sha256(definition.read_bytes()).hexdigest(),
        "snapshot": snapshot.stem,
        "subjects": found["subjects"]["subject"].to_pylist(),
        "rows": {name: rows.num_rows for name, rows in found.items()},
    }
    append_to_log(clinic.home / "studies" / LOG, entry)
    summary = {"out": str(out), "subjects": found["subjects"].num_rows, "rows": entry["rows"]}
    print(json.dumps(summary) if as_json else _in_words(study, summary))
    return 0


def participants(records: Iterable[PatientRecord], scope: str, *, now: int) -> list[deid.Person]:
    """Patients whose last word on the scope, as known and valid now, is consent."""
    said: dict[str, tuple[int, bool, date]] = {}
    traits: dict[str, dict[str, Any]] = {}
    for one in as_of(records, valid_utc=now, known_utc=now):
        payload = json.loads(one.payload)
        if one.kind == "consent" and payload["scope"] == scope:
            word = (one.recorded_utc, payload["is_given"], from_utc(one.valid_from_utc).date())
            said[one.patient] = max(said.get(one.patient, word), word)
        elif one.kind == "demographics":
            traits[one.patient] = payload
    return [
        deid.Person(
            patient,
            since,
            traits.get(patient, {}).get("birth_year"),
            traits.get(patient, {}).get("sex"),
        )
        for patient, (_, is_given, since) in sorted(said.items())
        if is_given
    ]


def study_key(folder: Path, study: str) -> bytes:
    """Secret of a study, made on first use; nobody else on the machine can read it."""
    path = folder / f"{study}.key"
    if not path.exists():
        replace_file(path, secrets.token_bytes(32), mode=0o600)
    return path.read_bytes()


def append_to_log(path: Path, entry: dict[str, Any]) -> None:
    """Append to the log of extracts; each line carries the digest of the one before it."""
    with only_one(path.with_suffix(".lock"), "the log of extracts"):
        lines = path.read_text().splitlines() if path.exists() else []
        before = hashlib.sha256(lines[-1].encode()).hexdigest() if lines else ""
        line = json.dumps(entry | {"previous_sha256": before}, sort_keys=True)
        replace_file(path, "\n".join([*lines, line, ""]), mode=0o600)


def first_log_fault(path: Path) -> int | None:
    """Number of the first line (from 1) that does not follow from the one before it; None when all do."""
    before = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if json.loads(line)["previous_sha256"] != before:
            return number
        before = hashlib.sha256(line.encode()).hexdigest()
    return None


def _select(table: str, study: Study) -> str:
    return f"select * from {table} where local_date between date '{study.first}' and date '{study.last}'"


def _write(out: Path, tables: dict[str, pa.Table], study: Study, *, is_synthetic: bool) -> None:
    """Write every table and what they are; the folder appears whole."""
    staged = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    staged.mkdir(parents=True)
    for name, rows in tables.items():
        with (staged / f"{name}.parquet").open("wb") as stream:
            pq.write_table(rows, stream, compression="zstd")
            stream.flush()
            os.fsync(stream.fileno())
    facts = {
        "study": study.id,
        "purpose": study.purpose,
        "approved_by": study.approved_by,
        "data": "SYNTHETIC" if is_synthetic else "patients",
        "dates": "shifted per subject by whole weeks; instants are clock times",
        "min_cell": study.min_cell,
        "tables": {name: [_column(column) for column in rows.schema] for name, rows in tables.items()},
    }
    replace_file(staged / "study.json", json.dumps(facts, indent=1))
    sync_folder(staged)
    staged.rename(out)


def _column(column: pa.Field) -> dict[str, str]:
    metadata = column.metadata or {}
    return {
        "name": column.name,
        "type": str(column.type),
        "unit": metadata.get(b"unit", b"").decode(),
        "meaning": metadata.get(b"doc", b"").decode(),
    }


def _in_words(study: Study, summary: dict[str, Any]) -> str:
    rows = ", ".join(f"{count} rows of {name}" for name, count in summary["rows"].items())
    return f"study {study.id}: {summary['subjects']} subjects; {rows}\nwritten to {summary['out']}; logged"
