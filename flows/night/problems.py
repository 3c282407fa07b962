"""What went wrong in a run while the rest went on: named, counted, never fatal by itself."""

import errno
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from analytics.errors import PartError


@dataclass(frozen=True)
class Problem:
    """One thing that did not work.

    Parameters
    ----------
    where : str
        Stage and share, or file; no patient stands in it.
    what : str
        What happened and what is to be done; no patient stands in it.
    patients : tuple of str
        Whom it concerns. Printed at the clinic, never sent to Prefect or a log.
    """

    where: str
    what: str
    patients: tuple[str, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {"where": self.where, "what": self.what, "patients": list(self.patients)}


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that there is no room left."""
    full = (errno.ENOSPC, errno.EDQUOT)
    words = ("no space left", "disk is full", "disk full")
    return getattr(error, "errno", None) in full or any(text in str(error).lower() for text in words)


def is_of_files(error: BaseException) -> bool:
    """Whether an error can come from a file rather than from a patient's values."""
    return isinstance(error, (OSError, duckdb.Error, pa.ArrowException, PartError, MemoryError))


def in_one_line(error: BaseException) -> str:
    """Kind and first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
