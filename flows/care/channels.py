"""Which channels this installation delivers alerts to: `channels.toml`, or one webhook by the environment."""

from pathlib import Path
from urllib.parse import urlsplit

from alerts.delivery.channels.channel import Channel
from alerts.delivery.channels.settings import (
    NAME,
    AppriseSettings,
    ChannelSettings,
    EmailSettings,
    FhirSettings,
    Secret,
    WebhookSettings,
    read_channels,
)
from alerts.delivery.dead_letter import Fallback
from flows import settings
from flows.errors import UserError
from flows.settings import Settings


def from_settings(configured: Settings) -> list[Channel]:
    """Channels of the site; empty when none is set.

    A client's library is imported only where there is something to send with it.

    Raises
    ------
    ChannelError, UserError
        When a channel cannot be used as set, or a secret is missing.
    """
    path = configured.home / NAME
    channels = [_build(one, path) for one in read_channels(path).channels] if path.exists() else []
    if configured.webhook_url and configured.webhook_secret:
        from alerts.delivery.channels.webhook import Webhook

        host = urlsplit(configured.webhook_url).hostname or ""
        channels.append(Webhook(configured.webhook_url, configured.webhook_secret, allow_hosts=[host]))
    names = [channel.name for channel in channels]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: a channel named webhook stands beside FLARECAST_WEBHOOK_URL: keep one")
    return channels


def fallback_of(configured: Settings) -> Fallback | None:
    """Who is told of messages that no channel could deliver; None when nobody is set."""
    path = configured.home / NAME
    told = read_channels(path).dead_letters if path.exists() else None
    return Fallback(told.recipients, told.channels) if told else None


def _build(one: ChannelSettings, path: Path) -> Channel:
    ca = path.parent / one.ca if not isinstance(one, AppriseSettings) and one.ca else None
    match one:
        case EmailSettings():
            from alerts.delivery.channels.email import Email, Server

            password = _secret(one.password, one.name, path) if one.password else None
            server = Server(one.host, one.port, one.security, one.user, password, ca)
            return Email(server, sender=one.sender, addresses=one.addresses, name=one.name)
        case WebhookSettings():
            from alerts.delivery.channels.http import make_client
            from alerts.delivery.channels.webhook import Webhook

            secret = _secret(one.secret, one.name, path)
            return Webhook(
                *(one.url, secret, one.allow_hosts),
                name=one.name,
                is_clinical=one.clinical,
                client=make_client(ca),
            )
        case AppriseSettings():
            from alerts.delivery.channels.apprise import Apprise

            services = {who: _secret(address, one.name, path) for who, address in one.addresses.items()}
            return Apprise(services, name=one.name)
        case FhirSettings():
            from alerts.delivery.channels.fhir import Fhir
            from alerts.delivery.channels.http import make_client

            token = _secret(one.token, one.name, path) if one.token else None
            return Fhir(
                *(one.url, one.allow_hosts),
                name=one.name,
                patient_system=one.patient_system,
                patient_reference=one.patient_reference,
                recipients=one.recipients,
                token=token,
                client=make_client(ca),
            )


def _secret(secret: Secret, channel: str, path: Path) -> str:
    """The secret itself, without the line end of its file."""
    try:
        value = (
            settings.secret(secret.env) if secret.env else (path.parent / str(secret.file)).read_text("utf-8")
        )
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"{path}: channel {channel!r}: {secret.file} cannot be read: {fault}") from None
    if not value or not value.strip():
        raise UserError(f"{path}: channel {channel!r}: the secret in {secret.env or secret.file} is empty")
    return value.strip()
