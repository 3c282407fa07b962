"""`flarecast erase`: a patient, what arrives later, and the confirmation of a home's spool."""

import json
from dataclasses import asdict
from pathlib import Path

from devices.clock import system_clock
from flows.clinic import Clinic
from flows.errors import UserError
from flows.os_user import os_user
from flows.shift.erase import confirm, erase, look, sweep_pending
from flows.shift.erase_receipt import in_words
from flows.words import counted


def run_erase(home: Path, patient: str, *, as_json: bool) -> int:
    """Erase and print the receipt; exit code 1 when anything was still found."""
    receipt = erase(_clinic(home), patient, clock=system_clock, actor=os_user())
    print(json.dumps(asdict(receipt)) if as_json else in_words(receipt))
    return 1 if receipt.left or not receipt.is_chain_whole else 0


def run_look(home: Path, patient: str) -> int:
    """Say what an erasure would find, and change nothing; returns the exit code."""
    found, gateways = look(_clinic(home), patient)
    print("\n".join(found))
    pending = f"; spools pending then: {', '.join(gateways)}" if gateways else ""
    print(f"{counted(len(found), 'place')} with something of the patient{pending}; nothing was changed")
    return 0


def run_sweep(home: Path) -> int:
    """Take out what arrived since; returns the exit code."""
    counts = sweep_pending(_clinic(home))
    print(f"{sum(counts.values())} rows of erased patients taken out")
    return 0


def run_confirm(home: Path, reference: str, gateway: str | None) -> int:
    """Note that the spool of a gateway is empty; returns the exit code."""
    if not gateway:
        raise UserError("--confirm needs --gateway")
    pending = confirm(_clinic(home), reference, gateway)
    print(f"{reference}: " + (f"still pending: {', '.join(pending)}" if pending else "complete"))
    return 0


def _clinic(home: Path) -> Clinic:
    if not home.is_dir():
        # a misspelt folder must not look like one in which nothing is left
        raise UserError(f"no clinic folder at {home}")
    return Clinic(home)
