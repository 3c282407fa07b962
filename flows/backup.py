"""Backup and restore of one consistent point: alert store, ledger, registry, lake and derived files.

A backup is a folder: `files/` holds what never changes (Parquet, by its path, linked from the
backup before where it is the same), `state/` what does (databases as SQLite copies them, CSV and
TOML), `backup.json` the list of everything with size and digest, written last: a folder without
it is no backup. It is taken where no night, compaction or erasure runs; the collector may go on,
what it lands meanwhile belongs to the next one.
"""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from devices.clock import Clock, from_utc
from devices.durable import replace_file, sync_folder
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night_snapshot import publish_now

LIST: Final = "backup.json"
_DATABASES: Final = ("alerts.sqlite", "derived/ledger.sqlite")
#: Small files of the home that change in place.
_STATE: Final = (
    *("*.csv", "*.toml", "SYNTHETIC", "models/**/*", "pathways/**/*"),
    *("erasures/*", "reports/*", "reviews/*"),
)
_IMMUTABLE: Final = ("lake/**/*.parquet", "derived/**/*.parquet")
_MANIFESTS: Final = "lake/data/*/manifest.json"


@dataclass(frozen=True)
class Done:
    """What a backup or a restore did."""

    folder: Path
    files: int
    bytes_copied: int


def backup(clinic: Clinic, target: Path, *, clock: Clock) -> Done:
    """Make a backup in a new folder below `target`.

    Raises
    ------
    UserError
        When a night or a compaction is at work, or the target lies inside the home.
    """
    if target.resolve().is_relative_to(clinic.home.resolve()):
        raise UserError(f"{target} lies inside {clinic.home}: a backup belongs on another disk")
    target.mkdir(parents=True, exist_ok=True)
    before = latest(target)
    folder = target / from_utc(clock()).strftime("%Y%m%dT%H%M%S.%fZ")
    staged = folder.with_name(f".{folder.name}.partial")
    staged.mkdir()
    listed: dict[str, dict[str, Any]] = {}
    copied = 0
    with clinic.alone("a backup"), clinic.lake.alone("a backup"):
        # databases first: what they name is there, and nothing that is named later is missing
        for name in _DATABASES:
            if (clinic.home / name).exists():
                _copy_database(clinic.home / name, staged / "state" / name)
                listed[f"state/{name}"] = _facts(staged / "state" / name)
        for path in _matching(clinic.home, (*_STATE, _MANIFESTS)):
            name = path.relative_to(clinic.home).as_posix()
            copied += _copy(path, staged / "state" / name)
            listed[f"state/{name}"] = _facts(staged / "state" / name)
        for path in _matching(clinic.home, _IMMUTABLE):
            name = path.relative_to(clinic.home).as_posix()
            known = before[1].get(f"files/{name}") if before else None
            is_same = known is not None and known["size"] == path.stat().st_size
            if before and known is not None and is_same:
                _link(before[0] / "files" / name, staged / "files" / name)
                listed[f"files/{name}"] = known
            else:
                copied += _copy(path, staged / "files" / name)
                listed[f"files/{name}"] = _facts(staged / "files" / name)
    replace_file(staged / LIST, json.dumps({"made_utc": clock(), "files": listed}))
    staged.rename(folder)
    sync_folder(target)
    return Done(folder, len(listed), copied)


def latest(target: Path) -> tuple[Path, dict[str, dict[str, Any]]] | None:
    """Newest whole backup below a folder and its list."""
    found = sorted(path.parent for path in target.glob(f"*/{LIST}") if not path.parent.name.startswith("."))
    return (found[-1], json.loads((found[-1] / LIST).read_text())["files"]) if found else None


def check(folder: Path) -> list[str]:
    """Files of a backup that are missing or not what they were."""
    listed = json.loads((folder / LIST).read_text())["files"]
    return [name for name, facts in listed.items() if _facts_or_none(folder / name) != facts]


def restore(folder: Path, home: Path, *, clock: Clock) -> Done:
    """Make a home of a backup, in an empty folder, and publish its snapshot.

    Raises
    ------
    UserError
        When `home` is not empty, or the backup is not whole.
    """
    if not (folder / LIST).is_file():
        raise UserError(f"{folder} is no backup: it has no {LIST}")
    if home.exists() and any(home.iterdir()):
        raise UserError(f"{home} is not empty: restore into a new folder, then put it in its place")
    wrong = check(folder)
    if wrong:
        raise UserError(f"{folder}: {len(wrong)} files are missing or changed, first {wrong[0]}")
    listed = json.loads((folder / LIST).read_text())["files"]
    copied = 0
    for name in listed:
        copied += _copy(folder / name, home / name.partition("/")[2])
    clinic = Clinic(home)
    publish_now(clinic, clock)
    return Done(home, len(listed), copied)


def _matching(home: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    seen: set[Path] = set()
    for pattern in patterns:
        for path in sorted(home.glob(pattern)):
            is_whole = not any(part.startswith(".") for part in path.relative_to(home).parts)
            if path.is_file() and is_whole and "staging" not in path.parts and path not in seen:
                seen.add(path)
                yield path


def _copy_database(source: Path, target: Path) -> None:
    """A consistent copy of a database in use, its log included."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)
        other.execute("pragma journal_mode = delete")
    _sync(target)


def _copy(source: Path, target: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
    _sync(target)
    return target.stat().st_size


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _facts_or_none(path: Path) -> dict[str, Any] | None:
    return _facts(path) if path.is_file() else None
