"""The snapshots that are kept: what they name stays on disk, what is older goes."""

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from analytics.store.publish import CURRENT, alone, delete, files_of, left_behind, made_utc
from devices.durable import sync_folder

#: Later than any snapshot: all but the current one go.
FOREVER: Final = 2**62


def current_name(root: Path) -> str | None:
    """Name of the snapshot readers are given; None before the first."""
    current = root / CURRENT
    return current.resolve().stem if current.exists() else None


def kept(root: Path) -> list[str]:
    """Names of all snapshots on disk, oldest first."""
    return sorted(path.name for path in (root / "snapshots").glob("[!.]*") if path.is_dir())


def held_files(root: Path) -> set[Path]:
    """Every file that a snapshot on disk names: nobody may delete it."""
    return {path for name in kept(root) for path in files_of(root, name)}


def expire(root: Path, before_utc: int) -> int:
    """Delete snapshots that were replaced before an instant, and what killed publishers left before it.

    Parameters
    ----------
    root : Path
        Folder of the publications.
    before_utc : int
        Microseconds UTC. A snapshot counts from when the next one was made: until then it was
        handed to readers, however old it was. The current one stays.

    Returns
    -------
    int
        Snapshots deleted.
    """
    if not root.is_dir():
        return 0
    with alone(root):
        return _expire(root, before_utc)


def _expire(root: Path, before_utc: int) -> int:
    names = kept(root)
    doomed = replaced_before(names, current_name(root) or "", before_utc)
    for name in doomed:
        # the catalog first: whoever finds one finds what it shows
        (root / "catalogs" / f"{name}.duckdb").unlink(missing_ok=True)
        shutil.rmtree(root / "snapshots" / name)
    whole = set(names) - set(doomed)
    for path in [*left_behind(root), *(root / "catalogs").glob("[!.]*")]:
        made = made_utc(path.name)
        if path.stem not in whole and made is not None and made < before_utc:
            delete(path)
    for folder in (root, root / "catalogs", root / "snapshots"):
        if folder.is_dir():
            sync_folder(folder)
    return len(doomed)


def replaced_before(names: Sequence[str], current: str, before_utc: int) -> list[str]:
    """Of snapshots by name, oldest first, those that `current` or another had replaced before an instant."""
    return [
        name
        for name, after in pairwise(names)
        if name < current and (made_utc(after) or before_utc) < before_utc
    ]
