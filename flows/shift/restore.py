"""A home of a backup: in a new folder, whole or not at all."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alerts.store.copying import copy_store
from devices.clock import Clock, from_utc
from devices.durable import sync_folder
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.snapshot import publish_now
from flows.shift.backup import ALERTS, check, copy, matching, read_list
from ingest.lake.enrolment import read_enrolment_leniently
from ingest.lake.erased import FOLDER, REGISTER, ErasedRegister
from ingest.lake.remote import RemoteLake

_STAGED: Final = ".restoring"
#: What an empty home may hold: a restore that was killed, and what a new file system begins with.
_NOTHING: Final = frozenset({_STAGED, "lost+found"})


@dataclass(frozen=True)
class Restored:
    """What a restore did.

    Parameters
    ----------
    files : int
        Files as they were.
    back : mapping
        Patients of the home who were erased -> reference of the erasure.
    lost : list of str
        Files of the backup that are damaged and were left out.
    """

    files: int
    back: Mapping[str, str]
    lost: list[str]


def restore(
    folder: Path,
    home: Path,
    *,
    clock: Clock,
    erasures: Path | None = None,
    is_damage_left: bool = False,
) -> Restored:
    """Make a home of a backup, in an empty folder, and publish its snapshot.

    Parameters
    ----------
    erasures : Path, optional
        Folder of that name of the home it replaces: it knows who was erased since the backup.
    is_damage_left : bool
        Leave out files of the lake and of derived tables that are damaged: better than nothing.

    Raises
    ------
    UserError
        When `home` is not empty, the backup is not whole, `erasures` is no such folder, or the lake
        by URL is older than the backup.
    JournalError
        When the alerts go into PostgreSQL and there are some.
    """
    stored = read_list(folder)
    if home.exists() and not home.is_dir():
        raise UserError(f"{home} is a file: restore into a new folder")
    if home.exists() and {path.name for path in home.iterdir()} - _NOTHING:
        raise UserError(f"{home} is not empty: restore into a new folder, then put it in its place")
    wrong = check(folder)
    lost = [name for name in wrong if name.startswith("files/")]
    if wrong and not (is_damage_left and lost == wrong):
        of_state = [name for name in wrong if name not in lost]
        way = "take another backup" if of_state else "--without-damaged restores the others"
        raise UserError(f"{folder}: missing or changed: {len(wrong)}, first {(of_state or wrong)[0]}; {way}")
    if erasures is not None and not (erasures / REGISTER).is_file():
        raise UserError(f"{erasures} is not the erasures/ of a home: it has no {REGISTER}")
    clinic = Clinic(home)
    _check_lake(clinic, stored)
    # a home that is not whole must not look like one; it may be a disk of its own, so it is staged inside
    staged = home / _STAGED
    shutil.rmtree(staged, ignore_errors=True)
    try:
        for name in stored["files"]:
            is_newer = erasures is not None and name.startswith(f"state/{FOLDER}/")
            if name not in lost and not is_newer:
                copy(folder / name, staged / name.partition("/")[2])
        for path in matching(erasures, ("*",)) if erasures is not None else ():
            copy(path, staged / FOLDER / path.name)
        for path in sorted(staged.iterdir()):
            path.rename(home / path.name)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    sync_folder(home)
    if isinstance(clinic.alert_store, str) and clinic.journal_path.exists():
        # not from the backup itself: whoever opens a database writes into it
        copy_store(clinic.journal_path, clinic.alert_store)
        for left in home.glob(f"{ALERTS}*"):
            left.unlink()
    publish_now(clinic, clock)
    return Restored(len(stored["files"]) - len(lost), _back(clinic), lost)


def _back(clinic: Clinic) -> dict[str, str]:
    if not clinic.enrolment_path.exists():
        return {}
    rows = read_enrolment_leniently(clinic.enrolment_path)[1]
    return ErasedRegister(clinic.home).back_among(row.patient for row in rows)


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
