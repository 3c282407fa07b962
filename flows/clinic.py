"""Where a clinic keeps things: one folder, everything under it."""

from dataclasses import dataclass
from pathlib import Path

from analytics.store.derived import DerivedStore
from flows.errors import UserError
from ingest.lake.enrolment import Enrolment, read_enrolment
from ingest.lake.files import Lake


@dataclass(frozen=True)
class Clinic:
    """Paths of one installation, all under `home`."""

    home: Path
    lake_root: Path | None = None

    @property
    def lake(self) -> Lake:
        """Observations as Parquet."""
        return Lake(self.lake_root or self.home / "lake")

    @property
    def enrolment_path(self) -> Path:
        """CSV that joins devices to patients."""
        return self.home / "enrolment.csv"

    @property
    def derived(self) -> DerivedStore:
        """Derived tables, one file per table and date."""
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
    def manifest_path(self) -> Path:
        """What the nightly run has done, with fingerprints."""
        return self.home / "manifest.json"

    @property
    def journal_path(self) -> Path:
        """The alert journal."""
        return self.home / "alerts.sqlite"

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
