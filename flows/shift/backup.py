"""Backup of one consistent point: alert store, ledger, registry, lake and derived files.

A backup is a folder: `files/` holds what never changes (Parquet, by its path, linked from the
backup before where it is the same), `state/` what does (databases as SQLite copies them, CSV and
TOML), `backup.json` the list of everything with size and digest, written last: a folder without
it is no backup. It is taken where no night, compaction or erasure runs; the collector may go on,
what it lands meanwhile belongs to the next one. Alerts in PostgreSQL are copied into `state/` as a
file like any other clinic's, and back.

A lake on object storage is not copied: the bucket is its owner's to replicate. The backup lists
what the lake consisted of, and a restore is refused while the bucket is older than the list.
"""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from alerts.store.copying import copy_store
from analytics.store.publish import made_utc
from devices.clock import DAY, Clock, from_utc
from devices.durable import replace_file, sync_folder
from devices.observations import KINDS
from flows import places
from flows.clinic import Clinic
from flows.errors import UserError
from ingest.lake.remote import RemoteLake

LIST: Final = "backup.json"
_PARTIAL: Final = ".partial"
#: A linked file is read once in so many days: one that rotted would be in every backup to come.
READ_DAYS: Final = 7
_DATABASES: Final = ("alerts.sqlite", "derived/ledger.sqlite")
#: Small files of the home that change in place.
_STATE: Final = (
    *("*.csv", "*.toml", "SYNTHETIC", places.NAME, "models/**/*", "pathways/**/*"),
    *("erasures/*", "reports/*", "reviews/*", "scales/**/*", "studies/**/*"),
)
#: Of a lake in a folder: what was imported, and how often messages were read again.
_MEMORY: Final = ("lake/imports/*.json", "lake/status/*.count")
_DERIVED: Final = "derived/**/*.parquet"
_LAKE: Final = "lake/**/*.parquet"
_MANIFESTS: Final = "lake/data/*/manifest.json"
ALERTS: Final = "alerts.sqlite"


@dataclass(frozen=True)
class Done:
    """What a backup did."""

    folder: Path
    files: int
    bytes_copied: int


def backup(clinic: Clinic, target: Path, *, clock: Clock) -> Done:
    """Make a backup in a new folder below `target`.

    Raises
    ------
    UserError
        When a night or a compaction is at work, or the target lies inside the home or
        cannot be a folder.
    """
    if target.resolve().is_relative_to(clinic.home.resolve()):
        raise UserError(f"{target} lies inside {clinic.home}: a backup belongs on another disk")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"cannot make the folder {target}: {error.strerror}") from None
    now = clock()
    folder = target / from_utc(now).strftime("%Y%m%dT%H%M%S.%fZ")
    staged = folder.with_name(f".{folder.name}{_PARTIAL}")
    listed: dict[str, dict[str, Any]] = {}
    copied = 0
    lake = clinic.lake
    with clinic.alone("a backup"), lake.alone("a backup"), _staging(target, staged):
        before = latest(target)
        places.note_backups(clinic.home, target)
        remote = _contents(lake) if isinstance(lake, RemoteLake) else None
        state = _STATE if remote else (*_STATE, _MANIFESTS, *_MEMORY)
        immutable = (_DERIVED,) if remote else (_DERIVED, _LAKE)
        # databases first: what they name is there, and nothing that is named later is missing
        for name in _DATABASES:
            if (clinic.home / name).exists():
                _copy_database(clinic.home / name, staged / "state" / name)
                listed[f"state/{name}"] = _facts(staged / "state" / name)
        if isinstance(clinic.alert_store, str):
            kept = staged / "state" / ALERTS
            kept.unlink(missing_ok=True)
            copy_store(clinic.alert_store, kept)
            _close_log(kept)
            listed[f"state/{ALERTS}"] = _facts(kept)
        for path in matching(clinic.home, state):
            name = path.relative_to(clinic.home).as_posix()
            copied += copy(path, staged / "state" / name)
            listed[f"state/{name}"] = _facts(staged / "state" / name)
        for path in matching(clinic.home, immutable):
            name = path.relative_to(clinic.home).as_posix()
            known = before[1].get(f"files/{name}") if before else None
            if before and known is not None and _is_whole(before[0] / "files" / name, path, known, now):
                _link(before[0] / "files" / name, staged / "files" / name)
                listed[f"files/{name}"] = known
            else:
                copied += copy(path, staged / "files" / name)
                listed[f"files/{name}"] = _facts(staged / "files" / name)
        stored = {"made_utc": now, "files": listed, "lake": remote, "lake_place": clinic.lake_place}
        replace_file(staged / LIST, json.dumps(stored))
        staged.rename(folder)
    sync_folder(target)
    return Done(folder, len(listed), copied)


@contextmanager
def _staging(target: Path, staged: Path) -> Generator[None]:
    """A new folder that is not left behind; those of killed backups, a day old, go too."""
    for path in target.glob(f".*{_PARTIAL}"):
        made = made_utc(path.name)
        if made is not None and made < (made_utc(staged.name) or 0) - DAY:
            shutil.rmtree(path)
    staged.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _is_whole(kept: Path, source: Path, known: Mapping[str, Any], now: int) -> bool:
    """Whether a file of the backup before may be linked; its content is read once a week."""
    if not kept.is_file() or not known["size"] == kept.stat().st_size == source.stat().st_size:
        return False
    is_due = int(known["sha256"][:8], 16) % READ_DAYS == now // DAY % READ_DAYS
    return not is_due or _facts(kept) == known


def latest(target: Path) -> tuple[Path, dict[str, dict[str, Any]]] | None:
    """Newest backup below a folder whose list can be read, and its files."""
    for path in sorted(target.glob(f"*/{LIST}"), reverse=True):
        if not path.parent.name.startswith("."):
            with suppress(UserError):
                return path.parent, read_list(path.parent)["files"]
    return None


def read_list(folder: Path) -> dict[str, Any]:
    """What a backup says of itself.

    Raises
    ------
    UserError
        When it is no backup, or its list cannot be read.
    """
    path = folder / LIST
    if not path.is_file():
        raise UserError(f"{folder} is no backup: it has no {LIST}")
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
        names = [PurePosixPath(name) for name in stored["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}): take another backup") from None
    if any(name.is_absolute() or ".." in name.parts or len(name.parts) < 2 for name in names):
        raise UserError(f"{path} names files outside of the backup: it is not ours")
    return stored


def check(folder: Path) -> list[str]:
    """Files of a backup that are missing or not what they were.

    Raises
    ------
    UserError
        As :func:`read_list`.
    """
    listed = read_list(folder)["files"]
    return [name for name, facts in listed.items() if _facts_or_none(folder / name) != facts]


def _contents(lake: RemoteLake) -> dict[str, dict[str, Any]]:
    """By kind the generation of the manifest and every file that is read, as the store has them."""
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        manifest = lake.look(kind)
        landed = [name for name in lake.names(f"landing/{kind}") if name not in manifest.retired]
        found[kind] = {"generation": manifest.generation, "files": [*manifest.parts, *landed]}
    return found


def matching(home: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
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
    try:
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
            one.backup(other)
    except sqlite3.DatabaseError as error:
        raise UserError(f"{source} cannot be copied ({error}): restore it from an earlier backup") from None
    _close_log(target)


def _close_log(database: Path) -> None:
    """Everything in the one file, and that on the disk."""
    with closing(sqlite3.connect(database)) as con:
        con.execute("pragma journal_mode = delete")
    _sync(database)


def copy(source: Path, target: Path) -> int:
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
