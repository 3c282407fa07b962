"""Versions of the risk model on disk: made once, never changed; which one is active is a pointer.

::

    models/VERSION/model.json scales.json fit.json card.html    as fitted
    models/VERSION/approval.json                                 who answers for it, and why
    models/active.json                                           the pointer, and where it pointed before
    models/frozen.json                                           why it may not alert at present

A frozen version goes on scoring as a shadow ("monitoring only").
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from analytics.risk.model import SHIPPED, Model
from analytics.risk.scales import DEFAULT_SCALES, Scales
from devices.clock import Clock, from_utc
from devices.durable import replace_file
from devices.errors import IdError
from devices.ids import check_id
from flows.errors import UserError

_FIT, _MODEL, _SCALES = "fit.json", "model.json", "scales.json"
_CARD, _APPROVAL = "card.html", "approval.json"
_ROLLED_BACK: Final = "rolled back"
_POINTER: Final = "active.json"
_FROZEN: Final = "frozen.json"


@dataclass(frozen=True)
class Version:
    """One version as it lies on disk."""

    model: Model
    scales: Scales
    fit: dict[str, Any]
    approval: dict[str, Any] | None
    card: Path


class ModelRegistry:
    """The versions of one clinic.

    Parameters
    ----------
    home : Path
        Folder of the clinic.
    clock : Clock
        Stamps approvals and activations.
    """

    def __init__(self, home: Path, clock: Clock) -> None:
        self.root = home / "models"
        self._clock = clock

    def versions(self) -> list[str]:
        """Every version, oldest first."""
        found = [path.parent for path in self.root.glob(f"[!.]*/{_MODEL}")]
        return [path.name for path in sorted(found, key=lambda path: (path / _MODEL).stat().st_mtime_ns)]

    def read(self, version: str) -> Version:
        """One version.

        Raises
        ------
        UserError
            There is none of that name.
        """
        try:
            check_id(version, "version")
        except IdError as error:
            raise UserError(str(error)) from None
        folder = self.root / version
        if not (folder / _MODEL).is_file():
            raise UserError(f"no model {version}; there are {', '.join(self.versions()) or 'none'}")
        approval = folder / _APPROVAL
        return Version(
            Model.from_json((folder / _MODEL).read_text()),
            Scales.from_json((folder / _SCALES).read_text()),
            json.loads((folder / _FIT).read_text()),
            json.loads(approval.read_text()) if approval.is_file() else None,
            folder / _CARD,
        )

    def add(self, model: Model, scales: Scales, fit: dict[str, Any], card: str) -> Path:
        """Write a version: all of it or nothing, and never over another.

        Raises
        ------
        UserError
            The name is taken.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        folder = self.root / model.version
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
        texts = {_MODEL: model.to_json(), _SCALES: scales.to_json(), _FIT: json.dumps(fit), _CARD: card}
        for name, text in texts.items():
            replace_file(made / name, text, mode=0o444)
        made.chmod(0o755)
        try:
            made.rename(folder)
        except OSError:
            shutil.rmtree(made)
            raise UserError(f"there is a model {model.version} already: versions are never changed") from None
        return folder

    def approve(self, version: str, by: str, because: str) -> None:
        """A person answers for a version.

        Raises
        ------
        UserError
            Nobody named, approved before, or its gates did not pass.
        """
        own = self.read(version)
        if not by.strip() or not because.strip():
            raise UserError("an approval names a person and a reason")
        if own.fit["verdict"] != "pass":
            raise UserError(
                f"{version} has not passed its gates ({own.fit['verdict']}): flarecast model show"
            )
        text = json.dumps({"by": by, "because": because, "approved_utc": self._now()})
        try:
            with (self.root / version / _APPROVAL).open("x") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
        except FileExistsError:
            raise UserError(f"{version} is approved already") from None

    def activate(self, version: str, by: str) -> None:
        """Point to an approved version; what was frozen is not any more.

        Raises
        ------
        UserError
            Not approved.
        """
        if self.read(version).approval is None:
            raise UserError(f"{version} is not approved: flarecast model approve {version} --by ...")
        self._point(version, by, "activated")

    def rollback(self, by: str, because: str) -> str:
        """Point to what was active before, at last to the shipped shadow; returns its version.

        Raises
        ------
        UserError
            Nothing is active.
        """
        past = self._pointer()["past"]
        if not past or past[-1]["version"] == SHIPPED.version:
            raise UserError("no version is active: there is nothing to roll back")
        stood: list[str] = []
        for one in past:
            if one["what"].startswith(_ROLLED_BACK):
                # what a rollback left is not gone back to
                while stood and stood[-1] != one["version"]:
                    stood.pop()
            elif not stood or stood[-1] != one["version"]:
                stood.append(one["version"])
        target = stood[-2] if len(stood) > 1 else SHIPPED.version
        self._point(target, by, f"{_ROLLED_BACK}: {because}")
        return target

    def active(self) -> tuple[Model, Scales]:
        """What scores tonight: approved, unless frozen; the shipped model when nothing is active."""
        version = self.active_version()
        if version is None:
            return SHIPPED, DEFAULT_SCALES
        own = self.read(version)
        standing = "frozen" if self.frozen() else "approved"
        return replace(own.model, standing=standing), own.scales

    def active_version(self) -> str | None:
        """Name of the active version; None: the shipped one, as a shadow."""
        past = self._pointer()["past"]
        return past[-1]["version"] if past and past[-1]["version"] != SHIPPED.version else None

    def frozen(self) -> dict[str, Any] | None:
        """Why the active version may not alert; None when it may."""
        path = self.root / _FROZEN
        return _read(path) if path.is_file() else None

    def freeze(self, reasons: list[str]) -> None:
        """No more alerts of the active version until a person activates one."""
        since = (self.frozen() or {}).get("since_utc", self._now())
        replace_file(self.root / _FROZEN, json.dumps({"since_utc": since, "reasons": reasons}))

    def _pointer(self) -> dict[str, Any]:
        path = self.root / _POINTER
        return _read(path) if path.is_file() else {"past": []}

    def _point(self, version: str, by: str, what: str) -> None:
        if not by.strip():
            raise UserError("a person is named: --by")
        past = [*self._pointer()["past"], {"version": version, "by": by, "what": what, "at_utc": self._now()}]
        replace_file(self.root / _POINTER, json.dumps({"past": past}, indent=1))
        (self.root / _FROZEN).unlink(missing_ok=True)

    def _now(self) -> str:
        return from_utc(self._clock()).astimezone(UTC).isoformat(timespec="seconds")


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None


def next_version(existing: list[str], day: datetime) -> str:
    """Name of the next candidate: the date, and a number when there are several."""
    base = f"site-{day:%Y-%m-%d}"
    taken = set(existing)
    return next(name for number in range(1, 1000) if (name := f"{base}-{number}") not in taken)
