"""The current snapshot on object storage: uploaded whole, then shown by swapping one pointer.

Below the place: ``derived/`` and ``observations/`` hold the files (named by content or never
used again, made once and only once), ``catalogs/NAME.duckdb`` and ``snapshots/NAME.json``
what a snapshot consists of, and ``CURRENT`` says which one readers are given. Killed before
the swap, a publisher leaves the old snapshot readable and objects that the next run finds there.
CURRENT holds an id of its own in every version: an ETag is a digest, and A-B-A would pass for A.
"""

import json
import secrets
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.fs

from analytics.errors import QueryError
from analytics.store import query, shared
from analytics.store.publish import MANIFEST
from analytics.store.snapshots import current_name, replaced_before
from flows import places
from flows.clinic import Clinic
from flows.errors import UserError
from flows.object_store import open_objects
from flows.settings import Place

if TYPE_CHECKING:
    from ingest.lake.objects import Objects

CURRENT: Final = "CURRENT"
TRIES: Final = 5


def share(clinic: Clinic, objects: "Objects") -> str:
    """Upload what the current local snapshot consists of and make it the current one there.

    Returns
    -------
    str
        Name of the snapshot that is current there now: this one, or a newer one of somebody else.

    Raises
    ------
    StoreUnreachableError
        When the storage does not answer.
    UserError
        When others swapped the pointer each time we tried.
    """
    name = current_name(clinic.published)
    if name is None:
        raise UserError(f"nothing published yet at {clinic.current}")
    seen = objects.read(CURRENT)
    if seen is not None and json.loads(seen.content)["snapshot"] >= name:
        return json.loads(seen.content)["snapshot"]
    stored = json.loads((clinic.published / "snapshots" / name / MANIFEST).read_text())
    groups = {
        "tables": ("derived", clinic.derived.root),
        "observations": ("observations", clinic.lake.root),
    }
    manifest: dict[str, dict[str, list[str]]] = {}
    for group, (prefix, root) in groups.items():
        there = {key for key, _ in objects.keys(f"{prefix}/")}
        manifest[group] = {}
        for table, paths in stored[group].items():
            keys = [f"{prefix}/{Path(path).relative_to(root.resolve()).as_posix()}" for path in paths]
            for key, path in zip(keys, paths, strict=True):
                if key not in there:
                    objects.create(key, Path(path).read_bytes())
            manifest[group][table] = keys
    objects.create(f"catalogs/{name}.duckdb", clinic.current.resolve().read_bytes())
    objects.create(f"snapshots/{name}.json", json.dumps(manifest).encode())
    return _swap(objects, name)


def share_at(clinic: Clinic, place: Place) -> str:
    """Make the current local snapshot the current one at a place, which is kept in mind for erasures.

    Raises
    ------
    StoreUnreachableError, UserError
        As :func:`share`.
    """
    places.note(clinic.home, "snapshots", place)
    shown = share(clinic, open_objects(place))
    if shown == current_name(clinic.published):
        places.note(clinic.home, "snapshots", place, shown)
    return shown


def withdraw(objects: "Objects", last: str | None) -> int | None:
    """Delete everything at a place where `last` was the last snapshot of ours.

    Returns
    -------
    int or None
        Snapshots deleted; None when somebody else has published there since, and nothing was deleted.
    """
    seen = objects.read(CURRENT)
    if seen is not None and json.loads(seen.content)["snapshot"] != last:
        return None
    keys = [key for key, _ in objects.keys("")]
    # whoever still reads there finds no snapshot, rather than one that is not whole
    objects.delete([key for key in keys if key == CURRENT])
    objects.delete([key for key in keys if key != CURRENT])
    return sum(key.startswith("snapshots/") for key in keys)


def expire(objects: "Objects", before_utc: int) -> int:
    """Delete snapshots that were replaced before an instant (microseconds UTC), and files none names.

    The current one and newer ones stay. Call it on the machine that publishes there: files that
    are uploaded and not yet named would go.

    Returns
    -------
    int
        Snapshots deleted.
    """
    seen = objects.read(CURRENT)
    if seen is None:
        return 0
    current = json.loads(seen.content)["snapshot"]
    names = sorted(Path(key).stem for key, _ in objects.keys("snapshots/"))
    doomed = replaced_before(names, current, before_utc)
    # the pointer is elsewhere already; without its manifest a snapshot names nothing
    objects.delete([key for name in doomed for key in (f"snapshots/{name}.json", f"catalogs/{name}.duckdb")])
    objects.delete(unnamed(objects, set(names) - set(doomed)))
    return len(doomed)


def unnamed(objects: "Objects", snapshots: Collection[str]) -> list[str]:
    """Keys below a place that belong to none of these snapshots."""
    named = {CURRENT}
    for name in snapshots:
        named |= {f"snapshots/{name}.json", f"catalogs/{name}.duckdb"}
        seen = objects.read(f"snapshots/{name}.json")
        stored: dict[str, dict[str, list[str]]] = json.loads(seen.content) if seen else {}
        named.update(key for group in stored.values() for keys in group.values() for key in keys)
    return [key for key, _ in objects.keys("") if key not in named]


def _swap(objects: "Objects", name: str) -> str:
    for _ in range(TRIES):
        seen = objects.read(CURRENT)
        if seen is not None and (there := json.loads(seen.content)["snapshot"]) >= name:
            return there
        content = json.dumps({"snapshot": name, "id": secrets.token_hex(8)}).encode()
        if objects.swap(CURRENT, content, seen.tag if seen else None) is not None:
            return name
    raise UserError(f"{CURRENT}: others publish there at the same time: run it again")


def run(place: Place, sql: str) -> pa.Table:
    """Rows of a query against the snapshot that is current at a place.

    Raises
    ------
    QueryError
        When there is none, or the SQL is wrong.
    """
    objects = open_objects(place)
    seen = objects.read(CURRENT)
    if seen is None:
        raise QueryError(f"nothing published yet at {place.url}")
    name = json.loads(seen.content)["snapshot"]
    catalog, manifest = objects.read(f"catalogs/{name}.duckdb"), objects.read(f"snapshots/{name}.json")
    if catalog is None or manifest is None:
        raise QueryError(f"{place.url}: snapshot {name} is not whole: publish it again")
    stored: dict[str, dict[str, list[str]]] = json.loads(manifest.content)
    paths: dict[str, Any] = {
        group: {
            table: [f"{place.bucket}/{place.prefix}/{key}" for key in keys] for table, keys in own.items()
        }
        for group, own in stored.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "catalog.duckdb"
        copy.write_bytes(catalog.content)
        with shared.connect(copy, paths["tables"], paths["observations"], _filesystem(place)) as con:
            return query.answer(con, sql)


def _filesystem(place: Place) -> Any:
    if place.endpoint is None:
        return pyarrow.fs.S3FileSystem()
    scheme, _, host = place.endpoint.partition("://")
    # the region only signs the request where the store is not Amazon's
    return pyarrow.fs.S3FileSystem(endpoint_override=host, scheme=scheme, region="us-east-1")
