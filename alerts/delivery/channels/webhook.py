"""Signed webhook (Standard Webhooks): the key is the webhook-id, the same on every retry."""

from collections.abc import Collection
from types import TracebackType
from urllib.parse import urlsplit

import httpx
from standardwebhooks.webhooks import Webhook as Signer

from alerts.delivery.worker import PermanentError, TransientError
from alerts.errors import AlertsError
from devices.clock import SECOND, Clock, from_utc

TIMEOUT_S = 10.0
_RETRYABLE = {408, 425, 429}


class Webhook:
    """A webhook of the care team.

    Parameters
    ----------
    url : str
        Where to post.
    secret : str
        Signing secret (``whsec_`` and base64).
    allow_hosts : collection of str
        Hosts it may talk to; a redirect is never followed.
    clock : Clock
        Stamps each attempt, microseconds UTC.

    Raises
    ------
    AlertsError
        When the URL's host is not allowed or the secret is not one.
    """

    def __init__(self, url: str, secret: str, *, allow_hosts: Collection[str], clock: Clock) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname not in allow_hosts:
            raise AlertsError(
                f"webhook host {parts.hostname!r} is not one of {', '.join(sorted(allow_hosts))}"
            )
        try:
            self._signer = Signer(secret)
        except ValueError:
            raise AlertsError("the webhook secret is not whsec_ and base64") from None
        self._url = url
        self._clock = clock
        self._client = httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)

    def __enter__(self) -> "Webhook":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(self, key: str, body: str) -> None:
        """Post once; see :class:`alerts.delivery.worker.Channel`."""
        # the library signs the clock time as it stands, whatever the zone: only UTC verifies
        now = self._clock()
        headers = {
            "content-type": "application/json",
            "webhook-id": key,
            "webhook-timestamp": str(now // SECOND),
            "webhook-signature": self._signer.sign(key, from_utc(now), body),
        }
        try:
            answer = self._client.post(self._url, content=body.encode(), headers=headers)
        except httpx.TransportError as error:
            raise TransientError(f"webhook: {type(error).__name__}") from None
        if answer.is_success:
            return
        if answer.status_code in _RETRYABLE or answer.status_code >= 500:
            raise TransientError(f"webhook: {answer.status_code}", _retry_after(answer))
        raise PermanentError(f"webhook: {answer.status_code}")


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdigit() else None
