"""Which channels this installation delivers alerts to."""

from typing import Any
from urllib.parse import urlsplit

from flows.settings import Settings


def from_settings(settings: Settings) -> list[Any]:
    """Channels by the settings; empty when none is set.

    The HTTP client is imported only where there is something to send.
    """
    if not settings.webhook_url or not settings.webhook_secret:
        return []
    from alerts.delivery.channels.webhook import Webhook

    host = urlsplit(settings.webhook_url).hostname or ""
    return [Webhook(settings.webhook_url, settings.webhook_secret, allow_hosts=[host])]
