"""Apprise: the traps of alerts.md 2.1 measured on the locked release, and what the channel makes of them."""

import logging

import pytest
from apprise import Apprise as Services
from apprise import AppriseAsset

from alerts.delivery.channels.apprise import Apprise
from alerts.delivery.channels.channel import SENT, permanent
from alerts.errors import ChannelError
from ingest.lake.broker import free_port
from tests.fixtures_alerts import Hands
from tests.fixtures_delivery import answering, notice
from tests.fixtures_ingest import wait_until

NOW = Hands()()


def service(url, scheme="json"):
    return f"{scheme}://{url.removeprefix('http://')}"


def channel(address):
    return Apprise({"nurse-1": address}, name="push")


def test_one_request_with_nothing_in_it_but_the_words():
    with answering(200) as (url, asked):
        assert channel(service(url)).send(notice(), NOW) == SENT
    assert len(asked) == 1
    assert b"2 alerts need review (1 high, 1 medium). Ref A-7F3Q" in asked[0].body


@pytest.mark.parametrize("status", [302, 400, 429, 500])
def test_a_no_is_one_attempt_and_worth_another(status):
    with answering(status, location="/elsewhere", retry_after="0") as (url, asked):
        assert channel(service(url)).send(notice(), NOW).kind == "transient"
    assert [(one.method, one.path) for one in asked] == [("POST", "/in")]


def test_the_trap_a_redirect_followed_is_reported_as_success():
    """Why redirects are off: this is what Apprise does by default."""
    with answering(302, location="/elsewhere") as (url, asked):
        services = Services(asset=AppriseAsset(async_mode=False))
        services.add(service(url))
        assert services.notify(body="lost") is True
    assert [(one.method, one.path, one.body) for one in asked[1:]] == [("GET", "/elsewhere", b"")]


def test_the_trap_a_permanent_and_a_passing_no_look_the_same():
    answers = set()
    for status in (400, 429, 500):
        with answering(status, retry_after="9") as (url, _):
            services = Services(asset=AppriseAsset(async_mode=False))
            services.add(service(url))
            answers.add(services.notify(body="x"))
    services = Services(asset=AppriseAsset(async_mode=False))
    services.add(f"json://127.0.0.1:{free_port()}")
    answers.add(services.notify(body="x"))
    assert answers == {False}


def test_the_trap_a_retry_in_the_address_is_an_attempt_more():
    with answering(500) as (url, asked):
        services = Services(asset=AppriseAsset(async_mode=False))
        services.add(service(url) + "?retry=1&wait=0.1")
        assert services.notify(body="x") is False
    assert len(asked) == 2


def test_the_trap_nothing_configured_is_no_exception():
    services = Services()
    assert services.add("nonsense://") is False
    assert not services.notify(body="x")


def test_a_server_that_does_not_answer_ends_the_attempt():
    with answering(200, wait_s=30) as (url, asked):
        assert channel(service(url) + "?rto=0.2").send(notice(), NOW).kind == "transient"
        # the server may read it after we have given up
        assert wait_until(lambda: bool(asked))
    assert len(asked) == 1


def test_nobody_there_is_worth_another_attempt():
    assert channel(f"json://127.0.0.1:{free_port()}").send(notice(), NOW).kind == "transient"


def test_a_recipient_without_address_is_for_the_next_channel():
    assert channel("json://127.0.0.1:1").send(notice(recipient="nurse-2"), NOW) == permanent(
        "no address for the recipient"
    )


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nonsense://token", "not the address"),
        ("json://127.0.0.1/tokentoken?retry=2", "retry and redirect"),
        ("json://127.0.0.1/tokentoken?redirect=yes", "retry and redirect"),
        (f"twilio://AC{'a' * 32}:{'b' * 32}@15551234567/15557654321/15557654322", "one target"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#a/#b", "one target"),
        ("mailtos://u:tokentoken@mail.example?to=a@b.example,c@d.example", "kind email"),
    ],
)
def test_an_address_that_would_do_more_than_one_thing_is_refused(address, words):
    with pytest.raises(ChannelError, match=words) as fault:
        channel(address)
    assert "token" not in str(fault.value).replace("tokens", "")


def test_neither_body_nor_token_is_logged(caplog):
    caplog.set_level(logging.DEBUG)
    with answering(500) as (url, _):
        channel(service(url) + "/tokentoken?+X-Token=tokentoken").send(notice(), NOW)
    assert "tokentoken" not in caplog.text
    assert "A-7F3Q" not in caplog.text
