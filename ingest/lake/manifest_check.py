"""Verification: does the lake hold what its manifests say, byte for byte?"""

import hashlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from devices.observations import KINDS
from devices.tables import BATCH, QUARANTINE, RAW
from ingest.errors import LakeError
from ingest.lake.columns import read_kept, read_rows
from ingest.lake.compaction import count_samples, orphan_parts
from ingest.lake.files import Lake
from ingest.lake.manifest import Part


def verify(lake: Lake) -> list[str]:
    """What is wrong with the files of the lake, one line each; empty when nothing is.

    Checks that every compacted file is there with the size, checksum and rows of its
    manifest, that every other file can be read, and that no file is left over.
    """
    found: list[str] = []
    for kind in KINDS:
        try:
            manifest = lake.manifest(kind)
        except LakeError as error:
            found.append(str(error))
            continue
        for part in manifest.parts.values():
            found += _part_faults(lake, kind, part)
        for path in lake.landed(kind, manifest):
            try:
                read_rows(path, kind)
            except LakeError as error:
                found.append(str(error))
        found += [
            f"{path}: in no manifest; a run was killed: the next `flarecast lake compact` removes it"
            for path in orphan_parts(lake, manifest)
        ]
    kept = ((lake.quarantine_files(), QUARANTINE), (lake.batch_files(), BATCH), (lake.raw_files(), RAW))
    for path, schema in ((path, schema) for paths, schema in kept for path in paths):
        try:
            read_kept(path, schema)
        except LakeError as error:
            found.append(str(error))
    return found


def _part_faults(lake: Lake, kind: str, part: Part) -> Iterator[str]:
    path = lake.root / part.path
    if not path.is_file():
        yield f"{path}: missing; restore it from a backup"
        return
    with path.open("rb") as stream:
        checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    if checksum != part.sha256:
        yield f"{path}: content is not what was written (checksum); restore it from a backup"
        return
    # equal bytes hold equal rows: then it is the manifest that is wrong
    try:
        rows = read_rows(path, kind)
        stored = pq.read_metadata(path).num_rows
    except (LakeError, pa.ArrowInvalid) as error:
        yield str(error)
        return
    if (stored, count_samples(rows, kind)) != (part.rows, part.samples):
        yield f"{path}: {stored} rows, the manifest says {part.rows}"
