"""Errors of the edge: what a radio, a link or a wearable can refuse."""

from devices.drivers.session import UnansweredError
from ingest.errors import IngestError


class EdgeError(IngestError):
    """Root of the errors raised by :mod:`ingest.edge`."""


class RadioError(EdgeError):
    """The adapter is absent, busy or refuses to work."""


class NotSeenError(EdgeError):
    """The wearable did not advertise within the time given."""


class LinkError(EdgeError):
    """The wearable could not be reached, or the link is gone."""


class LinkTimeoutError(LinkError, UnansweredError):
    """The wearable is connected and does not answer."""


class AttributeRefusedError(EdgeError, UnansweredError):
    """The wearable refused to read, write or notify a characteristic; the link stands."""


class PairingError(EdgeError):
    """The wearable refused to bond, or forgot that it had."""


class IdentityError(EdgeError):
    """What answers at the address is not the wearable that was paired."""
