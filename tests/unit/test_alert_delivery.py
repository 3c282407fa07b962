"""Delivery: one key per message whatever happens, a signature that must fit, dead letters in sight."""

import base64
import json
import random
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from alerts.delivery.channels.webhook import Webhook
from alerts.delivery.receiver import Receiver
from alerts.delivery.worker import FIRST_WAIT, LONGEST_WAIT, deliver_due, wait_before
from alerts.engine.journal import Journal
from alerts.engine.night import CONDITION_ENDED, run_night
from alerts.engine.outbox import DEADLINE, LEASE
from alerts.errors import ChannelError, PermanentFailure, TransientFailure
from alerts.rules.pack import load_pack
from devices.clock import HOUR, MINUTE, SECOND, system_clock
from tests.fixtures_alerts import NIGHT, Hands, tables

PACK = load_pack()
SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"quite another secret here").decode()


class Scripted:
    """Channel that fails as told, then accepts."""

    name = "webhook"

    def __init__(self, *faults):
        self.faults = list(faults)
        self.keys = []

    def send(self, message, attempt_utc):
        self.keys.append(message.key)
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def journal(tmp_path, clock):
    with Journal(tmp_path / "alerts.sqlite", clock) as journal:
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
    assert channel.keys == [f"{alert.alert}:open:care-team:webhook"]
    assert journal.to_table()["delivered_utc"].null_count == 0
    assert journal.active()[0].is_delivered


def test_every_attempt_carries_the_same_key(journal, clock):
    breach(journal)
    channel = Scripted(TransientFailure("HTTP 500"), TransientFailure("ConnectError"), None)
    for attempt in range(1, 4):
        done = deliver_due(journal, [channel], clock)
        assert (done.failed, done.sent) == ((1, 0) if attempt < 3 else (0, 1))
        assert deliver_due(journal, [channel], clock).failed == 0, "not before its time"
        clock.forward(HOUR)
    assert len(channel.keys) == 3
    assert len(set(channel.keys)) == 1


def test_a_permanent_refusal_is_a_dead_letter_at_once(journal, clock):
    breach(journal)
    assert deliver_due(journal, [Scripted(PermanentFailure("HTTP 400"))], clock).dead == 1
    (letter,) = journal.outbox.dead_letters()
    assert (letter.channel, letter.attempt_count, letter.last_error) == ("webhook", 1, "HTTP 400")
    assert deliver_due(journal, [Scripted()], clock).sent == 0


def test_a_receiver_that_stays_away_is_given_up_at_the_deadline_and_not_before(journal, clock):
    breach(journal)
    channel = Scripted(*(TransientFailure("HTTP 503") for _ in range(500)))
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
    channel = Scripted(TransientFailure("HTTP 429", retry_after_s=600.0))
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
    channel = Scripted(TransientFailure("HTTP 500"))
    deliver_due(journal, [channel], clock)
    if settle == "acknowledge":
        journal.acknowledge(alert.alert, "nurse-1", 1)
    else:
        journal.resolve(alert.alert, NIGHT, CONDITION_ENDED)
    assert journal.outbox.counts() == {"cancelled": 1}
    clock.forward(HOUR)
    assert deliver_due(journal, [channel], clock).sent == 0
    assert len(channel.keys) == 1
    assert journal.outbox.counts() == {"cancelled": 1}


def test_a_lost_lease_is_checked_against_the_alert_too(journal, clock):
    alert = breach(journal)
    journal.outbox.claim(["webhook"])
    journal.acknowledge(alert.alert, "nurse-1", 1)
    clock.forward(LEASE)
    assert deliver_due(journal, [Scripted()], clock).cancelled == 1


def test_a_leased_message_belongs_to_one_worker_until_the_lease_runs_out(journal, clock):
    breach(journal)
    first = journal.outbox.claim(["webhook"]).message
    assert journal.outbox.claim(["webhook"]).message is None
    clock.forward(LEASE - 1)
    assert journal.outbox.claim(["webhook"]).message is None
    clock.forward(1)
    again = journal.outbox.claim(["webhook"]).message
    assert (again.key, again.attempt) == (first.key, 2)


def test_the_end_is_told_to_those_who_were_told_the_beginning(journal, clock):
    told = breach(journal)
    channel = Scripted()
    deliver_due(journal, [channel], clock)
    journal.resolve(told.alert, NIGHT, CONDITION_ENDED)
    assert deliver_due(journal, [channel], clock).sent == 1
    assert channel.keys[-1] == f"{told.alert}:resolved:care-team:webhook"


def test_an_alert_resolved_while_its_message_was_on_the_way_is_told_too(journal, clock):
    alert = breach(journal)
    message = journal.outbox.claim(["webhook"]).message
    journal.resolve(alert.alert, NIGHT, CONDITION_ENDED)
    journal.outbox.mark_sent(message.key)
    channel = Scripted()
    assert deliver_due(journal, [channel], clock).sent == 1
    assert channel.keys == [f"{alert.alert}:resolved:care-team:webhook"]


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
    assert received.key == f"{alert.alert}:open:care-team:webhook"
    assert received.body["type"] == "alert.opened"
    assert received.body["data"] == {
        "alert": alert.alert,
        "recipient": "care-team",
        "rule": "deviation-3d",
        "rule_version": 1,
        "severity": "medium",
        "local_date": NIGHT.isoformat(),
        "zone": "Europe/Berlin",
        "sentence": alert.sentence,
    }
    assert "secret-name" not in json.dumps(received.body) + received.key


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
        message = _message(journal)
        with pytest.raises(PermanentFailure, match="401"):
            webhook(receiver.url).send(message, late())
        webhook(receiver.url).send(message, clock() + 4 * MINUTE)
        headers = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        assert httpx.post(receiver.url, content=b"{}", headers=headers, trust_env=False).status_code == 401
        assert httpx.post(receiver.url, content=b"\xff\xfe", trust_env=False).status_code == 401
    assert len(receiver.received) == 1


def _message(journal):
    with journal.transaction() as con:
        con.execute("update outbox set status = 'queued'")
    return journal.outbox.claim(["webhook"]).message


def test_the_receiver_keeps_a_repeat_out(journal, clock):
    breach(journal)
    message = journal.outbox.claim(["webhook"]).message
    with Receiver(SECRET, clock=clock) as receiver:
        for _ in range(3):
            webhook(receiver.url).send(message, clock())
    assert (len(receiver.received), receiver.repeat_count) == (1, 2)


@contextmanager
def answering(status, **headers):
    """A server that gives one answer to everything and remembers who asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(("POST", self.path))
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_GET(self):
            asked.append(("GET", self.path))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/in", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_not_taken_for_success(journal, status):
    breach(journal)
    message = journal.outbox.claim(["webhook"]).message
    with (
        answering(status, location="/elsewhere") as (url, asked),
        pytest.raises(PermanentFailure, match=str(status)),
    ):
        webhook(url).send(message, system_clock())
    assert asked == [("POST", "/in")]


@pytest.mark.parametrize(
    ("status", "fault"),
    [(400, PermanentFailure), (404, PermanentFailure), (410, PermanentFailure)]
    + [(status, TransientFailure) for status in (408, 425, 429, 500, 502, 503)],
)
def test_what_an_answer_means(journal, status, fault):
    breach(journal)
    message = journal.outbox.claim(["webhook"]).message
    with answering(status, retry_after="7") as (url, _), pytest.raises(fault) as raised:
        webhook(url).send(message, system_clock())
    assert str(raised.value) == f"HTTP {status}"
    if fault is TransientFailure:
        assert raised.value.retry_after_s == 7.0


def test_nobody_there_is_worth_another_attempt(journal):
    breach(journal)
    with answering(204) as (url, _):
        pass
    with pytest.raises(TransientFailure, match="ConnectError"):
        webhook(url).send(journal.outbox.claim(["webhook"]).message, system_clock())


@pytest.mark.parametrize(
    ("url", "secret", "words"),
    [
        ("https://evil.example/x", SECRET, "not among the allowed"),
        ("http://clinic.example/x", SECRET, "https"),
        ("ftp://clinic.example/x", SECRET, "not an http"),
        ("clinic.example", SECRET, "not an http"),
        ("https://clinic.example/x", "whsec_", "secret"),
        ("https://clinic.example/x", "whsec_!", "secret"),
    ],
)
def test_a_channel_that_is_set_up_wrongly_is_refused(url, secret, words):
    with pytest.raises(ChannelError, match=words) as fault:
        Webhook(url, secret, allow_hosts=["clinic.example"])
    assert secret == "whsec_" or secret not in str(fault.value)
