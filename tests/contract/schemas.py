"""The frozen schemas: what the tables and the wire look like, compared with what was promised.

``python -m tests.contract.schemas`` writes ``schemas.json`` anew, and refuses a
change that would make stored files unreadable unless the version has risen
(docs/adr/0004-schemas.md). The tests only read it.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

import alerts.tables
import analytics.tables
import devices.tables
from devices.observations import KINDS

FROZEN = Path(__file__).with_name("schemas.json")

Column = dict[str, Any]
#: family of :data:`FAMILIES` -> version and table -> columns in order; wire -> kind -> fields
Snapshot = dict[str, Any]
#: raw: what came in; derived: what was computed; alerts: what was told.
FAMILIES: dict[str, tuple[int, dict[str, pa.Schema]]] = {
    "raw": (
        devices.tables.SCHEMA_VERSION,
        {
            **devices.tables.TABLES,
            "enrolment": devices.tables.ENROLMENT,
            "quarantine": devices.tables.QUARANTINE,
            "batch": devices.tables.BATCH,
            "raw": devices.tables.RAW,
        },
    ),
    "derived": (
        analytics.tables.SCHEMA_VERSION,
        {**analytics.tables.TABLES, "snapshot": analytics.tables.SNAPSHOT},
    ),
    "alerts": (alerts.tables.SCHEMA_VERSION, alerts.tables.TABLES),
}


def _columns(schema: pa.Schema) -> list[Column]:
    return [
        {
            "name": column.name,
            "type": str(column.type),
            "nullable": column.nullable,
            "unit": (column.metadata or {}).get(b"unit", b"").decode(),
        }
        for column in schema
    ]


def current() -> Snapshot:
    """Return the schemas of this checkout."""
    tables = {
        family: {
            "version": version,
            "tables": {name: _columns(schema) for name, schema in schemas.items()},
        }
        for family, (version, schemas) in FAMILIES.items()
    }
    return {
        **tables,
        # structs travel as arrays: the order of the fields is the format
        "wire": {kind: list(cls.__struct_fields__) for kind, cls in KINDS.items()},
    }


def frozen() -> Snapshot:
    """Return the schemas that were promised."""
    return json.loads(FROZEN.read_text())


def _table_breaks(name: str, old: list[Column], new: list[Column]) -> list[str]:
    breaks = [
        f"{name}.{before['name']}: was {before}, is {after}"
        for before, after in zip(old, new, strict=False)
        if before != after
    ]
    breaks += [f"{name}.{column['name']}: gone" for column in old[len(new) :]]
    breaks += [
        f"{name}.{column['name']}: new but not nullable"
        for column in new[len(old) :]
        if not column["nullable"]
    ]
    return breaks


def breaking_changes(old: Snapshot, new: Snapshot) -> list[str]:
    """Changes that a reader of old files or messages would notice; appended nullable columns are not."""
    breaks: list[str] = []
    for family in FAMILIES:
        for name, columns in old[family]["tables"].items():
            now = new[family]["tables"].get(name)
            breaks += [f"{name}: table gone"] if now is None else _table_breaks(name, columns, now)
    for kind, fields in old["wire"].items():
        if new["wire"].get(kind, [])[: len(fields)] != fields:
            breaks.append(f"{kind}: wire fields were {fields}, are {new['wire'].get(kind)}")
    return breaks


def main() -> int:
    """Write the frozen schemas; exit 1 when the change rule forbids it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--before-release",
        action="store_true",
        help="no file of this version exists anywhere yet: freeze anything",
    )
    before_release = parser.parse_args().before_release
    now = current()
    if FROZEN.exists() and not before_release:
        then = frozen()
        breaks = breaking_changes(then, now)
        rose = any(now[family]["version"] > then[family]["version"] for family in FAMILIES)
        if breaks and not rose:
            print(
                "not frozen, raise SCHEMA_VERSION and write a decision record:",
                *breaks,
                sep="\n  ",
                file=sys.stderr,
            )
            return 1
    FROZEN.write_text(json.dumps(now, indent=1) + "\n")
    print(f"frozen in {FROZEN.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
