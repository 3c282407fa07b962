"""`flarecast sql`: ask the published snapshot, in words of one's own or by a starter query."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa

from analytics.store import query, starters
from flows import settings
from flows.analyst import rows_shown
from flows.arguments import is_utf8
from flows.clinic import Clinic
from flows.errors import UserError


def run_sql(home: Path, text: str | None, *, snapshot: str | None, as_json: bool) -> int:
    """Print the rows of a query; returns the exit code."""
    if text is None:
        print(starters.overview())
        return 0
    if not is_utf8(text):
        raise UserError("the query is not UTF-8")
    statement = starters.read(text[1:]) if text.startswith("@") else text
    rows = _rows(home, snapshot, statement)
    if as_json:
        print(json.dumps(_finite(rows.to_pylist()), default=str, allow_nan=False))
        return 0
    rows_shown.show(rows)
    return 0


def _finite(value: Any) -> Any:
    """The same with null for NaN and infinities, which JSON does not know."""
    if isinstance(value, list):
        return [_finite(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(home: Path, snapshot: str | None, statement: str) -> pa.Table:
    if snapshot is None or not snapshot.startswith("s3://"):
        return query.run(Path(snapshot) if snapshot else Clinic(home).current, statement)
    from flows.night import shared_snapshot

    return shared_snapshot.run(settings.place_of(snapshot), statement)
