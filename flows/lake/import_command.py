"""`flarecast import`: historical observations into the clinic's lake."""

import json
from dataclasses import asdict
from pathlib import Path

from devices.clock import system_clock
from flows.clinic import Clinic
from flows.words import counted
from ingest.lake.erased import ErasedRegister
from ingest.lake.importing import import_file


def run_import(home: Path, path: Path, *, kind: str, as_json: bool) -> int:
    """Import one file and print what became of it; returns the exit code.

    It is 1 where every row was refused, or one left out.
    """
    clinic = Clinic(home)
    erased = ErasedRegister(clinic.home)
    done = import_file(
        clinic.lake, clinic.enrolment(), path, kind, clock=system_clock, erased=erased.is_of_device
    )
    if as_json:
        print(json.dumps(asdict(done)))
    elif done.is_repeated:
        print(f"{path} was imported before: nothing to do; what became of it then:")
    if not as_json:
        stored = counted(done.samples, "sample")
        print(f"{counted(done.rows, 'row')}: {stored} stored, {done.refused} in quarantine")
        if done.erased:
            print(
                f"{counted(done.erased, 'row')} of somebody who was erased: kept nowhere "
                "(back again? `flarecast enrol add --again-after-erasure` first)"
            )
    if done.reason and not as_json:
        print(f"the first in quarantine: {done.reason}")
    return 1 if done.erased or (done.rows and done.refused == done.rows) else 0
