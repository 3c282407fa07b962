"""Backup and restore of one consistent point: alert store, ledger, registry, lake and derived files.

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
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from alerts.store.copying import copy_store
from devices.clock import Clock, from_utc
from devices.durable import replace_file, sync_folder
from devices.observations import KINDS
from flows import places
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.snapshot import publish_now
from ingest.lake.enrolment import read_enrolment_leniently
from ingest.lake.erased import FOLDER, REGISTER, ErasedRegister
from ingest.lake.remote import RemoteLake

LIST: Final = "backup.json"
_DATABASES: Final = ("alerts.sqlite", "derived/ledger.sqlite")
#: Small files of the home that change in place.
_STATE: Final = (
    *("*.csv", "*.toml", "SYNTHETIC", places.NAME, "models/**/*", "pathways/**/*"),
    *("erasures/*", "reports/*", "reviews/*"),
)
_DERIVED: Final = "derived/**/*.parquet"
_LAKE: Final = "lake/**/*.parquet"
_MANIFESTS: Final = "lake/data/*/manifest.json"
_ALERTS: Final = "alerts.sqlite"


@dataclass(frozen=True)
class Done:
    """What a backup or a restore did."""

    folder: Path
    files: int
    bytes_copied: int
    #: Patients of a restored home who were erased -> reference of the erasure.
    back: Mapping[str, str] = field(default_factory=dict[str, str])


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
    before = latest(target)
    folder = target / from_utc(clock()).strftime("%Y%m%dT%H%M%S.%fZ")
    staged = folder.with_name(f".{folder.name}.partial")
    staged.mkdir()
    listed: dict[str, dict[str, Any]] = {}
    copied = 0
    lake = clinic.lake
    with clinic.alone("a backup"), lake.alone("a backup"):
        places.note_backups(clinic.home, target)
        remote = _contents(lake) if isinstance(lake, RemoteLake) else None
        state = _STATE if remote else (*_STATE, _MANIFESTS)
        immutable = (_DERIVED,) if remote else (_DERIVED, _LAKE)
        # databases first: what they name is there, and nothing that is named later is missing
        for name in _DATABASES:
            if (clinic.home / name).exists():
                _copy_database(clinic.home / name, staged / "state" / name)
                listed[f"state/{name}"] = _facts(staged / "state" / name)
        if isinstance(clinic.alert_store, str):
            kept = staged / "state" / _ALERTS
            kept.unlink(missing_ok=True)
            copy_store(clinic.alert_store, kept)
            _close_log(kept)
            listed[f"state/{_ALERTS}"] = _facts(kept)
        for path in _matching(clinic.home, state):
            name = path.relative_to(clinic.home).as_posix()
            copied += _copy(path, staged / "state" / name)
            listed[f"state/{name}"] = _facts(staged / "state" / name)
        for path in _matching(clinic.home, immutable):
            name = path.relative_to(clinic.home).as_posix()
            known = before[1].get(f"files/{name}") if before else None
            is_same = known is not None and known["size"] == path.stat().st_size
            if before and known is not None and is_same:
                _link(before[0] / "files" / name, staged / "files" / name)
                listed[f"files/{name}"] = known
            else:
                copied += _copy(path, staged / "files" / name)
                listed[f"files/{name}"] = _facts(staged / "files" / name)
    stored = {"made_utc": clock(), "files": listed, "lake": remote, "lake_place": clinic.lake_place}
    replace_file(staged / LIST, json.dumps(stored))
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


def restore(folder: Path, home: Path, *, clock: Clock, erasures: Path | None = None) -> Done:
    """Make a home of a backup, in an empty folder, and publish its snapshot.

    Parameters
    ----------
    erasures : Path, optional
        Folder of that name of the home it replaces: it knows who was erased since the backup.

    Raises
    ------
    UserError
        When `home` is not empty, the backup is not whole, `erasures` is no such folder, or the lake
        by URL is older than the backup.
    JournalError
        When the alerts go into PostgreSQL and there are some.
    """
    if not (folder / LIST).is_file():
        raise UserError(f"{folder} is no backup: it has no {LIST}")
    if home.exists() and any(home.iterdir()):
        raise UserError(f"{home} is not empty: restore into a new folder, then put it in its place")
    wrong = check(folder)
    if wrong:
        raise UserError(f"{folder}: {len(wrong)} files are missing or changed, first {wrong[0]}")
    if erasures is not None and not (erasures / REGISTER).is_file():
        raise UserError(f"{erasures} is not the erasures/ of a home: it has no {REGISTER}")
    clinic = Clinic(home)
    stored = json.loads((folder / LIST).read_text())
    _check_lake(clinic, stored)
    listed = stored["files"]
    copied = 0
    for name in listed:
        if erasures is None or not name.startswith(f"state/{FOLDER}/"):
            copied += _copy(folder / name, home / name.partition("/")[2])
    for path in _matching(erasures, ("*",)) if erasures is not None else ():
        copied += _copy(path, home / FOLDER / path.name)
    if isinstance(clinic.alert_store, str) and clinic.journal_path.exists():
        # not from the backup itself: whoever opens a database writes into it
        copy_store(clinic.journal_path, clinic.alert_store)
        for left in home.glob(f"{_ALERTS}*"):
            left.unlink()
    publish_now(clinic, clock)
    return Done(home, len(listed), copied, _back(clinic))


def _back(clinic: Clinic) -> dict[str, str]:
    if not clinic.enrolment_path.exists():
        return {}
    rows = read_enrolment_leniently(clinic.enrolment_path)[1]
    return ErasedRegister(clinic.home).back_among(row.patient for row in rows)


def _contents(lake: RemoteLake) -> dict[str, dict[str, Any]]:
    """By kind the generation of the manifest and every file that is read, as the store has them."""
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        manifest = lake.look(kind)
        landed = [name for name in lake.names(f"landing/{kind}") if name not in manifest.retired]
        found[kind] = {"generation": manifest.generation, "files": [*manifest.parts, *landed]}
    return found


def _check_lake(clinic: Clinic, stored: Mapping[str, Any]) -> None:
    """Refuse a lake that is not the one of the backup, or an earlier state of it."""
    lake, wanted = clinic.lake, stored.get("lake")
    if (wanted is None) == isinstance(lake, RemoteLake):
        here = "in the backup" if wanted is None else f"at {stored['lake_place']}"
        raise UserError(f"its lake is {here}, FLARECAST_LAKE_URL says {clinic.lake_place}")
    if wanted is None or not isinstance(lake, RemoteLake):
        return
    missing: list[str] = []
    for kind, then in wanted.items():
        now = lake.look(kind)
        there = set(lake.names(f"data/{kind}")) | set(lake.names(f"landing/{kind}"))
        # what a later compaction has replaced need not be there; what it says has to be
        files = now.parts if now.generation > then["generation"] else then["files"]
        missing += [name for name in files if name not in there]
        if now.generation < then["generation"]:
            missing.append(f"{kind}: its manifest")
    if missing:
        raise UserError(
            f"{clinic.lake_place} is older than the backup: {len(missing)} files are not there, first "
            f"{missing[0]}; bring the bucket to a state of {from_utc(stored['made_utc']):%Y-%m-%d %H:%M} UTC "
            "or later, then restore"
        )


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
    _close_log(target)


def _close_log(database: Path) -> None:
    """Everything in the one file, and that on the disk."""
    with closing(sqlite3.connect(database)) as con:
        con.execute("pragma journal_mode = delete")
    _sync(database)


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
