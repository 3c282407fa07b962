"""The doctor of the channels: each fault once, in words, with what to do."""

import pytest

from alerts.delivery.channels.channel import permanent
from alerts.delivery.worker import deliver_due
from alerts.engine.journal import Journal
from alerts.rules.pack import read_text
from devices.clock import HOUR
from flows.clinic import Clinic
from flows.doctor.delivery import delivery
from tests.fixtures_alerts import Hands, acknowledge
from tests.fixtures_delivery import queue_alert
from tests.unit.test_alert_worker import Way
from tests.unit.test_channel_settings import MAIL, PUSH

DEAD_LETTERS = '[dead_letters]\nrecipients = ["lead"]\nchannels = ["mail"]\n'
CLOCK = Hands()


@pytest.fixture
def clinic(tmp_path):
    (tmp_path / "channels.toml").write_text(DEAD_LETTERS + MAIL.format(port=25))
    return Clinic(tmp_path)


def findings(clinic, after=0):
    return [words for _, words in delivery(clinic, CLOCK() + after)]


def test_a_site_that_delivers_has_none(clinic):
    assert findings(clinic) == []
    with Journal(clinic.journal_path, CLOCK) as journal:
        queue_alert(journal, channels=("mail",))
        assert findings(clinic) == []
        deliver_due(journal, [Way("mail")], CLOCK)
    assert findings(clinic, HOUR) == []


def test_rules_that_one_person_wrote_are_named(clinic):
    (clinic.home / "rules.toml").write_text(read_text(None)[1])
    assert findings(clinic) == []
    (clinic.home / "rules.toml").write_text(read_text(None)[1] + "# mine\n")
    (words,) = findings(clinic)
    assert words.startswith("rules.toml is not what two people approved")


def test_messages_that_wait_have_no_worker_or_no_channel(clinic):
    with Journal(clinic.journal_path, CLOCK) as journal:
        queue_alert(journal, channels=("mail",))
        queue_alert(journal, channels=("pager",), subject="p-2")
    first, second = findings(clinic, 2 * HOUR)
    assert first.startswith("1 messages by mail are due for 2.0 h: is `flarecast alerts worker` running?")
    assert second == "1 messages by pager are due for 2.0 h: no such channel is set up"


def test_a_worker_that_died_with_a_lease_and_never_came_back_is_seen(clinic):
    with Journal(clinic.journal_path, CLOCK) as journal:
        queue_alert(journal, channels=("mail",))
        journal.outbox.claim(["mail"])
    assert findings(clinic) == []
    assert "1 messages by mail are due" in findings(clinic, HOUR)[0]


def test_dead_letters_are_named_until_somebody_has_acknowledged(clinic):
    with Journal(clinic.journal_path, CLOCK) as journal:
        queue_alert(journal, channels=("mail",))
        deliver_due(journal, [Way("mail", permanent("SMTP 550"))], CLOCK)
        assert findings(clinic) == [
            "1 dead letter by mail, the last way there was: call whom it was for, then repair"
        ]
        (alert,) = journal.active(["mail"])
        acknowledge(journal, alert.alert, "it-1", alert.version)
    assert findings(clinic) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MAIL.format(port=25), "nobody is told of dead letters"),
        (DEAD_LETTERS + PUSH, "there is no channel 'mail'"),
        (PUSH, "nurse-1.push cannot be read"),
    ],
)
def test_channels_that_cannot_be_used_are_named(clinic, text, words):
    (clinic.home / "channels.toml").write_text(text)
    assert words in findings(clinic)[0]
