"""E-mail by SMTP: a fixed Message-ID, and refusals for good told from those that pass."""

import smtplib
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as SMTP_LINES
from email.utils import format_datetime
from pathlib import Path
from typing import Literal

from alerts.delivery.channels.channel import SENT, TIMEOUT_S, Outcome, permanent, transient, unsure
from alerts.delivery.channels.http import is_this_machine, trust
from alerts.delivery.notice import Notice
from alerts.delivery.wording import wording
from alerts.errors import ChannelError
from devices.clock import from_utc

#: In EHLO: this machine's own name is nobody's business.
OUR_NAME = "localhost"

Security = Literal["starttls", "tls", "none"]


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server.

    Parameters
    ----------
    host, port
        Where it listens.
    security : str
        starttls, tls from the first byte, or none: on this machine only.
    user, password : str, optional
        Account, where the server asks for one.
    ca : Path, optional
        Certificates to believe instead of the machine's.
    """

    host: str
    port: int = 587
    security: Security = "starttls"
    user: str | None = None
    password: str | None = None
    ca: Path | None = None

    def __repr__(self) -> str:
        return f"Server({self.host}:{self.port}, {self.security})"


class Email:
    """Sends a mail to one recipient at a time.

    Parameters
    ----------
    server : Server
        Takes the mail.
    sender : str
        Address it comes from; without a name, which could say what the clinic treats.
    addresses : mapping
        Recipient -> address.
    name : str
        Name by which routes refer to it.

    Raises
    ------
    ChannelError
        When it cannot be used as set.
    """

    is_clinical = False

    def __init__(
        self, server: Server, *, sender: str, addresses: Mapping[str, str], name: str = "email"
    ) -> None:
        if server.security == "none" and not is_this_machine(server.host):
            raise ChannelError(f"mail server {server.host} must be used with starttls or tls")
        if (server.user is None) != (server.password is None):
            raise ChannelError("a mail account is a user and a password")
        for address in (sender, *addresses.values()):
            _check_mailbox(address)
        self.name = name
        self.recipients = tuple(addresses)
        self._server = server
        self._sender = sender
        self._addresses = addresses
        self._trust = trust(server.ca) if server.security != "none" else None

    def send(self, notice: Notice, attempt_utc: int) -> Outcome:
        """Hand one mail to the server; see :class:`~alerts.delivery.channels.channel.Channel`."""
        address = self._addresses.get(notice.recipient)
        if address is None:
            return permanent("no address for the recipient")
        try:
            with self._connected() as session:
                session.send_message(self._mail(notice, address, attempt_utc))
                return SENT
        except smtplib.SMTPRecipientsRefused as fault:
            return _refused(next(iter(fault.recipients.values()))[0])
        except smtplib.SMTPResponseException as fault:
            return _refused(fault.smtp_code)
        except smtplib.SMTPNotSupportedError:
            # Never in the clear instead: the next channel is better.
            return permanent("the server offers neither the encryption nor the log-in that is set")
        except ssl.SSLCertVerificationError:
            return transient("the server's certificate is not believed")
        except (ConnectionRefusedError, socket.gaierror) as fault:
            return transient(type(fault).__name__)
        except (OSError, smtplib.SMTPException) as fault:
            # smtplib's own error for a connection that breaks is an OSError too: after the mail, or before it
            return unsure(type(fault).__name__)

    def _connected(self) -> "_Session":
        return _Session(self._server, self._trust)

    def _mail(self, notice: Notice, address: str, attempt_utc: int) -> EmailMessage:
        said = wording(notice)
        mail = EmailMessage(policy=SMTP_LINES)
        mail["From"], mail["To"], mail["Subject"] = self._sender, address, said.title
        mail["Date"] = format_datetime(from_utc(attempt_utc))
        mail["Message-ID"] = f"<{notice.wire_id}@{self._sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(said.text + "\n")
        return mail


class _Session:
    """A connection that ends without a further word when the mail has been accepted."""

    def __init__(self, server: Server, context: ssl.SSLContext | None) -> None:
        self._server = server
        self._trust = context

    def __enter__(self) -> smtplib.SMTP:
        server = self._server
        where = (server.host, server.port)
        if server.security == "tls":
            self._smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                *where, OUR_NAME, timeout=TIMEOUT_S, context=self._trust
            )
        else:
            self._smtp = smtplib.SMTP(*where, OUR_NAME, timeout=TIMEOUT_S)
        try:
            if server.security == "starttls":
                self._smtp.starttls(context=self._trust)
            if server.user is not None and server.password is not None:
                self._smtp.login(server.user, server.password)
        except BaseException:
            self._smtp.close()
            raise
        return self._smtp

    def __exit__(self, *_: object) -> None:
        # QUIT is a courtesy: a server that is gone by then has taken the mail all the same.
        with suppress(OSError, smtplib.SMTPException):
            if self._smtp.sock is not None:
                self._smtp.sock.settimeout(1.0)
                self._smtp.quit()
        self._smtp.close()


def _refused(code: int) -> Outcome:
    """4xx passes (grey list, full mailbox, too busy), 5xx does not (RFC 5321, 4.2.1)."""
    reason = f"SMTP {code}"
    return permanent(reason) if 500 <= code < 600 else transient(reason)


def _check_mailbox(address: str) -> None:
    local, at, domain = address.rpartition("@")
    is_plain = address.isascii() and address.isprintable() and not set(address) & set(' <>,;:"()[]\\')
    if not (local and at and domain and is_plain):
        raise ChannelError(f"{address!r} is not one plain mail address")
