"""A lake on S3-compatible storage, with the files in use kept in a folder of this machine.

The objects have the names of the files of a lake in a folder, and the same rules hold: a file
appears whole under a name nobody has seen before, the manifest says which compacted files are
read, and only who has seen the present manifest can replace it. What is here is a copy: it may
be deleted at any time, and several machines have one each.

Order of things: an object is made before its copy is visible here, so that nothing is read, nor
acknowledged, that the store does not have.
"""

import os
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from devices.durable import replace_file, sync_folder
from ingest.errors import LakeError
from ingest.lake.files import BATCHES, RAW_MESSAGES, REFUSED, Lake
from ingest.lake.manifest import Manifest, manifest_path, parse_manifest, read_manifest

if TYPE_CHECKING:
    from ingest.lake.objects import Objects


@dataclass(frozen=True)
class RemoteLake(Lake):
    """Observations as Parquet in `objects`; `root` holds this machine's copies."""

    objects: "Objects"
    _tags: dict[str, str | None] = field(default_factory=dict[str, str | None], compare=False, repr=False)

    def manifest(self, kind: str) -> Manifest:
        """Manifest of a kind as the store has it; compacted files it names are fetched."""
        path = manifest_path(self.root, kind)
        seen = self.objects.read(self._key(path))
        self._tags[kind] = seen.tag if seen else None
        if seen is None:
            path.unlink(missing_ok=True)
        elif not path.exists() or path.read_bytes() != seen.content:
            replace_file(path, seen.content)
        manifest = read_manifest(self.root, kind)
        for name, part in manifest.parts.items():
            self._fetch(name, part.size)
        return manifest

    def look(self, kind: str) -> Manifest:
        """Manifest of a kind as the store has it; nothing is fetched or written here."""
        seen = self.objects.read(self._key(manifest_path(self.root, kind)))
        return parse_manifest(seen.content) if seen else Manifest(kind=kind)

    def publish(self, manifest: Manifest) -> None:
        """Replace the manifest, unless another machine has.

        Raises
        ------
        LakeError
            When it has changed since it was read: the run is repeated from the new one.
        """
        path = manifest_path(self.root, manifest.kind)
        content = manifest.next_content()
        tag = self.objects.swap(self._key(path), content, self._tags.get(manifest.kind))
        if tag is None:
            raise LakeError(f"{self._key(path)}: changed by another machine meanwhile: run it again")
        self._tags[manifest.kind] = tag
        replace_file(path, content)

    def landed(self, kind: str, manifest: Manifest) -> list[Path]:
        """Landing files the manifest does not know yet; those of other machines are fetched."""
        self._fetch_all(f"landing/{kind}/", without=manifest.retired)
        return super().landed(kind, manifest)

    def quarantine_files(self) -> list[Path]:
        self._fetch_all(f"{REFUSED}/")
        return super().quarantine_files()

    def batch_files(self) -> list[Path]:
        self._fetch_all(f"{BATCHES}/")
        return super().batch_files()

    def raw_files(self) -> list[Path]:
        self._fetch_all(f"{RAW_MESSAGES}/")
        return super().raw_files()

    def names(self, folder: str) -> list[str]:
        found = (key for key, _ in self.objects.keys(f"{folder}/"))
        return sorted(key for key in found if key.endswith(".parquet"))

    def everything(self, folder: str) -> list[Path]:
        self._fetch_all(f"{folder}/")
        return super().everything(folder)

    def forget_copies(self) -> None:
        """Delete this machine's copies of objects that were deleted by another one."""
        for folder in ("landing", "data", REFUSED, BATCHES, RAW_MESSAGES):
            self._forget_lost(folder, set(self.names(folder)))

    def place(self, staged: Path, target: Path) -> None:
        """Make the object, then the copy; equal content under an equal name is the same file."""
        content = staged.read_bytes()
        key = self._key(target)
        if not self.objects.create(key, content):
            there = self.objects.read(key)
            if there is None or there.content != content:
                raise LakeError(f"{key}: there already, with other content")
        super().place(staged, target)

    def remove(self, paths: Iterable[Path]) -> None:
        doomed = list(paths)
        self.objects.delete([self._key(path) for path in doomed])
        super().remove(doomed)

    def count_up(self, name: str) -> int:
        """The count is the store's: another machine goes on where this one stopped."""
        key = f"status/{name}.count"
        while True:
            seen = self.objects.read(key)
            number = int(seen.content) + 1 if seen else 1
            if self.objects.swap(key, str(number).encode(), seen.tag if seen else None) is not None:
                return number

    def _key(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _fetch_all(self, prefix: str, *, without: Iterable[str] = ()) -> None:
        """Copies of every object below a prefix, and of nothing that is not there any more."""
        there = dict(self.objects.keys(prefix))
        unwanted = set(without)
        for key, size in there.items():
            if key not in unwanted and key.endswith(".parquet"):
                self._fetch(key, size)
        self._forget_lost(prefix, there)

    def _forget_lost(self, folder: str, there: Container[str]) -> None:
        for path in (self.root / folder).rglob("*.parquet"):
            if self._key(path) not in there:
                path.unlink(missing_ok=True)

    def _fetch(self, key: str, size: int) -> None:
        """Copy of one object; names are never used again, so a copy of its size is the object."""
        path = self.root / key
        if path.exists() and path.stat().st_size == size:
            return
        seen = self.objects.read(key)
        if seen is None:
            raise LakeError(f"{key}: the store has lost it; restore it from a backup")
        folder = self.folder(path.parent)
        staged = folder / f".{path.name}.{os.getpid()}.partial"
        staged.write_bytes(seen.content)
        staged.replace(path)
        sync_folder(folder)
