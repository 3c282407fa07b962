"""`flarecast erase`: a patient, what arrives later, and the confirmation of a home's spool."""

import getpass
import json
from dataclasses import asdict
from pathlib import Path

from devices.clock import system_clock
from flows.clinic import Clinic
from flows.errors import UserError
from flows.shift.erase import Receipt, confirm, erase, sweep_pending


def run_erase(home: Path, patient: str, *, as_json: bool) -> int:
    """Erase and print the receipt; exit code 1 when anything was still found."""
    receipt = erase(Clinic(home), patient, clock=system_clock, actor=getpass.getuser())
    print(json.dumps(asdict(receipt)) if as_json else _in_words(receipt))
    return 1 if receipt.left or not receipt.is_chain_whole else 0


def run_sweep(home: Path) -> int:
    """Take out what arrived since; returns the exit code."""
    counts = sweep_pending(Clinic(home))
    print(f"{sum(counts.values())} rows of erased patients taken out")
    return 0


def run_confirm(home: Path, reference: str, gateway: str | None) -> int:
    """Note that the spool of a gateway is empty; returns the exit code."""
    if not gateway:
        raise UserError("--confirm needs --gateway")
    pending = confirm(Clinic(home), reference, gateway)
    print(f"{reference}: " + (f"still pending: {', '.join(pending)}" if pending else "complete"))
    return 0


def _in_words(receipt: Receipt) -> str:
    lines = [
        f"Erasure {receipt.reference}, {receipt.erased_utc}",
        f"  rows of the lake          {sum(receipt.lake_rows.values())} {receipt.lake_rows}",
        f"  old versions of objects   {receipt.object_versions}",
        f"  files of derived tables   {receipt.derived_files}",
        f"  snapshots deleted         {receipt.snapshots}, on storage {receipt.shared_snapshots}",
        f"  rows of the alert store   {sum(receipt.store_rows.values())}",
        f"  rows of the registry      {receipt.registry_rows}, reports mended {receipt.reports}",
        f"  audit chain               {'whole' if receipt.is_chain_whole else 'BROKEN'}, secret destroyed",
        f"  found by search           {', '.join(receipt.left) or 'nothing'}",
        "Still to do, outside of this installation:",
        *(f"  - {text}" for text in receipt.outside),
    ]
    for gateway in receipt.gateways_pending:
        lines.append(
            f"  - the spool of {gateway}: empty it, then "
            f"flarecast erase --confirm {receipt.reference} --gateway {gateway}"
        )
    for model in receipt.models:
        lines.append(f"  - the model {model} may have been trained on the data: refit, or document why not")
    return "\n".join(lines)
