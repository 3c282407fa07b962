"""Erase a patient everywhere this installation keeps anything, prove it, and say what is outside."""

import json
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from alerts.engine.journal import Journal
from alerts.store import erasing as store
from alerts.store.database import free_pages
from analytics.errors import PartError
from analytics.store.ledger import Ledger
from analytics.store.parts import of_patients
from analytics.store.snapshots import FOREVER, expire
from analytics.tables import TABLES
from devices.clock import Clock, from_utc, to_utc
from devices.durable import replace_file
from flows.clinic import Clinic, read_json
from flows.errors import UserError
from flows.night import plan as night_plan
from flows.night.restamp import restamp, restamp_scores, scored_up_to_date, up_to_date
from flows.night.snapshot import publish_snapshot
from flows.night.sweeping import sweep
from flows.shift.erase_receipt import Receipt, added
from flows.shift.erase_search import search
from flows.shift.erase_storage import erase_in_storage, search_in_storage
from flows.shift.legal_holds import read_holds
from ingest.lake import erasing as lake_erasing
from ingest.lake.enrolment import Enrolment, EnrolmentRow, read_enrolment_leniently, write_enrolment
from ingest.lake.erased import ErasedRegister
from ingest.lake.erasing import Worn
from ingest.lake.manifest import only_one
from ingest.lake.presence import forget_gateways
from ingest.lake.records import read_records, write_records
from ingest.lake.remote import RemoteLake


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
    register = ErasedRegister(clinic.home)
    begun = _begun(clinic, register, patient)
    if begun is None and not rows and not any(one.patient == patient for one in records):
        raise UserError(f"unknown patient {patient}: not in {clinic.enrolment_path}")
    now = clock()
    reference = begun or f"E-{secrets.token_hex(5).upper()}"
    receipt = Receipt(reference, from_utc(now).isoformat(timespec="seconds"))
    with clinic.alone("an erasure"), clinic.lake.alone("an erasure"), clinic.derived.ledger() as ledger:
        if begun is None:
            # written first: a run that is killed goes on by it, and late arrivals are known by it
            devices, gateways = lake_erasing.devices_of(rows), lake_erasing.gateways_of(rows, everybody)
            register.add(reference, patient, devices, now)
            _keep_pending(clinic, receipt, devices, gateways, is_begun=True)
        else:
            path = _pending_path(clinic, reference)
            devices, gateways = _read_pending(path)
            receipt.erased_utc = _stored(path)["erased_utc"]
        with _kept(clinic, receipt):
            _take_out(clinic, ledger, patient, devices, gateways, receipt, clock=clock, actor=actor)
    with _kept(clinic, receipt):
        receipt.left = search(clinic, patient, devices, gateways)
        receipt.left += search_in_storage(clinic, devices, gateways)
        with Journal(clinic.alert_store, clock) as journal:
            receipt.is_chain_whole = journal.first_audit_fault() is None
    receipt.gateways_pending = sorted({one.name for one in gateways})
    receipt.models = _models(clinic)
    receipt = _keep(clinic, receipt)
    if not receipt.left:
        _keep_pending(clinic, receipt, devices, gateways, is_begun=False)
    return receipt


def look(clinic: Clinic, patient: str) -> tuple[list[str], list[str]]:
    """What an erasure would find, and gateways whose spools would be pending; nothing is changed.

    Raises
    ------
    UserError
        A legal hold, or a patient nobody knows.
    """
    _check_hold(clinic, patient)
    everybody = clinic.enrolment().rows
    rows = [row for row in everybody if row.patient == patient]
    devices, gateways = lake_erasing.devices_of(rows), lake_erasing.gateways_of(rows, everybody)
    found = search(clinic, patient, devices, gateways)
    if not rows and not found:
        raise UserError(f"unknown patient {patient}: not in {clinic.enrolment_path}")
    return found, sorted({one.name for one in gateways})


def _take_out(
    clinic: Clinic,
    ledger: Ledger,
    patient: str,
    devices: Sequence[Worn],
    gateways: Sequence[Worn],
    receipt: Receipt,
    *,
    clock: Clock,
    actor: str,
) -> None:
    """Take everything out and count it in the receipt."""
    before = night_plan.take_stock(clinic, ledger)
    current, scored = up_to_date(ledger, before), scored_up_to_date(ledger, before)
    erased = lake_erasing.erase(clinic.lake, devices, gateways)
    receipt.lake_rows = erased.rows
    others, receipt.registry_rows = _erase_registry(clinic, patient)
    receipt.derived_files = _erase_derived(clinic, ledger, patient)
    stock = night_plan.take_stock(clinic, ledger)
    restamp(ledger, before, stock, current, written=erased.written)
    restamp_scores(ledger, stock, scored)
    with Journal(clinic.alert_store, clock) as journal, journal.transaction() as con:
        own = _nobodys(gateways, others)
        receipt.store_rows = store.erase_patient(con, patient, utc=clock(), actor=actor, gateways=own)
    if heard := forget_gateways(clinic.lake.root, own):
        receipt.lake_rows["gateways"] = heard
    free_pages(clinic.alert_store)
    publish_snapshot(clinic, ledger, stock, clock)
    receipt.snapshots = expire(clinic.published, FOREVER)
    sweep(clinic, ledger)
    erase_in_storage(clinic, receipt, devices, gateways)
    (clinic.published / "worklist.html").unlink(missing_ok=True)
    receipt.reports = _erase_reports(clinic, patient)


@contextmanager
def _kept(clinic: Clinic, receipt: Receipt) -> Generator[None]:
    """Where a run fails, what it had taken out stands in the receipt, and the next one adds to it."""
    try:
        yield
    except BaseException:
        receipt.left = ["not searched: the run has failed"]
        _keep(clinic, receipt)
        raise


def _keep(clinic: Clinic, receipt: Receipt) -> Receipt:
    path = clinic.home / "erasures" / f"{receipt.reference}.json"
    whole = added(receipt, Receipt(**read_json(path))) if path.exists() else receipt
    replace_file(path, json.dumps(asdict(whole), indent=1), mode=0o600)
    return whole


def sweep_pending(clinic: Clinic) -> dict[str, int]:
    """Take out what has arrived since of erased patients' devices; returns rows by where they were.

    On a machine that shares a lake by URL it also takes away the copies of what was erased elsewhere.
    """
    counts: dict[str, int] = {}
    lake, paths = clinic.lake, sorted((clinic.home / "erasures").glob("*.pending.json"))
    if paths:
        others = read_enrolment_leniently(clinic.enrolment_path)[0].rows
        pending = [_read_pending(path, others) for path in paths]
        devices = [one for own, _ in pending for one in own]
        gateways = [one for _, own in pending for one in own]
        with lake.alone("an erasure"):
            counts = lake_erasing.erase(lake, devices, gateways).rows
            if isinstance(lake, RemoteLake):
                lake_erasing.erase_versions(lake.objects, devices, gateways)
            # a box that is still on has told of itself again
            forget_gateways(lake.root, _nobodys(gateways, others))
    lake.forget_copies()
    return counts


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
    stored = _stored(path)
    if gateway not in {one["name"] for one in stored["gateways"]}:
        raise UserError(f"{gateway} is not a gateway of {reference}")
    sweep_pending(clinic)
    stored["gateways"] = [one for one in stored["gateways"] if one["name"] != gateway]
    if stored["gateways"]:
        replace_file(path, json.dumps(stored), mode=0o600)
    else:
        path.unlink()
    return sorted({one["name"] for one in stored["gateways"]})


def _check_hold(clinic: Clinic, patient: str) -> None:
    held = read_holds(clinic.home)
    if patient in held:
        raise UserError(f"{patient} is under a legal hold ({held[patient]}): nothing was erased")


def _nobodys(gateways: Sequence[Worn], rows: Sequence[EnrolmentRow]) -> set[str]:
    """Of an erased patient's gateways those that were never anybody else's."""
    return {one.name for one in gateways} - {row.gateway for row in rows}


# -- derived tables and their ledger ------------------------------------------------------------


def _erase_derived(clinic: Clinic, ledger: Ledger, patient: str) -> int:
    """Write the patient's share anew without the patient, of every table and date."""
    span = ledger.span()
    files, count = clinic.derived.files, 0
    for name in TABLES:
        for part in ledger.parts(name, *span) if span else []:
            if not part.partition.holds(patient):
                continue
            try:
                rows = files.read(name, [part])
            except PartError:
                # the next night makes it anew; where it cannot any more, the search names the file
                if part.day >= night_plan.frozen_before(ledger):
                    ledger.forget(part.path)
                    (clinic.derived.root / part.path).unlink(missing_ok=True)
                continue
            kept = of_patients(rows, {patient}, are_wanted=False)
            if kept.num_rows != rows.num_rows:
                ledger.hold(files.write({name: kept}, part.day, part.day, part.partition))
                count += 1
    return count


# -- registry -----------------------------------------------------------------------------------


def _erase_registry(clinic: Clinic, patient: str) -> tuple[list[EnrolmentRow], int]:
    """Take the patient out of what stands there by now; returns everybody else's rows, and rows taken out."""
    with only_one(clinic.home / "enrolment.lock", "the enrolment"):
        everybody = clinic.enrolment().rows
        others = [row for row in everybody if row.patient != patient]
        records = read_records(clinic.records_path) if clinic.records_path.exists() else []
        kept = [one for one in records if one.patient != patient]
        if len(others) < len(everybody):
            write_enrolment(clinic.enrolment_path, Enrolment(others))
        if len(kept) < len(records):
            write_records(clinic.records_path, kept)
    return others, len(everybody) - len(others) + len(records) - len(kept)


# -- small files --------------------------------------------------------------------------------


def _erase_reports(clinic: Clinic, patient: str) -> int:
    count = 0
    for path in sorted(clinic.reports.glob("*.json")):
        try:
            stored = json.loads(path.read_text())
        except ValueError:
            continue  # the search looks into it all the same
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
    devices: Sequence[Worn],
    gateways: Sequence[Worn],
    *,
    is_begun: bool,
) -> None:
    """What is still to come from the homes; `is_begun` until the erasure has come to its end."""
    stored: Mapping[str, Any] = {
        "erased_utc": receipt.erased_utc,
        "devices": [asdict(one) for one in devices],
        "gateways": [asdict(one) for one in gateways],
        "is_begun": is_begun,
    }
    replace_file(_pending_path(clinic, receipt.reference), json.dumps(stored), mode=0o600)


def _begun(clinic: Clinic, register: ErasedRegister, patient: str) -> str | None:
    """Reference of an erasure of the patient that did not come to its end."""
    reference = register.reference_of(patient)
    if reference is None or not (path := _pending_path(clinic, reference)).exists():
        return None
    return reference if _stored(path)["is_begun"] else None


def _stored(path: Path) -> dict[str, Any]:
    """What is still to come of an erasure.

    Raises
    ------
    UserError
        When it cannot be read: what homes send would stay.
    """
    try:
        found = json.loads(path.read_text())
        return {name: found[name] for name in ("erased_utc", "devices", "gateways", "is_begun")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it from a backup") from None


def _read_pending(path: Path, others: Sequence[EnrolmentRow] = ()) -> tuple[list[Worn], list[Worn]]:
    """Devices and gateways, each until it was given to one of the others after the erasure."""
    stored = _stored(path)
    devices, gateways = ([Worn(**one) for one in stored[name]] for name in ("devices", "gateways"))
    since = to_utc(datetime.fromisoformat(stored["erased_utc"]))
    return (
        lake_erasing.until_given(devices, [(row.device, row.valid_from_utc) for row in others]),
        lake_erasing.until_given(
            gateways, [(row.gateway, row.valid_from_utc) for row in others], after_utc=since
        ),
    )
