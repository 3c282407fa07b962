"""Where a clinic keeps things: one folder, everything under it."""

import csv
import json
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analytics.store.derived import DerivedStore
from devices.tables import ENROLMENT
from flows import settings
from flows.errors import UserError
from flows.object_store import open_objects
from ingest.errors import LakeError
from ingest.lake.enrolment import Enrolment, read_enrolment, read_enrolment_leniently
from ingest.lake.files import Lake
from ingest.lake.manifest import only_one
from ingest.lake.remote import RemoteLake

#: File of a folder whose people are simulated.
SYNTHETIC = "SYNTHETIC"


@dataclass(frozen=True)
class Clinic:
    """Paths of one installation, all under `home`."""

    home: Path
    #: A lake in a folder of its own, whatever the settings say.
    lake_root: Path | None = None
    #: Shares a new date is cut into; by the number of patients when None.
    partitions: int | None = None

    @property
    def lake(self) -> Lake:
        """Observations as Parquet: in a folder, or by URL with copies of what is in use under `home`."""
        if self.lake_root is None and (place := settings.lake_place()) is not None:
            return RemoteLake(self.home / "lake", open_objects(place))
        return Lake(self.lake_root or self.home / "lake")

    def has_lake(self) -> bool:
        """Whether there is anything where the lake should be: an unmounted disk, a mistyped URL."""
        lake = self.lake
        if isinstance(lake, RemoteLake):
            return next(iter(lake.objects.keys("")), None) is not None
        return lake.root.is_dir()

    @property
    def lake_place(self) -> str:
        """Where the lake is, for whoever reads a message."""
        place = settings.lake_place()
        return place.url if self.lake_root is None and place else str(self.lake.root)

    @property
    def enrolment_path(self) -> Path:
        """CSV that joins devices to patients."""
        return self.home / "enrolment.csv"

    @property
    def t_scores_path(self) -> Path:
        """T-scores of PROMIS forms, if the site has loaded any."""
        return self.home / "t_scores.csv"

    @property
    def records_path(self) -> Path:
        """CSV of what the clinic wrote down about patients."""
        return self.home / "patient_record.csv"

    @property
    def derived(self) -> DerivedStore:
        """Derived tables, a file per table, date and share of the patients, and their ledger."""
        return DerivedStore(self.home / "derived")

    @property
    def published(self) -> Path:
        """Folder of published snapshots."""
        return self.home / "published"

    @property
    def current(self) -> Path:
        """The published snapshot analysts open."""
        return self.published / "current.duckdb"

    @property
    def reports(self) -> Path:
        """What every run did and what went wrong; names patients."""
        return self.home / "reports"

    @property
    def watermark_path(self) -> Path:
        """When the last night was published, for whoever watches from outside."""
        return self.home / "watermark.json"

    @property
    def journal_path(self) -> Path:
        """The alert journal where it is a file."""
        return self.home / "alerts.sqlite"

    @property
    def alert_store(self) -> Path | str:
        """The alert journal: its file, or the URL of the database set up for it.

        SYNTHETIC people keep to their own folder, whatever the settings say.
        """
        return self.journal_path if self.is_synthetic else settings.alert_store() or self.journal_path

    def has_alert_store(self) -> bool:
        """Whether anything has been written there, or it is a database that is to be asked."""
        store = self.alert_store
        return isinstance(store, str) or store.exists()

    @property
    def is_synthetic(self) -> bool:
        """Whether the people are simulated; the demo leaves a file that says so."""
        return (self.home / SYNTHETIC).exists()

    @contextmanager
    def alone(self, what: str) -> Generator[None]:
        """Context in which no other process works on the derived tables.

        Raises
        ------
        UserError
            When one does.
        """
        try:
            with only_one(self.home / "night.lock", what):
                yield
        except LakeError as error:
            raise UserError(str(error)) from None

    def enrolment(self) -> Enrolment:
        """The enrolment table.

        Raises
        ------
        UserError
            When the file is missing.
        """
        if not self.enrolment_path.exists():
            raise UserError(f"no enrolment file at {self.enrolment_path}: whose device is whose?")
        return read_enrolment(self.enrolment_path)

    def patients(self) -> Sequence[str]:
        """Every enrolled patient.

        Raises
        ------
        UserError
            When there is none: a night of nobody would publish an empty snapshot over a good one.
        """
        if not self.enrolment_path.exists():
            raise UserError(f"no enrolment file at {self.enrolment_path}: whose device is whose?")
        found = sorted({row.patient for row in read_enrolment_leniently(self.enrolment_path)[1]})
        if not found:
            raise UserError(f"{self.enrolment_path} enrols nobody")
        return found

    def write_enrolment(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Write the enrolment file; columns as in :mod:`ingest.lake.enrolment`."""
        with self.enrolment_path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ENROLMENT.names)
            writer.writeheader()
            writer.writerows(rows)

    def has_subscribed_collector(self) -> bool:
        """Whether a collector is connected to its broker and receives."""
        return any(status["is_subscribed"] for status in self._collector_statuses())

    def forget_subscriptions(self) -> None:
        """Forget who said to be subscribed: a killed collector could not take it back."""
        for path in (self.lake.root / "status").glob("*.json"):
            path.write_text(json.dumps(read_json(path) | {"is_subscribed": False}))

    def collector_counts(self) -> dict[str, Counter[str]]:
        """Samples received, stored and quarantined by kind, over all collectors."""
        totals = {name: Counter[str]() for name in ("received", "stored", "quarantined")}
        for status in self._collector_statuses():
            for name, counts in totals.items():
                for kind, samples in status[name].items():
                    counts[kind] += samples
        return totals

    def _collector_statuses(self) -> list[dict[str, Any]]:
        return [read_json(path) for path in sorted((self.lake.root / "status").glob("*.json"))]


def read_json(path: Path) -> dict[str, Any]:
    """A file of ours as JSON.

    Raises
    ------
    UserError
        Naming the file, when it is not.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): move it away, it is made anew") from None
