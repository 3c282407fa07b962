"""What the channels over HTTP have in common: where they may go, and what an answer means."""

import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from alerts.delivery.channels.channel import (
    SENT,
    TIMEOUT_S,
    Outcome,
    permanent,
    retry_after_s,
    transient,
    unsure,
)
from alerts.errors import ChannelError

#: Client errors that pass: timeout, too early, too many requests.
PASSING = {408, 425, 429}


def check_address(url: str, allow_hosts: Sequence[str], *, is_clinical: bool) -> str:
    """Host of an address that may be called.

    Raises
    ------
    ChannelError
        When it is no http(s) address, its host is not allowed, or it must be called by https:
        what is clinical always, anything else unless it is this machine.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in ("https", "http") or not host:
        raise ChannelError("the address is not an http(s) URL")
    if parts.username is not None:
        raise ChannelError(f"the address at {host} carries credentials: addresses are logged")
    if host not in allow_hosts:
        raise ChannelError(f"host {host} is not among the allowed: {', '.join(allow_hosts)}")
    if parts.scheme == "http" and (is_clinical or not is_this_machine(host)):
        raise ChannelError(f"host {host} must be called by https")
    return host


def is_this_machine(host: str) -> bool:
    """Whether a host is the loopback of this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def trust(ca: Path | None) -> ssl.SSLContext:
    """Certificates that are believed: the machine's, or those of one file.

    Raises
    ------
    ChannelError
        When the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as fault:
        raise ChannelError(f"the certificates in {ca} cannot be used: {type(fault).__name__}") from None


def make_client(ca: Path | None = None) -> httpx.Client:
    """Client that follows nothing and takes neither proxy nor credentials from the environment."""
    return httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, verify=trust(ca))


def unanswered(fault: httpx.HTTPError) -> Outcome:
    """What it means that no answer came: without a connection nothing has arrived."""
    is_unconnected = isinstance(fault, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return (transient if is_unconnected else unsure)(type(fault).__name__)


def outcome_of(answer: httpx.Response, attempt_utc: int) -> Outcome:
    """What an answer means for the message."""
    if answer.is_success:
        return SENT
    reason = f"HTTP {answer.status_code}"
    # A redirect is an address nobody allowed: following it once turned a POST into an empty GET.
    if answer.status_code < 500 and answer.status_code not in PASSING:
        return permanent(reason)
    return transient(reason, retry_after_s(answer.headers.get("retry-after"), attempt_utc))
