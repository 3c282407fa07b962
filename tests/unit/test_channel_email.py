"""Mail: one key for ever, refusals told apart, never in the clear because a server cannot do better."""

import logging
import ssl
from email import message_from_bytes
from email.policy import default

import pytest
from aiosmtpd.smtp import AuthResult

from alerts.delivery.channels.channel import SENT, permanent
from alerts.delivery.channels.email import Email, Server
from alerts.errors import ChannelError
from devices.clock import HOUR, system_clock
from ingest.lake.broker import free_port
from ingest.lake.security import Authority
from tests.fixtures_alerts import Hands
from tests.fixtures_delivery import Mailbox, mail_server, notice

NOW = Hands()()


def email(port, **server):
    return Email(
        Server("127.0.0.1", port, **{"security": "none"} | server),
        sender="rpm@clinic.example",
        addresses={"nurse-1": "nurse@clinic.example"},
        name="mail",
    )


def test_what_arrives_says_nothing_but_that_something_waits():
    with mail_server() as box:
        assert email(box.port).send(notice(), NOW) == SENT
    mail = message_from_bytes(box.mails[0], policy=default)
    assert mail["subject"] == "RPM: review needed"
    assert mail["from"] == "rpm@clinic.example"
    assert mail["to"] == "nurse@clinic.example"
    assert mail["auto-submitted"] == "auto-generated"
    assert mail.get_content().strip() == (
        "RPM: 2 alerts need review (1 high, 1 medium). Ref A-7F3Q. Open the console."
    )


def test_every_attempt_has_the_same_message_id_and_another_message_another():
    with mail_server() as box:
        for moment in (NOW, NOW + HOUR):
            assert email(box.port).send(notice(), moment) == SENT
        assert email(box.port).send(notice(key="another"), NOW) == SENT
    ids = [message_from_bytes(mail)["message-id"] for mail in box.mails]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].endswith("@clinic.example>")


@pytest.mark.parametrize("where", ["rcpt", "data"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [("550 no such user", "permanent"), ("552 too big", "permanent"), ("451 later", "transient"),
     ("421 too busy", "transient")],
)  # fmt: skip
def test_a_refusal_for_good_is_told_from_one_that_passes(where, answer, kind):
    with mail_server(Mailbox(**{where: answer})) as box:
        outcome = email(box.port).send(notice(), NOW)
    assert (outcome.kind, outcome.reason) == (kind, f"SMTP {answer[:3]}")
    assert box.mails == []


@pytest.mark.parametrize(("drop", "taken"), [("before", 0), ("after", 1)])
def test_a_connection_that_ends_without_a_word_is_tried_again(drop, taken):
    """Whether the mail was taken cannot be known: the repeat has the same Message-ID."""
    with mail_server(Mailbox(drop=drop)) as box:
        assert email(box.port).send(notice(), NOW).kind == "transient"
    assert len(box.mails) == taken


def test_nobody_there_is_worth_another_attempt():
    assert email(free_port()).send(notice(), NOW).kind == "transient"


def test_a_recipient_without_address_is_for_the_next_channel():
    assert email(1).send(notice(recipient="nurse-2"), NOW) == permanent("no address for the recipient")


@pytest.fixture
def encrypted(tmp_path):
    """Server side of TLS for 127.0.0.1, and the authority to believe."""
    authority = Authority.found(tmp_path / "ca", hosts=["127.0.0.1"], clock=system_clock)
    folder = authority.folder / "broker"
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "broker.crt", folder / "broker.key")
    return context, folder / "ca.crt"


def test_starttls_with_a_log_in(encrypted):
    context, ca = encrypted
    seen = []

    def authenticator(server, session, envelope, mechanism, auth):
        seen.append((auth.login, auth.password))
        return AuthResult(success=auth.password == b"right", handled=False)

    options = {"tls_context": context, "require_starttls": True, "authenticator": authenticator}
    with mail_server(**options, auth_required=True) as box:
        tls = {"security": "starttls", "ca": ca, "user": "rpm"}
        assert email(box.port, password="right", **tls).send(notice(), NOW) == SENT
        assert email(box.port, password="wrong", **tls).send(notice(), NOW) == permanent("SMTP 535")
        assert len(box.mails) == 1
        untrusting = email(box.port, security="starttls", user="rpm", password="right")
        assert untrusting.send(notice(), NOW).reason == "the server's certificate is not believed"
    assert set(seen) == {(b"rpm", b"right"), (b"rpm", b"wrong")}


def test_without_starttls_nothing_is_sent_in_the_clear():
    with mail_server() as box:
        assert email(box.port, security="starttls").send(notice(), NOW).kind == "permanent"
    assert box.mails == []


@pytest.mark.parametrize(
    ("server", "sender", "words"),
    [
        (Server("mail.example", security="none"), "rpm@clinic.example", "starttls or tls"),
        (Server("mail.example", user="me"), "rpm@clinic.example", "user and a password"),
        (Server("127.0.0.1", security="none"), "Pain Clinic <rpm@clinic.example>", "plain mail address"),
        (
            Server("127.0.0.1", security="none"),
            "rpm@clinic.example\r\nBcc: x@y.example",
            "plain mail address",
        ),
        (Server("127.0.0.1", security="none"), "rpm", "plain mail address"),
    ],
)
def test_a_channel_that_is_set_up_wrongly_is_refused(server, sender, words):
    with pytest.raises(ChannelError, match=words):
        Email(server, sender=sender, addresses={})


def test_the_password_is_not_in_what_is_printed(caplog):
    server = Server("mail.example", user="me", password="hunter2")
    caplog.set_level(logging.DEBUG)
    with mail_server() as box:
        email(box.port).send(notice(), NOW)
    assert "hunter2" not in repr(server) + repr(Email(server, sender="a@b.example", addresses={}))
