"""Signed webhook (Standard Webhooks): one POST, one answer, nothing followed."""

from collections.abc import Sequence

import httpx
from standardwebhooks import Webhook as Signer
from standardwebhooks.webhooks import EmptyWebhookSecretError

from alerts.delivery.channels.channel import Outcome
from alerts.delivery.channels.http import check_address, make_client, outcome_of, unanswered
from alerts.delivery.notice import Notice
from alerts.delivery.render import webhook_body
from alerts.errors import ChannelError
from devices.clock import SECOND, from_utc


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
    name : str
        Name by which routes refer to it.
    is_clinical : bool
        Whether patient, values and reason may be told; https then, on this machine too.
    client : httpx.Client, optional
        HTTP client; made when not given.

    Raises
    ------
    ChannelError
        When address or secret cannot be used.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        allow_hosts: Sequence[str],
        *,
        name: str = "webhook",
        is_clinical: bool = False,
        client: httpx.Client | None = None,
    ) -> None:
        check_address(url, allow_hosts, is_clinical=is_clinical)
        self.name = name
        self.is_clinical = is_clinical
        self.recipients: tuple[str, ...] = ()
        self._url = url
        self._signer = _signer(secret)
        self._client = client or make_client()

    def send(self, notice: Notice, attempt_utc: int) -> Outcome:
        """Post the notice; see :class:`~alerts.delivery.channels.channel.Channel`."""
        body = webhook_body(notice, attempt_utc, is_clinical=self.is_clinical)
        headers = {"content-type": "application/json", **self._signed(notice.wire_id, attempt_utc, body)}
        try:
            answer = self._client.post(self._url, content=body, headers=headers, follow_redirects=False)
        except httpx.HTTPError as fault:
            return unanswered(fault)
        return outcome_of(answer, attempt_utc)

    def _signed(self, key: str, attempt_utc: int, body: bytes) -> dict[str, str]:
        # The library signs the wall-clock fields as if they were UTC: it must be given UTC.
        moment = from_utc(attempt_utc)
        return {
            "webhook-id": key,
            "webhook-timestamp": str(attempt_utc // SECOND),
            "webhook-signature": self._signer.sign(key, moment, body.decode()),
        }


def _signer(secret: str) -> Signer:
    try:
        return Signer(secret)
    except (ValueError, RuntimeError, EmptyWebhookSecretError) as fault:
        raise ChannelError("the webhook's secret is not whsec_ and base64") from fault
