"""Signed webhook (Standard Webhooks): one POST, one answer, nothing followed."""

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx
from standardwebhooks import Webhook as Signer
from standardwebhooks.webhooks import EmptyWebhookSecretError

from alerts.delivery.render import webhook_body
from alerts.engine.outbox import Message
from alerts.errors import ChannelError, PermanentFailure, TransientFailure
from devices.clock import from_utc

#: Well below the outbox's lease: a message is never held by two workers.
TIMEOUT_S = 10.0
#: Client errors that pass: timeout, too early, too many requests.
PASSING = {408, 425, 429}


class Webhook:
    """Posts to the care team's system.

    Parameters
    ----------
    url : str
        Where to post; https, or http on this machine only.
    secret : str
        Signing secret (``whsec_`` and base64).
    allow_hosts : sequence of str
        Hosts that may be called at all: a mistyped or planted address elsewhere is refused.
    client : httpx.Client, optional
        HTTP client; made when not given.

    Raises
    ------
    ChannelError
        When address or secret cannot be used.
    """

    name = "webhook"

    def __init__(
        self, url: str, secret: str, allow_hosts: Sequence[str], client: httpx.Client | None = None
    ) -> None:
        _check_address(url, allow_hosts)
        self._url = url
        self._signer = _signer(secret)
        # Neither proxies nor credentials from the machine's environment: the address is all there is.
        self._client = client or httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)

    def send(self, message: Message, attempt_utc: int) -> None:
        """Post the message; see :class:`~alerts.delivery.channels.channel.Channel`."""
        body = webhook_body(message, attempt_utc)
        headers = {"content-type": "application/json", **self._signed(message.key, attempt_utc, body)}
        try:
            answer = self._client.post(self._url, content=body, headers=headers, follow_redirects=False)
        except httpx.HTTPError as fault:
            raise TransientFailure(type(fault).__name__) from fault
        if answer.is_success:
            return
        reason = f"HTTP {answer.status_code}"
        # A redirect is an address nobody allowed: following it once turned a POST into an empty GET.
        if answer.status_code < 500 and answer.status_code not in PASSING:
            raise PermanentFailure(reason)
        raise TransientFailure(reason, _retry_after_s(answer))

    def _signed(self, key: str, attempt_utc: int, body: bytes) -> dict[str, str]:
        # The library signs the wall-clock fields as if they were UTC: it must be given UTC.
        moment = from_utc(attempt_utc)
        return {
            "webhook-id": key,
            "webhook-timestamp": str(attempt_utc // 1_000_000),
            "webhook-signature": self._signer.sign(key, moment, body.decode()),
        }


def _check_address(url: str, allow_hosts: Sequence[str]) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("https", "http") or not host:
        raise ChannelError("the webhook's address is not an http(s) URL")
    if host not in allow_hosts:
        raise ChannelError(f"the webhook's host {host} is not among the allowed: {', '.join(allow_hosts)}")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise ChannelError(f"the webhook's host {host} must be called by https")


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _signer(secret: str) -> Signer:
    try:
        return Signer(secret)
    except (ValueError, RuntimeError, EmptyWebhookSecretError) as fault:
        raise ChannelError("the webhook's secret is not whsec_ and base64") from fault


def _retry_after_s(answer: httpx.Response) -> float | None:
    value = answer.headers.get("retry-after", "")
    return float(value) if value.isdigit() else None
