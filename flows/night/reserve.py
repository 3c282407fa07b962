"""Room kept free for the end of a run: on a full disk what was finished can still be published and said."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: A catalog of views, the alert store's log, a report.
SIZE: Final = 16 * 2**20
#: With less a run cannot even enter what it sees in its ledger.
LEAST: Final = 4 * 2**20


@dataclass
class Reserve:
    """A file of nothing, given back to the file system when room is needed."""

    path: Path

    def is_needed(self) -> bool:
        """Whether next to nothing is left on the disk."""
        return shutil.disk_usage(self.path.parent).free < LEAST

    def release(self) -> None:
        """Give the room back; the next run takes it again."""
        self.path.unlink(missing_ok=True)


@contextmanager
def reserve(home: Path, size: int = SIZE) -> Generator[Reserve]:
    """Take the room where there is any, keep it from run to run."""
    kept = Reserve(home / ".reserve")
    if not kept.path.exists() or kept.path.stat().st_size < size:
        with suppress(OSError), kept.path.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, size)
    yield kept
