"""The manifest: which compacted files of a kind are to be read, and which files they replace.

``data/<kind>/manifest.json`` is replaced in one step. A reader takes it first and the
landing files after: what the manifest calls retired it leaves out. So it sees
either the old files or the new ones, whenever it looks. Retired files stay on disk
for a while, for readers that hold their names.
"""

import fcntl
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from devices.durable import replace_file
from devices.tables import SCHEMA_VERSION
from ingest.errors import LakeError

FORMAT: Final = 1
NAME: Final = "manifest.json"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One compacted file.

    `path` is relative to the lake; `samples` counts beats for RR intervals and rows
    otherwise; `revision` rises when late data reopened the day, last at `written_utc`.
    """

    path: str
    site: str
    date: str
    rows: int
    samples: int
    size: int
    sha256: str
    schema_version: int
    first_utc: int
    last_utc: int
    revision: int
    written_utc: int


class Manifest(msgspec.Struct, kw_only=True):
    """Files of one kind: `parts` are read, `retired` (path -> since when) are not any more."""

    kind: str
    format: int = FORMAT
    generation: int = 0
    #: Another one in every version: equal content must not look like the same version (A, B, A).
    version_id: str = ""
    parts: dict[str, Part] = {}
    retired: dict[str, int] = {}

    def next_content(self) -> bytes:
        """The next version of it, as it is stored."""
        self.generation += 1
        self.version_id = secrets.token_hex(8)
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=1)

    def reopened(self) -> list[Part]:
        """Days that changed after they were first compacted."""
        return sorted(
            (part for part in self.parts.values() if part.revision > 1),
            key=lambda part: (part.date, part.site),
        )


def manifest_path(root: Path, kind: str) -> Path:
    """Where the manifest of a kind lies."""
    return root / "data" / kind / NAME


def read_manifest(root: Path, kind: str) -> Manifest:
    """Manifest of a kind; an empty one before the first compaction.

    Raises
    ------
    LakeError
        When it cannot be read, or lists files of a later schema than this code knows.
    """
    path = manifest_path(root, kind)
    try:
        manifest = parse_manifest(path.read_bytes())
    except FileNotFoundError:
        return Manifest(kind=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LakeError(f"{path}: not a manifest: {error}") from None
    if manifest.format > FORMAT or manifest.kind != kind:
        raise LakeError(f"{path}: format {manifest.format} of {manifest.kind}, not {FORMAT} of {kind}")
    for part in manifest.parts.values():
        check_version(root / part.path, part.schema_version)
    return manifest


def parse_manifest(content: bytes) -> Manifest:
    """Manifest as it is stored."""
    return msgspec.json.decode(content, type=Manifest)


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Replace the manifest; from here on readers see its files."""
    replace_file(manifest_path(root, manifest.kind), manifest.next_content())


def check_version(path: Path, version: int) -> None:
    """Refuse a file of a schema later than ours."""
    if version > SCHEMA_VERSION:
        raise LakeError(
            f"{path}: written in schema version {version}, this flarecast knows up to {SCHEMA_VERSION}: "
            "update flarecast here"
        )


@contextmanager
def only_one(path: Path, what: str) -> Generator[None]:
    """Hold a lock file while something runs that must run once at a time.

    Raises
    ------
    LakeError
        When another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LakeError(
                f"{path}: another process is busy with {what}: try again when it is done"
            ) from None
        yield
