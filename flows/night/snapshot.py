"""The snapshot of what holds now: files of the derived tables by the ledger, the lake, the alerts."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq

from alerts.engine.journal import Journal
from analytics.store import publish
from analytics.store.ledger import Ledger
from analytics.tables import TABLES
from devices.clock import Clock
from flows import places, settings
from flows.clinic import Clinic
from flows.night import inventory
from flows.night import plan as night_plan
from flows.night.plan import Stock
from ingest.lake.remote import RemoteLake


def publish_now(clinic: Clinic, clock: Clock) -> int:
    """Publish what holds now, outside of a run; returns the snapshots made (0 or 1)."""
    with clinic.derived.ledger() as ledger:
        return publish_snapshot(clinic, ledger, night_plan.take_stock(clinic, ledger), clock)


def publish_snapshot(clinic: Clinic, ledger: Ledger, stock: Stock, clock: Clock) -> int:
    """Publish all derived tables and the alerts as one read-only snapshot.

    Returns
    -------
    int
        Snapshots made: 0 when the current one shows exactly this already.
    """
    if isinstance(clinic.lake, RemoteLake) and (place := settings.lake_place()) is not None:
        places.note(clinic.home, "lake", place)
    span = ledger.span()
    is_there = clinic.derived.files.is_there
    # one that is missing or cut is named by the night; it must not keep everything else from readers
    parts = {
        name: [part for part in ledger.parts(name, *span) if is_there(part)] if span else []
        for name in TABLES
    }
    files = {
        kind: [p for p in paths if stock.seen[p.relative_to(clinic.lake.root).as_posix()].fault is None]
        for kind, paths in stock.files.items()
    }
    with Journal(clinic.alert_store, clock) as journal:
        alerts = journal.to_table()
    own_tables = {} if stock.t_scores is None else {"t_score": stock.t_scores}
    made_of = inventory.digest(
        [
            inventory.code_version("snapshot"),
            *(part.path for own in parts.values() for part in own),
            str(clinic.lake.root.resolve()),
            *(p.relative_to(clinic.lake.root).as_posix() for own in files.values() for p in own),
            _content(alerts),
            _content(stock.enrolment),
            *(_content(rows) for rows in own_tables.values()),
            str(clinic.is_synthetic),
        ]
    )
    if publish.made_of(clinic.published) == made_of and clinic.current.exists():
        return 0
    publish.publish(
        clinic.published,
        {"alerts": alerts, **own_tables},
        files,
        clock=clock,
        enrolment=stock.enrolment,
        is_synthetic=clinic.is_synthetic,
        parts=parts,
        parts_root=clinic.derived.root,
        made_of=made_of,
    )
    return 1


def _content(rows: pa.Table) -> str:
    """Digest of the values: Parquet, unlike Arrow's own buffers, keeps nothing where a value is null."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="none")
    return hashlib.sha256(sink.getvalue()).hexdigest()
