"""The long tail (text message, push, chat) by Apprise: one service, one target, one attempt.

What Apprise 1.13 says of an attempt is yes or no: every no counts as passing, and
the outbox's deadline ends it. Its own retries and redirects are off: a retry inside
an attempt would outlive the lease, and a redirect followed as an empty GET has been
reported as success (alerts.md 2.1; re-measured in tests/unit/test_channel_apprise.py).
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from apprise import Apprise as Services
from apprise import AppriseAsset, NotifyType

from alerts.delivery.channels.channel import SENT, Outcome, permanent, unsure
from alerts.delivery.notice import Notice
from alerts.delivery.wording import wording
from alerts.errors import ChannelError

#: Schemes for which flarecast has a channel that can tell a refusal for good from a passing one.
OWN: Final = {"mailto": "email", "mailtos": "email"}
#: At DEBUG these print bodies, headers and tokens.
_TALKATIVE: Final = ("apprise", "urllib3")


class Apprise:
    """Sends by whatever service a recipient has.

    Parameters
    ----------
    services : mapping
        Recipient -> address of one service, as Apprise writes it. The addresses hold tokens.
    name : str
        Name by which routes refer to it.

    Raises
    ------
    ChannelError
        When an address is not of exactly one service with one target, or sets retries or redirects.
    """

    is_clinical = False

    def __init__(self, services: Mapping[str, str], *, name: str) -> None:
        for logger in _TALKATIVE:
            logging.getLogger(logger).setLevel(logging.WARNING)
        self.name = name
        self.recipients = tuple(services)
        asset = AppriseAsset(
            http_redirects=False, default_service_retry=0, async_mode=False, storage_mode="memory"
        )
        self._services = {
            recipient: _one_service(address, asset, recipient) for recipient, address in services.items()
        }

    def send(self, notice: Notice, attempt_utc: int) -> Outcome:
        """Make one attempt; see :class:`~alerts.delivery.channels.channel.Channel`."""
        service = self._services.get(notice.recipient)
        if service is None:
            return permanent("no address for the recipient")
        said = wording(notice)
        kind = NotifyType.INFO if notice.event in ("resolved", "test") else NotifyType.WARNING
        # Not a bare truth test: another kind of answer than yes would be a change of the library.
        if service.notify(title=said.title, body=said.text, notify_type=kind) is True:
            return SENT
        # the library says no more than no: a time-out after the message is one too
        return unsure("the service did not accept it")


def _one_service(address: str, asset: AppriseAsset, recipient: str) -> Services:
    """The service of an address, which is never shown: it holds tokens."""
    scheme = address.partition("://")[0].lower()
    if scheme in OWN:
        raise ChannelError(f"{recipient}: use a channel of kind {OWN[scheme]} for {scheme}://")
    service: Any = Services.instantiate(address, asset=asset, suppress_exceptions=True)
    if service is None:
        raise ChannelError(f"{recipient}: not the address of a service Apprise knows")
    if service.retry or service.redirects:
        raise ChannelError(f"{recipient}: retry and redirect must not be set in the address")
    if len(service) > 1 or len(getattr(service, "targets", ()) or ()) > 1:
        raise ChannelError(f"{recipient}: one target per address; a rejected one would repeat the others")
    services = Services(asset=asset)
    services.add(service)
    return services
