"""Who did what to which alert, and who looked: rows that can be added, and an edit that shows.

Each row's hash covers the row and the hash before it. A row names its subject by a random key only,
and says everything about it as ciphertext under the subject's own secret (AES-256-GCM): erasing a
patient destroys the secret, and the chain still verifies.
"""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from alerts.store.schema import audit, subject_key

#: What the first row follows.
GENESIS: Final = "0" * 64
_NONCE_BYTES: Final = 12
_COLUMNS: Final = (
    *(audit.c.sequence, audit.c.utc, audit.c.actor, audit.c.action),
    *(audit.c.alert, audit.c.subject_key, audit.c.detail, audit.c.previous_hash),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the audit, as it can be read today.

    Parameters
    ----------
    detail : dict, optional
        What was recorded; None once the subject was erased.
    """

    sequence: int
    utc: int
    actor: str
    action: str
    alert: str | None
    detail: dict[str, Any] | None


def append(
    con: sa.Connection,
    utc: int,
    actor: str,
    action: str,
    *,
    alert: str | None = None,
    subject: tuple[str, str] | None = None,
    **detail: Any,
) -> None:
    """Add a row, in the caller's transaction; `subject` is (scope, subject)."""
    last = con.execute(
        sa.select(audit.c.sequence, audit.c.hash).order_by(audit.c.sequence.desc()).limit(1)
    ).first()
    sequence, previous = (last.sequence + 1, last.hash) if last else (1, GENESIS)
    text = json.dumps(detail, sort_keys=True, separators=(",", ":"))
    key = None
    if subject is not None:
        key, secret = _key_of(con, *subject)
        text = _encrypt(secret, text, key, sequence)
    row = (sequence, utc, actor, action, alert, key, text, previous)
    values = dict(zip([column.name for column in _COLUMNS], row, strict=True))
    con.execute(audit.insert(), values | {"hash": _hash(row)})


def first_fault(con: sa.Connection) -> int | None:
    """Sequence number of the first row that does not follow from those before it; None when all do."""
    previous = GENESIS
    rows = con.execute(sa.select(*_COLUMNS, audit.c.hash).order_by(audit.c.sequence))
    for expected, row in enumerate(rows, start=1):
        if row.sequence != expected or row.previous_hash != previous or row.hash != _hash(tuple(row[:-1])):
            return expected
        previous = row.hash
    return None


def head(con: sa.Connection) -> tuple[int, str]:
    """Length of the chain and its last hash: kept elsewhere, they show rows cut off its end."""
    last = con.execute(
        sa.select(audit.c.sequence, audit.c.hash).order_by(audit.c.sequence.desc()).limit(1)
    ).first()
    return (last.sequence, last.hash) if last else (0, GENESIS)


def entries_of(con: sa.Connection, alert: str) -> list[Entry]:
    """What happened to an alert, oldest first."""
    return read(con, audit.c.alert == alert)


def read(con: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Entry]:
    """Rows of the audit, decrypted where the subject has not been erased."""
    rows = con.execute(
        sa.select(audit, subject_key.c.secret)
        .outerjoin(subject_key, audit.c.subject_key == subject_key.c.subject_key)
        .where(*where)
        .order_by(audit.c.sequence)
    )
    return [Entry(row.sequence, row.utc, row.actor, row.action, row.alert, _detail(row)) for row in rows]


def erase_subject(con: sa.Connection, scope: str, subject: str) -> bool:
    """Destroy the secret of a subject: its rows can no longer be read, the chain stays whole."""
    done = con.execute(
        subject_key.delete().where(subject_key.c.scope == scope, subject_key.c.subject == subject)
    )
    return done.rowcount > 0


def _key_of(con: sa.Connection, scope: str, subject: str) -> tuple[str, bytes]:
    row = con.execute(
        sa.select(subject_key.c.subject_key, subject_key.c.secret).where(
            subject_key.c.scope == scope, subject_key.c.subject == subject
        )
    ).first()
    if row is not None:
        return row.subject_key, row.secret
    key, secret = secrets.token_hex(8), AESGCM.generate_key(256)
    row_of = {"subject_key": key, "scope": scope, "subject": subject, "secret": secret}
    con.execute(subject_key.insert(), row_of)
    return key, secret


def _encrypt(secret: bytes, text: str, key: str, sequence: int) -> str:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(secret).encrypt(nonce, text.encode(), f"{key}:{sequence}".encode())
    return base64.b64encode(nonce + sealed).decode()


def _detail(row: Any) -> dict[str, Any] | None:
    if row.subject_key is None:
        return json.loads(row.detail)
    if row.secret is None:
        return None
    try:
        blob = base64.b64decode(row.detail, validate=True)
        bound = f"{row.subject_key}:{row.sequence}".encode()
        return json.loads(AESGCM(row.secret).decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], bound))
    except (ValueError, InvalidTag):
        # an edited row: the chain says so, reading goes on
        return None


def _hash(row: tuple[Any, ...]) -> str:
    return hashlib.sha256(json.dumps(row, separators=(",", ":")).encode()).hexdigest()
