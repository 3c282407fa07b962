"""Who did what to which alert: rows that can be added, and an edit that shows.

Each row's hash covers the row and the hash before it. Rows name the alert's
random reference, never the patient: erasing a patient leaves the chain whole.
"""

import hashlib
import json
import sqlite3
from typing import Any

#: What the first row follows.
GENESIS = "0" * 64


def append(con: sqlite3.Connection, utc: int, actor: str, action: str, alert: str, **detail: Any) -> None:
    """Add a row, in the caller's transaction."""
    last = con.execute("select sequence, hash from audit order by sequence desc limit 1").fetchone()
    sequence, previous = (last[0] + 1, last[1]) if last else (1, GENESIS)
    text = json.dumps(detail, sort_keys=True, separators=(",", ":"))
    row = (sequence, utc, actor, action, alert, text, previous)
    con.execute("insert into audit values (?, ?, ?, ?, ?, ?, ?, ?)", (*row, _hash(row)))


def first_fault(con: sqlite3.Connection) -> int | None:
    """Sequence number of the first row that does not follow from those before it; None when all do."""
    previous = GENESIS
    rows = con.execute(
        "select sequence, utc, actor, action, alert, detail, previous_hash, hash from audit order by sequence"
    )
    for expected, row in enumerate(rows, start=1):
        if row[0] != expected or row[6] != previous or row[7] != _hash(row[:7]):
            return expected
        previous = row[7]
    return None


def _hash(row: tuple[Any, ...]) -> str:
    return hashlib.sha256(json.dumps(row, separators=(",", ":")).encode()).hexdigest()
