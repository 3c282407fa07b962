"""Errors of the way from radio and broker to Parquet."""


class IngestError(Exception):
    """Root of every error raised by :mod:`ingest`."""


class TopicError(IngestError):
    """A topic that is not one of ours."""


class MessageError(IngestError):
    """Bytes that are not a message; its text is the reason kept in the quarantine.

    Attributes
    ----------
    sequence : int or None
        Number of the message when its header could be read, so that it can be
        acknowledged and does not come back for ever.
    """

    def __init__(self, reason: str, *, sequence: int | None = None) -> None:
        super().__init__(reason)
        self.sequence = sequence


class EnrolmentError(IngestError):
    """An enrolment file with a mistake; the text names line and column."""


class BrokerError(IngestError):
    """A broker that cannot be started or reached."""


class TlsFileError(BrokerError, OSError):
    """Certificate, key or authority that cannot be read; the text names the files."""


class LakeError(IngestError):
    """A lake file, manifest or import that cannot be used; the text says which and why."""


class StoreUnreachableError(LakeError, OSError):
    """Object storage that does not answer or refuses; like a full disk it may come back."""


class SpoolError(IngestError):
    """A gateway's spool that cannot be opened or used."""


class SpoolFullError(SpoolError):
    """A spool that takes no more; nothing of what was handed over is kept."""


class SecurityError(IngestError):
    """A certificate that cannot be issued or revoked; the text says why."""
