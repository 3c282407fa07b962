"""Files of derived tables that nothing names any more, and snapshots that nobody needs."""

import shutil
from pathlib import Path

from analytics.store import publish
from analytics.store.ledger import Ledger
from analytics.tables import TABLES
from flows.clinic import Clinic


def snapshots(clinic: Clinic) -> list[str]:
    """Every published snapshot, oldest first; the current one is among them."""
    return sorted(path.stem for path in (clinic.published / "catalogs").glob("*.duckdb"))


def drop_snapshots(clinic: Clinic, names: list[str]) -> int:
    """Delete snapshots, never the current one; catalogs first: what has none cannot be opened."""
    current = clinic.current.resolve().stem
    doomed = [name for name in names if name != current]
    for name in doomed:
        (clinic.published / "catalogs" / f"{name}.duckdb").unlink(missing_ok=True)
        shutil.rmtree(clinic.published / "snapshots" / name, ignore_errors=True)
    return len(doomed)


def named_files(clinic: Clinic, ledger: Ledger) -> set[Path]:
    """Files that the ledger or any snapshot names."""
    span = ledger.span()
    root = clinic.derived.root
    held = {(root / p.path).resolve() for name in TABLES for p in (ledger.parts(name, *span) if span else [])}
    return held.union(*(publish.files_of(clinic.published, name) for name in snapshots(clinic)))


def sweep(clinic: Clinic, ledger: Ledger) -> int:
    """Delete files of derived tables that nothing names; returns how many. Call it where no night runs."""
    named = named_files(clinic, ledger)
    doomed = [path for path in clinic.derived.root.rglob("*.parquet") if path.resolve() not in named]
    for path in doomed:
        path.unlink()
    for left in clinic.derived.root.rglob(".*.tmp"):
        left.unlink()
    return len(doomed)
