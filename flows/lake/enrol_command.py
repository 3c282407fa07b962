"""`flarecast enrol`: change and show the registry of devices, gateways and patients."""

import argparse
import sys
from pathlib import Path

from devices.clock import system_clock
from flows.clinic import Clinic
from ingest.lake.compaction_release import release
from ingest.lake.enrolment import (
    Enrolment,
    read_enrolment,
    read_instant,
    read_row,
    write_enrolment,
    write_rows,
)
from ingest.lake.manifest import only_one
from ingest.lake.records import merge, read_records, write_record_rows, write_records


def run_enrol(home: Path, arguments: argparse.Namespace) -> int:
    """Run one action of `flarecast enrol`; returns the exit code."""
    clinic = Clinic(home)
    if arguments.action == "list":
        _show(clinic.enrolment(), arguments.device, arguments.patient)
    elif getattr(arguments, "records", False):
        _records(clinic, arguments)
    elif arguments.action == "export":
        _export(clinic.enrolment(), arguments.path)
    else:
        _change(clinic, arguments)
    return 0


def _records(clinic: Clinic, arguments: argparse.Namespace) -> None:
    path = clinic.records_path
    with only_one(clinic.home / "enrolment.lock", "the enrolment"):
        before = read_records(path) if path.exists() else []
        if arguments.action == "import":
            after = merge(before, read_records(arguments.path))
            if len(after) > len(before):
                write_records(path, after)
            print(f"{len(after)} records, {len(after) - len(before)} added")
        elif arguments.path is None:
            write_record_rows(sys.stdout, before)
        else:
            write_records(arguments.path, before)


def _change(clinic: Clinic, arguments: argparse.Namespace) -> None:
    with only_one(clinic.home / "enrolment.lock", "the enrolment"):
        path = clinic.enrolment_path
        before = read_enrolment(path) if path.exists() else Enrolment([])
        if arguments.action == "add":
            after = _add(before, arguments)
        elif arguments.action == "end":
            after = before.end(arguments.device, read_instant(arguments.at, "--at"))
        else:
            after = before
            for row in read_enrolment(arguments.path).rows:
                after = after.add(row)
        if after is not before:
            write_enrolment(path, after)
    print(f"{len(after.rows)} rows, {len(after.rows) - len(before.rows)} added")
    if clinic.has_lake() and len(after.rows) > len(before.rows):
        print(f"{release(clinic.lake, after, clock=system_clock)} samples released from quarantine")


def _add(before: Enrolment, arguments: argparse.Namespace) -> Enrolment:
    cells = {name: getattr(arguments, name) for name in ("patient", "site", "zone", "gateway", "device")}
    cells |= {"valid_from_utc": arguments.start, "valid_to_utc": arguments.end}
    row = read_row(cells, "enrol add")
    if arguments.replaces:
        before = before.end(arguments.replaces, row.valid_from_utc)
    return before.add(row)


def _show(enrolment: Enrolment, device: str | None, patient: str | None) -> None:
    """Every row of a device or patient; without one, what holds now."""
    now = system_clock()
    rows = [
        row
        for row in enrolment.rows
        if (row.holds(now) if device is None and patient is None else True)
        and device in (None, row.device)
        and patient in (None, row.patient)
    ]
    write_rows(sys.stdout, sorted(rows, key=lambda row: (row.device, row.valid_from_utc)))


def _export(enrolment: Enrolment, path: Path | None) -> None:
    if path is None:
        write_rows(sys.stdout, enrolment.rows)
    else:
        write_enrolment(path, enrolment)
