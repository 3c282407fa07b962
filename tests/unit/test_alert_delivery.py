"""Delivery: one key per message whatever happens, a signature that must fit, dead letters in sight."""

import base64
import json
import random
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from alerts.delivery.attempt import FIRST_WAIT, LONGEST_WAIT, notice_of, wait_before
from alerts.delivery.channels.channel import SENT, permanent, retry_after_s, transient
from alerts.delivery.channels.webhook import Webhook
from alerts.delivery.notice import Notice
from alerts.delivery.receiver import Receiver
from alerts.delivery.worker import deliver_due
from alerts.engine.journal import Journal
from alerts.engine.letters import DEADLINE
from alerts.engine.night import run_night
from alerts.engine.outbox import LEASE
from alerts.errors import ChannelError
from alerts.store.schema import suggestion
from devices.clock import HOUR, MINUTE, SECOND, system_clock, to_utc
from ingest.lake.broker import free_port
from tests.fixtures_alerts import NIGHT, PACK, Hands, acknowledge, open_alert, resolve, tables
from tests.fixtures_delivery import answering

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"quite another secret here").decode()


class Scripted:
    """Channel that answers as told, then accepts."""

    name = "webhook"
    is_clinical = False
    recipients = ()

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.keys = []

    def send(self, notice, attempt_utc):
        self.keys.append(notice.key)
        return self.outcomes.pop(0) if self.outcomes else SENT


class Telling(Scripted):
    """Channel that accepts, and keeps what it was told."""

    def __init__(self):
        super().__init__()
        self.notices = []

    def send(self, notice, attempt_utc):
        self.notices.append(notice)
        return super().send(notice, attempt_utc)


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def journal(store, clock):
    with Journal(store, clock) as journal:
        yield journal


def breach(journal, *patients):
    run_night(
        journal, PACK, NIGHT, tables(NIGHT, *((patient, -2.0, 9, None) for patient in patients or ("p-1",)))
    )
    return journal.active()[0]


def test_an_open_alert_is_told_once(journal, clock):
    alert = breach(journal)
    channel = Scripted()
    assert deliver_due(journal, [channel], clock).sent == 1
    clock.forward(DEADLINE["medium"])
    assert deliver_due(journal, [channel], clock).sent == 0
    assert channel.keys == [f"{alert.alert}:open:1:care-team:webhook"]
    assert journal.to_table()["delivered_utc"].null_count == 0
    assert journal.active()[0].is_delivered


def test_every_attempt_carries_the_same_key(journal, clock):
    breach(journal)
    channel = Scripted(transient("HTTP 500"), transient("ConnectError"))
    for attempt in range(1, 4):
        done = deliver_due(journal, [channel], clock)
        assert (done.failed, done.sent) == ((1, 0) if attempt < 3 else (0, 1))
        assert deliver_due(journal, [channel], clock).failed == 0, "not before its time"
        clock.forward(HOUR)
    assert len(channel.keys) == 3
    assert len(set(channel.keys)) == 1


def test_a_permanent_refusal_is_a_dead_letter_at_once(journal, clock):
    breach(journal)
    assert deliver_due(journal, [Scripted(permanent("HTTP 400"))], clock).dead == 1
    (letter,) = journal.outbox.dead_letters()
    assert (letter.channel, letter.attempt_count, letter.last_error) == ("webhook", 1, "HTTP 400")
    assert deliver_due(journal, [Scripted()], clock).sent == 0


def test_a_receiver_that_stays_away_is_given_up_at_the_deadline_and_not_before(journal, clock):
    breach(journal)
    channel = Scripted(*(transient("HTTP 503") for _ in range(500)))
    began = clock()
    while not journal.outbox.dead_letters():
        deliver_due(journal, [channel], clock)
        clock.forward(10 * SECOND if clock() - began < MINUTE else 10 * MINUTE)
    assert (
        DEADLINE["medium"] - LONGEST_WAIT - 10 * MINUTE <= clock() - began <= DEADLINE["medium"] + 20 * MINUTE
    )
    assert "deadline passed: HTTP 503" in journal.outbox.dead_letters()[0].last_error
    assert len(channel.keys) < 60


def test_the_receivers_wish_is_heeded(journal, clock):
    breach(journal)
    channel = Scripted(transient("HTTP 429", retry_after_s=600.0))
    deliver_due(journal, [channel], clock)
    clock.forward(599 * SECOND)
    assert deliver_due(journal, [channel], clock).sent == 0
    clock.forward(SECOND)
    assert deliver_due(journal, [channel], clock).sent == 1


def test_waits_double_within_their_jitter():
    chance = random.Random(7)
    for attempt in range(1, 30):
        longest = min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT)
        assert longest / 2 <= wait_before(attempt, None, chance) <= longest
    assert wait_before(1, 10**9, chance) == LONGEST_WAIT


@pytest.mark.parametrize("settle", ["acknowledge", "resolve"])
def test_the_first_and_every_later_attempt_looks_whether_it_is_still_needed(journal, clock, settle):
    alert = breach(journal)
    channel = Scripted(transient("HTTP 500"))
    deliver_due(journal, [channel], clock)
    if settle == "acknowledge":
        acknowledge(journal, alert.alert, "nurse-1", 1)
    else:
        resolve(journal, alert.alert)
    assert journal.outbox.counts() == {"cancelled": 1}
    clock.forward(HOUR)
    assert deliver_due(journal, [channel], clock).sent == 0
    assert len(channel.keys) == 1
    assert journal.outbox.counts() == {"cancelled": 1}


def test_a_lost_lease_is_checked_against_the_alert_too(journal, clock):
    alert = breach(journal)
    journal.outbox.claim(["webhook"])
    acknowledge(journal, alert.alert, "nurse-1", 1)
    clock.forward(LEASE)
    assert deliver_due(journal, [Scripted()], clock).cancelled == 1


def test_a_leased_message_belongs_to_one_worker_until_the_lease_runs_out(journal, clock):
    breach(journal)
    first = journal.outbox.claim(["webhook"]).messages[0]
    assert not journal.outbox.claim(["webhook"]).messages
    clock.forward(LEASE - 1)
    assert not journal.outbox.claim(["webhook"]).messages
    clock.forward(1)
    again = journal.outbox.claim(["webhook"]).messages[0]
    assert (again.key, again.attempt) == (first.key, 2)


def test_the_end_is_told_to_those_who_were_told_the_beginning(journal, clock):
    told = breach(journal)
    channel = Scripted()
    deliver_due(journal, [channel], clock)
    resolve(journal, told.alert)
    assert deliver_due(journal, [channel], clock).sent == 1
    assert channel.keys[-1] == f"{told.alert}:resolved:1:care-team:webhook"


def test_an_alert_that_opens_is_not_hidden_in_the_end_of_another(journal, clock):
    first = breach(journal)
    told = Telling()
    deliver_due(journal, [told], clock)
    resolve(journal, first.alert)
    others = [open_alert(journal, "p-1", rule=rule) for rule in (0, 1)]
    assert deliver_due(journal, [told], clock).sent == 3
    assert [(notice.event, notice.counts["medium"]) for notice in told.notices[1:]] in (
        [("resolved", 1), ("opened", 2)],
        [("opened", 2), ("resolved", 1)],
    )
    opened = next(notice for notice in told.notices[1:] if notice.event == "opened")
    assert opened.reference in others


def test_an_alert_resolved_while_its_message_was_on_the_way_is_told_too(journal, clock):
    alert = breach(journal)
    message = journal.outbox.claim(["webhook"]).messages[0]
    resolve(journal, alert.alert)
    journal.outbox.mark_sent(message.key)
    channel = Scripted()
    assert deliver_due(journal, [channel], clock).sent == 1
    assert channel.keys == [f"{alert.alert}:resolved:1:care-team:webhook"]


def test_without_its_channel_a_message_waits(journal, clock):
    breach(journal)
    other = Scripted()
    other.name = "email"
    assert deliver_due(journal, [other], clock).sent == deliver_due(journal, [], clock).sent == 0
    assert journal.outbox.counts() == {"queued": 1}


# -- webhook and receiver -------------------------------------------------------------------------


def test_signed_sent_verified_and_received_once(journal, clock):
    alert = breach(journal, "secret-name-7")
    with Receiver(SECRET, clock=clock) as receiver:
        assert deliver_due(journal, [webhook(receiver.url)], clock).sent == 1
    (received,) = receiver.received
    assert received.body["type"] == "alert.opened"
    assert received.body["data"] == {
        "reference": alert.alert,
        "recipient": "care-team",
        "severity": "medium",
        "counts": {"medium": 1},
    }


def test_a_clinical_webhook_is_told_who_and_why(journal, clock):
    alert = breach(journal, "p-7")
    with journal.transaction() as con:
        step = {"pathway": "flare", "pathway_version": 1, "step": "call", "status": "suggested"}
        con.execute(suggestion.insert().values(alert=alert.alert, suggested_utc=0, **step))
    seen = []

    class Wire(httpx.BaseTransport):
        def handle_request(self, request):
            seen.append(json.loads(request.content))
            return httpx.Response(204)

    with httpx.Client(transport=Wire()) as client:
        channel = Webhook(
            "https://clinic.example/a", SECRET, ["clinic.example"], is_clinical=True, client=client
        )
        deliver_due(journal, [channel], system_clock)
    (told,) = seen[0]["data"]["alerts"]
    assert (told["alert"], told["patient"], told["rule"]) == (alert.alert, "p-7", "deviation-3d")
    assert (told["local_date"], told["zone"]) == (NIGHT.isoformat(), "Europe/Berlin")
    assert told["sentence"] == alert.sentence
    assert told["readings"]["flare_risk.deviation"] == -2.0
    assert told["steps"] == ["call: suggested"]


def webhook(url, secret=SECRET):
    return Webhook(url, secret, allow_hosts=["127.0.0.1"])


def test_the_signature_satisfies_the_public_library(journal):
    """Independent of our receiver: what the wire carried is verified by the library's own check."""
    seen = []

    class Wire(httpx.BaseTransport):
        def handle_request(self, request):
            seen.append(request)
            return httpx.Response(204)

    breach(journal)
    with httpx.Client(transport=Wire()) as client:
        channel = Webhook("https://clinic.example/a", SECRET, ["clinic.example"], client=client)
        deliver_due(journal, [channel], system_clock)
    (request,) = seen
    assert Verifier(SECRET).verify(request.content, dict(request.headers))["type"] == "alert.opened"
    with pytest.raises(WebhookVerificationError):
        Verifier(OTHER_SECRET).verify(request.content, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(request.content + b" ", dict(request.headers))


def test_the_receiver_refuses_a_wrong_signature_an_old_one_and_a_changed_body(journal, clock):
    breach(journal)
    with Receiver(SECRET, clock=clock) as receiver:
        assert deliver_due(journal, [webhook(receiver.url, OTHER_SECRET)], clock).dead == 1
        assert receiver.refused_count == 1
        late = Hands(clock() + 6 * MINUTE)
        notice = _notice(journal)
        assert webhook(receiver.url).send(notice, late()) == permanent("HTTP 401")
        assert webhook(receiver.url).send(notice, clock() + 4 * MINUTE) == SENT
        headers = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        assert httpx.post(receiver.url, content=b"{}", headers=headers, trust_env=False).status_code == 401
        assert httpx.post(receiver.url, content=b"\xff\xfe", trust_env=False).status_code == 401
    assert len(receiver.received) == 1


def _notice(journal):
    """What a channel is told of the message, claimed anew."""
    with journal.transaction() as con:
        con.exec_driver_sql("update outbox set status = 'queued', batch = null")
    return notice_of(journal.outbox.claim(["webhook"]))


def test_the_receiver_keeps_a_repeat_out(journal, clock):
    breach(journal)
    notice = _notice(journal)
    with Receiver(SECRET, clock=clock) as receiver:
        for _ in range(3):
            webhook(receiver.url).send(notice, clock())
    assert (len(receiver.received), receiver.repeat_count) == (1, 2)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_not_taken_for_success(journal, status):
    breach(journal)
    with answering(status, location="/elsewhere") as (url, asked):
        assert webhook(url).send(_notice(journal), system_clock()) == permanent(f"HTTP {status}")
    assert [(one.method, one.path) for one in asked] == [("POST", "/in")]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(status, permanent(f"HTTP {status}")) for status in (400, 404, 410)]
    + [(status, transient(f"HTTP {status}", 7.0)) for status in (408, 425, 429, 500, 502, 503)],
)
def test_what_an_answer_means(journal, status, outcome):
    breach(journal)
    with answering(status, retry_after="7") as (url, _):
        assert webhook(url).send(_notice(journal), system_clock()) == outcome


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Tue, 24 Nov 2026 10:02:00 GMT", 120.0),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 10:02:00 -0000", None),
        ("soon", None),
        ("-5", None),
        ("٣", None),
        (None, None),
    ],
)
def test_how_long_to_wait_is_a_number_or_a_date(value, seconds):
    assert retry_after_s(value, to_utc(datetime(2026, 11, 24, 10, tzinfo=UTC))) == seconds


def test_nobody_there_is_worth_another_attempt(journal):
    breach(journal)
    url = f"http://127.0.0.1:{free_port()}/in"
    assert webhook(url).send(_notice(journal), system_clock()) == transient("ConnectError")


@pytest.mark.parametrize(
    ("url", "secret", "words"),
    [
        ("https://evil.example/x", SECRET, "not among the allowed"),
        ("http://clinic.example/x", SECRET, "https"),
        ("ftp://clinic.example/x", SECRET, "not an http"),
        ("clinic.example", SECRET, "not an http"),
        ("https://clinic.example:port/x", SECRET, "not an http"),
        ("https://me:pass@clinic.example/x", SECRET, "credentials"),
        ("https://clinic.example/x", "whsec_", "secret"),
        ("https://clinic.example/x", "whsec_!", "secret"),
    ],
)
def test_a_channel_that_is_set_up_wrongly_is_refused(url, secret, words):
    with pytest.raises(ChannelError, match=words) as fault:
        Webhook(url, secret, allow_hosts=["clinic.example"])
    assert secret == "whsec_" or secret not in str(fault.value)
    assert "me:pass" not in str(fault.value)


def test_what_is_clinical_never_goes_in_the_clear():
    with pytest.raises(ChannelError, match="https"):
        Webhook("http://127.0.0.1:1/x", SECRET, ["127.0.0.1"], is_clinical=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event", "opened by J. Doe"),
        ("reference", "J. Doe"),
        ("reference", "A-2345\n"),
        ("counts", {"back pain": 1}),
    ],
)
def test_a_notice_holds_nothing_else(field, value):
    fields = {"key": "k", "event": "opened", "reference": "A-2345", "counts": {"high": 1}, "recipient": "r"}
    Notice(**fields)
    with pytest.raises(ChannelError):
        Notice(**fields | {field: value})
