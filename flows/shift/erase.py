"""Erase a patient everywhere this installation keeps anything, prove it, and say what is outside."""

import hashlib
import json
import re
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import duckdb

from alerts.engine.journal import Journal
from alerts.store import erasing as store
from alerts.store.database import Database, free_pages
from analytics.store.ledger import Ledger
from analytics.store.parts import of_patients
from analytics.store.snapshots import FOREVER, expire
from analytics.tables import TABLES
from devices.clock import Clock, from_utc, to_utc
from devices.durable import replace_file
from flows import settings
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night import plan as night_plan
from flows.night import shared_snapshot
from flows.night.restamp import restamp, restamp_scores, scored_up_to_date, up_to_date
from flows.night.snapshot import publish_snapshot
from flows.night.sweeping import sweep
from flows.object_store import open_objects
from flows.shift.legal_holds import read_holds
from ingest.errors import StoreUnreachableError
from ingest.lake import erasing as lake_erasing
from ingest.lake.enrolment import Enrolment, EnrolmentRow, read_enrolment_leniently, write_enrolment
from ingest.lake.erasing import Worn
from ingest.lake.presence import forget_gateways
from ingest.lake.records import read_records, write_records
from ingest.lake.remote import RemoteLake

#: Copies that no program here can reach.
OUTSIDE: Final = (
    "FHIR server: resources written by the alert channel `fhir`, if one is configured",
    "mail boxes, webhook receivers and push services: messages already sent (they name no patient)",
    "backups made before today: destroy them, or erase again after a restore",
    "extracts given to studies: pseudonymous, by the agreement of each study",
    "the broker's queue: a message on its way is taken out by the next sweep",
)


@dataclass
class Receipt:
    """What was erased, what is outside, and which gateways have still to be confirmed.

    The patient is not named in it: whoever asked knows by the reference.
    """

    reference: str
    erased_utc: str
    lake_rows: dict[str, int] = field(default_factory=dict[str, int])
    object_versions: int = 0
    derived_files: int = 0
    snapshots: int = 0
    shared_snapshots: int = 0
    store_rows: dict[str, int] = field(default_factory=dict[str, int])
    registry_rows: int = 0
    reports: int = 0
    is_chain_whole: bool = False
    left: list[str] = field(default_factory=list[str])
    gateways_pending: list[str] = field(default_factory=list[str])
    outside: list[str] = field(default_factory=lambda: list(OUTSIDE))
    models: list[str] = field(default_factory=list[str])


def erase(clinic: Clinic, patient: str, *, clock: Clock, actor: str) -> Receipt:
    """Erase a patient and prove it. A run that was killed, or met storage that is away, is repeated.

    Raises
    ------
    StoreUnreachableError
        Object storage that is away.
    UserError
        A legal hold, a patient nobody knows, or another run at work.
    """
    _check_hold(clinic, patient)
    everybody = clinic.enrolment().rows
    rows = [row for row in everybody if row.patient == patient]
    records = read_records(clinic.records_path) if clinic.records_path.exists() else []
    begun = _begun(clinic, patient)
    if begun is None and not rows and not any(one.patient == patient for one in records):
        raise UserError(f"unknown patient {patient}: not in {clinic.enrolment_path}")
    now = clock()
    reference = begun or f"E-{secrets.token_hex(5).upper()}"
    receipt = Receipt(reference, from_utc(now).isoformat(timespec="seconds"))
    with clinic.alone("an erasure"), clinic.lake.alone("an erasure"), clinic.derived.ledger() as ledger:
        if begun is None:
            # written first: a run that is killed goes on by it, and late arrivals are known by it
            devices, gateways = lake_erasing.devices_of(rows), lake_erasing.gateways_of(rows, everybody)
            _keep_pending(clinic, receipt, patient, devices, gateways)
        else:
            devices, gateways = _read_pending(_pending_path(clinic, reference))
        before = night_plan.take_stock(clinic, ledger)
        current, scored = up_to_date(ledger, before), scored_up_to_date(ledger, before)
        erased = lake_erasing.erase(clinic.lake, devices, gateways)
        receipt.lake_rows = erased.rows
        others = [row for row in everybody if row.patient != patient]
        receipt.registry_rows = len(everybody) - len(others) + sum(one.patient == patient for one in records)
        write_enrolment(clinic.enrolment_path, Enrolment(others))
        if records:
            write_records(clinic.records_path, [one for one in records if one.patient != patient])
        receipt.derived_files = _erase_derived(clinic, ledger, patient)
        stock = night_plan.take_stock(clinic, ledger)
        restamp(ledger, before, stock, current, written=erased.written)
        restamp_scores(ledger, stock, scored)
        with Journal(clinic.alert_store, clock) as journal, journal.transaction() as con:
            own = _nobodys(gateways, others)
            receipt.store_rows = store.erase_patient(con, patient, utc=now, actor=actor, gateways=own)
        if heard := forget_gateways(clinic.lake.root, own):
            receipt.lake_rows["gateways"] = heard
        free_pages(clinic.alert_store)
        publish_snapshot(clinic, ledger, stock, clock)
        receipt.snapshots = expire(clinic.published, FOREVER)
        sweep(clinic, ledger)
        _erase_in_storage(clinic, receipt, devices, gateways)
        (clinic.published / "worklist.html").unlink(missing_ok=True)
        receipt.reports = _erase_reports(clinic, patient)
    receipt.gateways_pending = sorted({one.name for one in gateways})
    receipt.models = _models(clinic)
    receipt.left = search(clinic, patient, devices, gateways)
    receipt.left += _search_in_storage(clinic, devices, gateways)
    with Journal(clinic.alert_store, clock) as journal:
        receipt.is_chain_whole = journal.first_audit_fault() is None
    replace_file(
        clinic.home / "erasures" / f"{receipt.reference}.json",
        json.dumps(asdict(receipt), indent=1),
        mode=0o600,
    )
    if not receipt.left:
        _keep_pending(clinic, receipt, None, devices, gateways)
    return receipt


def sweep_pending(clinic: Clinic) -> dict[str, int]:
    """Take out what has arrived since of erased patients' devices; returns rows by where they were.

    On a machine that shares a lake by URL it also takes away the copies of what was erased elsewhere.
    """
    counts: dict[str, int] = {}
    for path in sorted((clinic.home / "erasures").glob("*.pending.json")):
        others = read_enrolment_leniently(clinic.enrolment_path)[0].rows
        devices, gateways = _read_pending(path, others)
        with clinic.lake.alone("an erasure"):
            for where, rows in lake_erasing.erase(clinic.lake, devices, gateways).rows.items():
                counts[where] = counts.get(where, 0) + rows
            if isinstance(clinic.lake, RemoteLake):
                lake_erasing.erase_versions(clinic.lake.objects, devices, gateways)
            # a box that is still on has told of itself again
            forget_gateways(clinic.lake.root, _nobodys(gateways, others))
    clinic.lake.forget_copies()
    return counts


def pending_devices(clinic: Clinic) -> list[Worn]:
    """Devices of erased patients, as they were enrolled, until every gateway of theirs is confirmed."""
    paths = sorted((clinic.home / "erasures").glob("*.pending.json"))
    return [one for path in paths for one in _read_pending(path)[0]]


def confirm(clinic: Clinic, reference: str, gateway: str) -> list[str]:
    """The spool of a gateway was emptied or destroyed; returns the gateways still pending.

    Raises
    ------
    UserError
        No such erasure, or not a gateway of it.
    """
    path = _pending_path(clinic, reference)
    if not path.exists():
        raise UserError(f"no erasure {reference} is pending")
    stored = json.loads(path.read_text())
    if gateway not in {one["name"] for one in stored["gateways"]}:
        raise UserError(f"{gateway} is not a gateway of {reference}")
    sweep_pending(clinic)
    stored["gateways"] = [one for one in stored["gateways"] if one["name"] != gateway]
    if stored["gateways"]:
        replace_file(path, json.dumps(stored), mode=0o600)
    else:
        path.unlink()
    return sorted({one["name"] for one in stored["gateways"]})


def search(clinic: Clinic, patient: str, devices: Sequence[Worn], gateways: Sequence[Worn]) -> list[str]:
    """Where anything of the patient is still found: every file below the home is looked into."""
    found = [str(path) for path in lake_erasing.left(clinic.lake, devices, gateways)]
    word = re.compile(rb"(?<![A-Za-z0-9_.-])" + re.escape(patient.encode()) + rb"(?![A-Za-z0-9_-])")
    for path in sorted(one for one in clinic.home.rglob("*") if one.is_file()):
        if path.suffix == ".parquet":
            has = False  # the lake's are looked into above, derived ones below, all at once
        elif path.suffix == ".duckdb":
            has = path.parent.name == "catalogs" and _has_in_catalog(path, patient)
        else:
            has = word.search(path.read_bytes()) is not None
        if has:
            found.append(str(path))
    found += [name for table in TABLES for name in _with_rows(clinic.derived.root / table, patient)]
    if isinstance(clinic.alert_store, str):
        with Database(clinic.alert_store) as database, database.transaction() as con:
            found += [f"alert store, table {table}" for table in store.left(con, patient)]
    return found


def _check_hold(clinic: Clinic, patient: str) -> None:
    held = read_holds(clinic.home)
    if patient in held:
        raise UserError(f"{patient} is under a legal hold ({held[patient]}): nothing was erased")


def _nobodys(gateways: Sequence[Worn], rows: Sequence[EnrolmentRow]) -> set[str]:
    """Of an erased patient's gateways those that were never anybody else's."""
    return {one.name for one in gateways} - {row.gateway for row in rows}


def _with_rows(folder: Path, patient: str) -> list[str]:
    """Files of a derived table with a row of the patient."""
    paths = [str(path) for path in folder.rglob("*.parquet")]
    if not paths:
        return []
    with duckdb.connect() as con:
        query = "select distinct filename from read_parquet(?, filename = true, union_by_name = true)"
        rows = con.execute(f"{query} where patient = ? order by filename", [paths, patient]).fetchall()
    return [str(name) for (name,) in rows]


def _has_in_catalog(path: Path, patient: str) -> bool:
    with duckdb.connect(str(path), read_only=True) as con:
        tables = con.execute(
            "select table_name from duckdb_columns() where column_name = 'patient' and not internal"
        ).fetchall()
        return any(
            (con.execute(f"select count(*) from {name} where patient = ?", [patient]).fetchone() or (0,))[0]
            for (name,) in tables
        )


# -- what is kept elsewhere ---------------------------------------------------------------------


def _erase_in_storage(
    clinic: Clinic, receipt: Receipt, devices: Sequence[Worn], gateways: Sequence[Worn]
) -> None:
    """Old versions of the lake's objects, and every snapshot there but a new one with its old versions."""
    lake, place = clinic.lake, settings.snapshot_place()
    if isinstance(lake, RemoteLake):
        words = "copies of the lake on other machines: they go within a day where a collector runs, or by"
        receipt.outside.append(f"{words} `flarecast erase --sweep` there")
        with _named_when_unknown(receipt, clinic.lake_place):
            receipt.object_versions = lake_erasing.erase_versions(lake.objects, devices, gateways)
    if place is not None:
        objects = open_objects(place)
        shared_snapshot.share(clinic, objects)
        receipt.shared_snapshots = shared_snapshot.expire(objects, FOREVER)
        with _named_when_unknown(receipt, place.url):
            for old in list(objects.old_versions()):
                objects.delete_old(old)


def _search_in_storage(clinic: Clinic, devices: Sequence[Worn], gateways: Sequence[Worn]) -> list[str]:
    """Objects that are still there and should not be; files of derived tables are known by their names."""
    lake, place = clinic.lake, settings.snapshot_place()
    found: list[str] = []
    with suppress(StoreUnreachableError):
        if isinstance(lake, RemoteLake):
            keys = lake_erasing.versions_left(lake.objects, devices, gateways)
            found += [f"{clinic.lake_place}/{key}" for key in keys]
    if place is not None:
        objects = open_objects(place)
        keys = shared_snapshot.unnamed(objects, [clinic.current.resolve().stem])
        found += [f"{place.url}/{key}" for key in keys]
        with suppress(StoreUnreachableError):
            found += [f"{place.url}/{old.key}?versionId={old.version}" for old in objects.old_versions()]
    return found


@contextmanager
def _named_when_unknown(receipt: Receipt, where: str) -> Generator[None]:
    """A store that does not say which versions it keeps is one more place outside."""
    try:
        yield
    except StoreUnreachableError as error:
        receipt.outside.append(f"old versions of objects below {where} ({error}): delete them there")


# -- derived tables and their ledger ------------------------------------------------------------


def _erase_derived(clinic: Clinic, ledger: Ledger, patient: str) -> int:
    """Write the patient's share anew without the patient, of every table and date."""
    span = ledger.span()
    files, count = clinic.derived.files, 0
    for name in TABLES:
        for part in ledger.parts(name, *span) if span else []:
            if not part.partition.holds(patient):
                continue
            rows = files.read(name, [part])
            kept = of_patients(rows, {patient}, are_wanted=False)
            if kept.num_rows != rows.num_rows:
                ledger.hold(files.write({name: kept}, part.day, part.day, part.partition))
                count += 1
    return count


# -- small files --------------------------------------------------------------------------------


def _erase_reports(clinic: Clinic, patient: str) -> int:
    count = 0
    for path in sorted(clinic.reports.glob("*.json")):
        stored = json.loads(path.read_text())
        named = [one for one in stored["problems"] if patient in one["patients"]]
        for one in named:
            one["patients"] = [name for name in one["patients"] if name != patient]
        if named:
            replace_file(path, json.dumps(stored, indent=1), mode=0o600)
            count += 1
    for path in (clinic.home / "requests").glob("*.json"):
        path.unlink()
    return count


def _models(clinic: Clinic) -> list[str]:
    """Fitted versions of this site: their training may have included the patient."""
    return sorted(path.parent.name for path in (clinic.home / "models").glob("[!.]*/model.json"))


def _pending_path(clinic: Clinic, reference: str) -> Path:
    return clinic.home / "erasures" / f"{reference}.pending.json"


def _keep_pending(
    clinic: Clinic,
    receipt: Receipt,
    patient: str | None,
    devices: Sequence[Worn],
    gateways: Sequence[Worn],
) -> None:
    """What is still to come from the homes; whose it is, as a digest, until the erasure is done."""
    reference = receipt.reference
    stored: Mapping[str, Any] = {
        "erased_utc": receipt.erased_utc,
        "devices": [asdict(one) for one in devices],
        "gateways": [asdict(one) for one in gateways],
        "subject": None if patient is None else _digest(reference, patient),
    }
    replace_file(_pending_path(clinic, reference), json.dumps(stored), mode=0o600)


def _begun(clinic: Clinic, patient: str) -> str | None:
    """Reference of an erasure of the patient that did not come to its end."""
    for path in (clinic.home / "erasures").glob("*.pending.json"):
        reference = path.name.removesuffix(".pending.json")
        if json.loads(path.read_text()).get("subject") == _digest(reference, patient):
            return reference
    return None


def _digest(reference: str, patient: str) -> str:
    return hashlib.sha256(f"{reference} {patient}".encode()).hexdigest()


def _read_pending(path: Path, others: Sequence[EnrolmentRow] = ()) -> tuple[list[Worn], list[Worn]]:
    """Devices and gateways, each until it was given to one of the others after the erasure."""
    stored = json.loads(path.read_text())
    devices, gateways = ([Worn(**one) for one in stored[name]] for name in ("devices", "gateways"))
    since = to_utc(datetime.fromisoformat(stored["erased_utc"]))
    return (
        lake_erasing.until_given(devices, [(row.device, row.valid_from_utc) for row in others]),
        lake_erasing.until_given(
            gateways, [(row.gateway, row.valid_from_utc) for row in others], after_utc=since
        ),
    )
