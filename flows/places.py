"""Places outside of the home to which this clinic has ever written: whoever erases must know them all.

`HOME/places.json` keeps them when the settings name others: a bucket that snapshots went to last year
still shows everybody who was in them.
"""

import json
from pathlib import Path
from typing import Any, Final, Literal

from devices.durable import replace_file
from flows.errors import UserError
from flows.settings import Place

NAME: Final = "places.json"


def note(home: Path, what: Literal["lake", "snapshots"], place: Place, last: str | None = None) -> None:
    """Keep a place on object storage, before anything is written there, and what was shown `last` there."""
    known = _read(home)
    places: list[dict[str, Any]] = known.setdefault(what, [])
    found = next((one for one in places if _is(one, place)), None)
    if found is None:
        found = {"bucket": place.bucket, "prefix": place.prefix, "endpoint": place.endpoint, "last": None}
        places.append(found)
    elif last in (None, found["last"]):
        return
    found["last"] = last or found["last"]
    _write(home, known)


def note_backups(home: Path, folder: Path) -> None:
    """Keep a folder of backups."""
    known = _read(home)
    if (name := str(folder.resolve())) not in known.get("backups", []):
        known.setdefault("backups", []).append(name)
        _write(home, known)


def forget(home: Path, what: Literal["lake", "snapshots"], place: Place) -> None:
    """Forget a place at which nothing of ours is left."""
    known = _read(home)
    known[what] = [one for one in known.get(what, []) if not _is(one, place)]
    _write(home, known)


def used(home: Path, what: Literal["lake", "snapshots"]) -> list[tuple[Place, str | None]]:
    """Places on object storage and what was last shown there by us, in the order of their first use."""
    return [
        (Place(one["bucket"], one["prefix"], one["endpoint"]), one["last"])
        for one in _read(home).get(what, [])
    ]


def backups(home: Path) -> list[str]:
    """Folders of backups, in the order of their first use."""
    return _read(home).get("backups", [])


def _is(stored: dict[str, Any], place: Place) -> bool:
    return (stored["bucket"], stored["prefix"], stored["endpoint"]) == (
        place.bucket,
        place.prefix,
        place.endpoint,
    )


def _read(home: Path) -> dict[str, Any]:
    path = home / NAME
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): it says where copies lie; restore it from a backup"
        ) from None


def _write(home: Path, known: dict[str, Any]) -> None:
    replace_file(home / NAME, json.dumps(known, indent=1), mode=0o600)
