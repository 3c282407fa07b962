"""Whatever is known of a patient, nothing of it is in anything a thin channel lets out.

Everything that leaves is searched: request line, headers and body, the mail as the
server gets it, and every line logged on the way at DEBUG.
"""

import base64
import logging
import quopri
import string
from email import message_from_bytes

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.delivery.attempt import EVENTS, told_of
from alerts.delivery.channels.apprise import Apprise
from alerts.delivery.channels.email import Email, Server
from alerts.delivery.channels.webhook import Webhook
from alerts.engine.journal import Journal
from alerts.store.schema import alert, outbox
from tests.fixtures_alerts import Hands
from tests.fixtures_delivery import answering, mail_server, queue_alert

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
#: Odd enough not to stand in a message by chance ("tent-t" does); upper case is the references'.
WORD = st.text(string.ascii_lowercase + "äéßж-", min_size=3, max_size=20).map("{}-qj7x".format)
VALUE = st.floats(1e3, 1e9, allow_nan=False).map(lambda value: f"{value:.5f}")
FIELDS = st.fixed_dictionaries(
    {
        "patient": WORD,
        "rule": WORD,
        "zone": WORD,
        "sentence": st.builds("{} fell to {} {}".format, WORD, VALUE, WORD),
        "night": st.dates(),
    }
)


def leased(journal, fields, kind, severity):
    """A message of the outbox about an alert full of what must stay inside, as the worker has it."""
    with journal.transaction() as con:  # an example that is tried again is another alert of the same rule
        con.execute(outbox.delete())
        con.execute(alert.delete())
    name = queue_alert(
        journal, channels=["mail"], subject=fields["patient"], severity=severity, letters=[(kind, "1", 0)]
    )
    known = {name: fields[name] for name in ("rule", "zone", "sentence")}
    known |= {"night": fields["night"], "inputs": {fields["rule"]: fields["sentence"]}}
    with journal.transaction() as con:
        con.execute(alert.update().where(alert.c.alert == name).values(**known))
    return journal.outbox.claim(None)


class Wire(httpx.BaseTransport):
    """Takes every request whole."""

    def __init__(self):
        self.bytes = b""

    def handle_request(self, request):
        head = f"{request.method} {request.url}\n{dict(request.headers)}\n".encode()
        self.bytes += head + request.content
        return httpx.Response(204)


def secrets_of(fields):
    """What is looked for: every field, and every word and number of the sentence."""
    words = {word for word in fields["sentence"].split() if len(word) > 5}
    return {*words, *(str(value) for value in fields.values())}


def readable(raw):
    """Bytes as text, and whatever an encoding of mail could hide in them."""
    texts = [raw.decode("utf-8", "replace"), quopri.decodestring(raw).decode("utf-8", "replace")]
    mail = message_from_bytes(raw)
    texts += [str(value) for value in mail.values()]
    payload = mail.get_payload(decode=True)
    return "\n".join([*texts, payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(fields=FIELDS, kind=st.sampled_from(sorted(EVENTS)), severity=st.sampled_from(["low", "critical"]))
def test_nothing_of_the_patient_leaves(tmp_path, caplog, fields, kind, severity):
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    wire, now = Wire(), Hands()()
    with (
        httpx.Client(transport=wire) as client,
        answering(200) as (url, asked),
        mail_server() as box,
        Journal(tmp_path / "j", Hands()) as journal,
    ):
        channels = [
            Webhook("https://care.example/in", SECRET, ["care.example"], client=client),
            Apprise({"nurse-1": url.replace("http", "json")}, name="push"),
            Email(
                Server("127.0.0.1", box.port, "none"),
                sender="rpm@clinic.example",
                addresses={"nurse-1": "nurse@clinic.example"},
            ),
        ]
        one = leased(journal, fields, kind, severity)
        for channel in channels:
            assert not channel.is_clinical
            assert channel.send(told_of(journal, channel, one), now).kind == "sent"
        journal.outbox.mark_sent(one.key)
    push = "\n".join(f"{one.method} {one.path} {one.headers} {one.body.decode()}" for one in asked)
    left = {"webhook": wire.bytes.decode(), "push": push, "mail": readable(box.mails[0]), "log": caplog.text}
    for where, text in left.items():
        if where != "log":
            assert one.messages[0].alert in text, "the reference is what they say"
        for secret in secrets_of(fields):
            assert secret not in text, f"{where} says {secret!r}"
