"""What a site says about its channels, in `channels.toml`: typed, unknown fields refused.

Secrets never stand in the file: it says from which variable or file they come.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from alerts.errors import ChannelError

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
NAME = "channels.toml"


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a secret comes from: a variable of the environment, or a file (relative to channels.toml)."""

    env: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise ValueError("a secret comes from either env or file")


class _Channel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    name: Name


class EmailSettings(_Channel, frozen=True, tag="email"):
    """Mail by SMTP."""

    host: str
    sender: str
    addresses: dict[str, str]
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: Secret | None = None
    ca: str | None = None


class WebhookSettings(_Channel, frozen=True, tag="webhook"):
    """Signed webhook; `clinical` tells patient, values and reason and needs https."""

    url: str
    secret: Secret
    allow_hosts: tuple[str, ...]
    clinical: bool = False
    ca: str | None = None


class AppriseSettings(_Channel, frozen=True, tag="apprise"):
    """Text message, push or chat by Apprise: recipient -> address of one service, a secret."""

    addresses: dict[str, Secret]


class FhirSettings(_Channel, frozen=True, tag="fhir"):
    """FHIR R4 server; told who and why."""

    url: str
    allow_hosts: tuple[str, ...]
    patient_system: str
    patient_reference: Literal["logical", "conditional"] = "logical"
    recipients: dict[str, str] = {}
    token: Secret | None = None
    ca: str | None = None


ChannelSettings: TypeAlias = EmailSettings | WebhookSettings | AppriseSettings | FhirSettings


class DeadLetters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told, and how, when a message could not be delivered by any channel."""

    recipients: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    channels: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class StaffedResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who answers a self-harm item at all hours, in words; without it such items raise nothing."""

    who: Annotated[str, msgspec.Meta(min_length=1)]


class SiteChannels(msgspec.Struct, frozen=True):
    """What `channels.toml` says."""

    channels: tuple[ChannelSettings, ...] = ()
    dead_letters: DeadLetters | None = None
    staffed_response: StaffedResponse | None = None


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    channel: tuple[dict[str, Any], ...] = ()
    dead_letters: DeadLetters | None = None
    staffed_response: StaffedResponse | None = None


def read_channels(path: Path) -> SiteChannels:
    """Channels of a site.

    Raises
    ------
    ChannelError
        One line with file, channel and field of the first fault.
    """
    try:
        document = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _Document)
    except (OSError, UnicodeDecodeError) as fault:
        raise ChannelError(f"{path}: cannot be read: {fault}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as fault:
        raise ChannelError(f"{path}: {fault}") from None
    channels = tuple(_typed(entry, path) for entry in document.channel)
    names = [channel.name for channel in channels]
    for name in names:
        if names.count(name) > 1:
            raise ChannelError(f"{path}: channel {name!r}: name: stands {names.count(name)} times")
    told = document.dead_letters
    for name in told.channels if told else ():
        if name not in names:
            raise ChannelError(f"{path}: dead_letters: channels: there is no channel {name!r}")
    return SiteChannels(channels, told, document.staffed_response)


def _typed(entry: dict[str, Any], path: Path) -> ChannelSettings:
    try:
        return msgspec.convert(entry, ChannelSettings)
    except msgspec.ValidationError as fault:
        raise ChannelError(f"{path}: channel {entry.get('name', 'without name')!r}: {fault}") from None
