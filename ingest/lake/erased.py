"""Who was erased, as far as it must be known to notice that an old export brings them back.

`erasures/erased.json` keeps of every erasure digests of the patient's id and of the devices, the devices
with the time in which they were the patient's. A digest is an HMAC under the secret of the site
(`erasures/secret.key`): ids are short and can be guessed, so a digest that anybody can make would name
them. Whoever has an id and the secret can ask about that id; the ids cannot be had from the digests.
"""

import hmac
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from devices.durable import replace_file
from ingest.errors import EnrolmentError
from ingest.lake.enrolment import EnrolmentRow
from ingest.lake.erasing import FOREVER, Worn
from ingest.lake.manifest import only_one

FOLDER: Final = "erasures"
REGISTER: Final = "erased.json"
SECRET: Final = "secret.key"
_SECRET_BYTES: Final = 32


class _Device(msgspec.Struct, frozen=True):
    """A device by its digest, and when it was the patient's (microseconds UTC, end exclusive)."""

    digest: str
    from_utc: int
    to_utc: int


class _Erasure(msgspec.Struct, frozen=True):
    """What is kept of one erasure; `patient` is empty once the patient was taken back."""

    reference: str
    patient: str
    devices: list[_Device]


class _Kept(msgspec.Struct):
    """The file; `secret` tells by a digest which secret the digests are under."""

    secret: str = ""
    erasures: list[_Erasure] = []


class ErasedRegister:
    """Digests of who was erased, below the home of a clinic.

    Parameters
    ----------
    home : Path
        Folder of the clinic.

    Raises
    ------
    EnrolmentError
        When something was kept and it or its secret cannot be read: nobody can be told apart then.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER
        self._kept = self._read()
        self._secret = self._read_secret() if self._kept.erasures else b""

    def reference_of(self, patient: str) -> str | None:
        """The last erasure of a patient; None of one who was not erased, or was taken back."""
        if not self._kept.erasures:
            return None
        digest = self._digest("patient", patient)
        found = [one.reference for one in self._kept.erasures if hmac.compare_digest(one.patient, digest)]
        return found[-1] if found else None

    def reference_of_device(self, device: str, from_utc: int, to_utc: int | None = None) -> str | None:
        """The erasure of somebody who had a device in a time (microseconds UTC; None: from then on)."""
        if not self._kept.erasures:
            return None
        digest, end = self._digest("device", device), FOREVER if to_utc is None else to_utc
        for one in self._kept.erasures:
            if any(
                worn.digest == digest and worn.from_utc < end and from_utc < worn.to_utc
                for worn in one.devices
            ):
                return one.reference
        return None

    def reference_of_row(self, row: EnrolmentRow) -> str | None:
        """The erasure that a row of the enrolment would undo: of its patient, or of who had the device."""
        return self.reference_of(row.patient) or self.reference_of_device(
            row.device, row.valid_from_utc, row.valid_to_utc
        )

    def back_among(self, patients: Iterable[str]) -> dict[str, str]:
        """Of patients those who were erased and have come back without a word -> reference of the erasure."""
        found = {one: self.reference_of(one) for one in sorted(set(patients))}
        return {patient: reference for patient, reference in found.items() if reference is not None}

    def is_of_device(self, device: str, at: int | None) -> bool:
        """Whether a device was with an erased patient at an instant (microseconds UTC; None: ever)."""
        first, last = (0, None) if at is None else (at, at + 1)
        return self.reference_of_device(device, first, last) is not None

    def add(self, reference: str, patient: str, devices: Sequence[Worn], now: int) -> None:
        """Keep an erasure that begins `now` (microseconds UTC): until then the devices were the patient's."""
        with only_one(self._folder.with_name("erasures.lock"), "the register of erasures"):
            self._kept = self._read()
            self._secret = self._read_secret() if self._kept.erasures else self._make_secret()
            worn = [
                _Device(self._digest("device", one.name), one.from_utc, min(one.to_utc, now))
                for one in devices
            ]
            erasure = _Erasure(reference, self._digest("patient", patient), worn)
            self._kept.erasures.append(erasure)
            self._kept.secret = self._digest("secret", "")
            self._write()

    def take_back(self, patients: Sequence[str], rows: Sequence[EnrolmentRow]) -> list[str]:
        """Forget that patients were erased, and of devices the time of these rows; returns the references."""
        if not self._kept.erasures:
            return []
        with only_one(self._folder.with_name("erasures.lock"), "the register of erasures"):
            self._kept = self._read()
            names = {self._digest("patient", one) for one in patients}
            given = [
                (self._digest("device", row.device), row.valid_from_utc, row.valid_to_utc or FOREVER)
                for row in rows
            ]
            after: list[_Erasure] = []
            references: list[str] = []
            for one in self._kept.erasures:
                devices = [
                    worn
                    for worn in one.devices
                    if not any(
                        name == worn.digest and worn.from_utc < end and start < worn.to_utc
                        for name, start, end in given
                    )
                ]
                fresh = _Erasure(one.reference, "" if one.patient in names else one.patient, devices)
                after.append(fresh)
                references += [one.reference] * (fresh != one)
            self._kept.erasures = after
            if references:
                self._write()
        return references

    def _digest(self, what: str, name: str) -> str:
        return hmac.digest(self._secret, f"{what}\0{name}".encode(), "sha256").hex()

    def _read(self) -> _Kept:
        path = self._folder / REGISTER
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return _Kept()
        except (OSError, msgspec.DecodeError) as error:
            raise EnrolmentError(
                f"{path} cannot be read ({error}): who was erased is not known without it; "
                "restore it from a backup"
            ) from None

    def _read_secret(self) -> bytes:
        path = self._folder / SECRET
        try:
            secret = bytes.fromhex(path.read_text().strip())
        except (OSError, ValueError) as error:
            raise EnrolmentError(
                f"{path} cannot be read ({error}): who was erased is not known without it; "
                "restore it from a backup"
            ) from None
        self._secret = secret
        if self._digest("secret", "") != self._kept.secret:
            raise EnrolmentError(f"{path} is not the secret of {REGISTER} beside it: restore both")
        return secret

    def _make_secret(self) -> bytes:
        path = self._folder / SECRET
        secret = secrets.token_bytes(_SECRET_BYTES)
        replace_file(path, secret.hex() + "\n", mode=0o600)
        return secret

    def _write(self) -> None:
        replace_file(self._folder / REGISTER, msgspec.json.encode(self._kept), mode=0o600)
