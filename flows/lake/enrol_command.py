"""`flarecast enrol`: change and show the registry of devices, gateways and patients."""

import argparse
import sys
from pathlib import Path

from devices.clock import system_clock
from flows.clinic import Clinic
from flows.errors import UserError
from flows.lake.readmission import Readmission
from flows.words import counted
from ingest.lake.compaction_release import release
from ingest.lake.enrolment import (
    Enrolment,
    EnrolmentRow,
    read_enrolment,
    read_enrolment_leniently,
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
    if home.exists() and not home.is_dir():
        raise UserError(f"{home} is a file, not the folder of a clinic")
    if arguments.action == "export" and arguments.path is not None and arguments.path.is_dir():
        raise UserError(f"{arguments.path} is a folder: name a file")
    if arguments.action == "list":
        return _show(clinic, arguments.device, arguments.patient)
    if getattr(arguments, "records", False):
        _records(clinic, arguments)
    elif arguments.action == "export":
        _export(clinic.enrolment(), arguments.path)
    else:
        _change(clinic, arguments)
    return 0


def _records(clinic: Clinic, arguments: argparse.Namespace) -> None:
    path = clinic.records_path
    if arguments.action == "export" and not path.exists():
        raise UserError(f"no records at {path}: nothing was ever noted here")
    with only_one(clinic.home / "enrolment.lock", "the enrolment"):
        before = read_records(path) if path.exists() else []
        if arguments.action == "import":
            asked = read_records(arguments.path)
            readmission = Readmission(clinic, arguments.author if arguments.again else None)
            readmission.check_records(asked)
            after = merge(before, asked)
            readmission.note()
            if len(after) > len(before):
                write_records(path, after)
            readmission.done()
            print(f"{counted(len(after), 'record')}, {len(after) - len(before)} added")
        elif arguments.path is None:
            write_record_rows(sys.stdout, before)
        else:
            write_records(arguments.path, before)
            print(f"{arguments.path}: {counted(len(before), 'record')} written")


def _change(clinic: Clinic, arguments: argparse.Namespace) -> None:
    with only_one(clinic.home / "enrolment.lock", "the enrolment"):
        path = clinic.enrolment_path
        readmission = Readmission(clinic, arguments.author if getattr(arguments, "again", False) else None)
        before = read_enrolment(path) if path.exists() else Enrolment([])
        if arguments.action == "add":
            row, before_it = _row(arguments), before
            if arguments.replaces:
                before_it = before.end(arguments.replaces, row.valid_from_utc)
            readmission.check([("enrol add", row)])
            after = before_it.add(row)
        elif arguments.action == "end":
            after = before.end(arguments.device, read_instant(arguments.at, "--at"))
        else:
            after = before
            read_enrolment(arguments.path)
            asked = [(one.place, one.row()) for one in read_enrolment_leniently(arguments.path)[1]]
            readmission.check(asked)
            for _, row in asked:
                after = after.add(row)
        readmission.note()
        if after is not before:
            write_enrolment(path, after)
        readmission.done()
    print(f"{counted(len(after.rows), 'row')}, {len(after.rows) - len(before.rows)} added")
    if clinic.has_lake() and len(after.rows) > len(before.rows):
        released = release(clinic.lake, after, clock=system_clock)
        print(f"{counted(released, 'sample')} released from quarantine")


def _row(arguments: argparse.Namespace) -> EnrolmentRow:
    cells = {name: getattr(arguments, name) for name in ("patient", "site", "zone", "gateway", "device")}
    cells |= {"valid_from_utc": arguments.start, "valid_to_utc": arguments.end}
    return read_row(cells, "enrol add")


def _show(clinic: Clinic, device: str | None, patient: str | None) -> int:
    """Every row of a device or patient; without one, what holds now. Rows with a mistake are named after."""
    if not clinic.enrolment_path.exists():
        raise UserError(f"no enrolment file at {clinic.enrolment_path}: whose device is whose?")
    now = system_clock()
    _, written = read_enrolment_leniently(clinic.enrolment_path)
    rows = [
        row
        for row in (cells.row() for cells in written if cells.mistake is None)
        if (row.holds(now) if device is None and patient is None else True)
        and device in (None, row.device)
        and patient in (None, row.patient)
    ]
    write_rows(sys.stdout, sorted(rows, key=lambda row: (row.device, row.valid_from_utc)))
    sys.stdout.flush()
    wrong = [cells for cells in written if cells.mistake]
    for cells in wrong:
        print(f"flarecast: not shown, {cells.patient}: {cells.mistake}", file=sys.stderr)
    return 1 if wrong else 0


def _export(enrolment: Enrolment, path: Path | None) -> None:
    if path is None:
        write_rows(sys.stdout, enrolment.rows)
    else:
        write_enrolment(path, enrolment)
        print(f"{path}: {counted(len(enrolment.rows), 'row')} written")
