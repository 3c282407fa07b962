"""Root of the errors raised by :mod:`ingest`."""


class IngestError(Exception):
    """Something between radio and lake was refused; the message is one clear line."""
