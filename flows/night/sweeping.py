"""Files of derived tables that neither the ledger nor a kept snapshot names any more."""

from analytics.store.ledger import Ledger
from analytics.store.snapshots import held_files
from analytics.tables import TABLES
from flows.clinic import Clinic


def sweep(clinic: Clinic, ledger: Ledger) -> int:
    """Delete files of derived tables that nothing names; returns how many. Call it where no night runs."""
    span = ledger.span()
    root = clinic.derived.root
    held = {(root / p.path).resolve() for name in TABLES for p in (ledger.parts(name, *span) if span else [])}
    named = held | held_files(clinic.published)
    doomed = [path for path in root.rglob("*.parquet") if path.resolve() not in named]
    for path in doomed:
        path.unlink()
    for left in root.rglob(".*.tmp"):
        left.unlink()
    return len(doomed)
