"""The enrolment of a collector that keeps running: its file is read again when it changes."""

import logging
from pathlib import Path

from ingest.errors import EnrolmentError
from ingest.lake.enrolment import Enrolment, read_enrolment

logger = logging.getLogger(__name__)


class EnrolmentFile:
    """Enrolment of a CSV file, as it is now.

    A file with a mistake does not stop a running collector: the rows read last stay
    valid, and the mistake is logged once. Put a new file in place by renaming it.

    Parameters
    ----------
    path : Path
        The CSV file.

    Raises
    ------
    EnrolmentError
        When it cannot be read the first time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._state()
        self._enrolment = read_enrolment(path)

    def __call__(self) -> Enrolment:
        """Rows of the file, read again when it is another than at the last call."""
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._enrolment = read_enrolment(self._path)
            except EnrolmentError as error:
                logger.error("enrolment_not_read kept=former reason=%s", error)
            else:
                logger.info("enrolment_read rows=%d", len(self._enrolment.rows))
        return self._enrolment

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
