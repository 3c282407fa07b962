"""Errors of the vocabulary: what a byte string or a sample can be guilty of."""


class DevicesError(Exception):
    """Root of every error raised by :mod:`devices`."""


class DecodeError(DevicesError):
    """Bytes that are not a valid frame of the protocol they claim.

    The only exception a codec may raise, whatever the bytes. The message says
    what is wrong and is the reason stored in the quarantine.
    """


class ObservationError(DevicesError):
    """A sample that the schema of its kind forbids (range, order, length)."""


class IdError(DevicesError):
    """A string that is not a valid identifier."""
