"""Identifiers: lower-case slugs that are safe in topics, file names and SQL.

Device and gateway ids are pseudonyms: they say nothing about the patient.
Patient ids live at the clinic only and never reach a topic, a file name at the
edge, a log line or a message to a phone.
"""

import re
from typing import NewType

from devices.errors import IdError

DeviceId = NewType("DeviceId", str)
GatewayId = NewType("GatewayId", str)
SiteId = NewType("SiteId", str)
PatientId = NewType("PatientId", str)

#: 64 characters keep the longest topic under 256 bytes; no dots or slashes, so
#: an id can be a topic segment and a folder name without escaping.
ID_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


def check_id(text: str, what: str = "id") -> str:
    """Return `text` when it is a valid identifier.

    Parameters
    ----------
    text : str
        Candidate identifier.
    what : str
        Name of the field, for the error message.

    Raises
    ------
    IdError
        When `text` is not 1-64 characters of ``a-z 0-9 -``.
    """
    if not ID_PATTERN.fullmatch(text):
        raise IdError(f"{what} {text!r} is not 1-64 characters of a-z, 0-9 and inner '-'")
    return text
