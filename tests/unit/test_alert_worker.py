"""The worker: dead letters alert, no message is stuck, an attempt ends, several threads send each once."""

import threading
from collections import Counter

import pytest

from alerts.delivery.attempt import FEWEST_ATTEMPTS, FIRST_WAIT, send_within
from alerts.delivery.channels.channel import LONGEST_ATTEMPT_S, SENT, permanent, transient, unsure
from alerts.delivery.dead_letter import RULE, Fallback
from alerts.delivery.worker import Worker, deliver_due
from alerts.engine.journal import Journal
from alerts.engine.letters import DEADLINE
from alerts.engine.outbox import LEASE
from devices.clock import SECOND, system_clock
from tests.fixtures_alerts import Hands
from tests.fixtures_delivery import notice, queue_alert
from tests.fixtures_ingest import PATIENCE_S, wait_until

IT = Fallback(("it-1", "it-2"), ("push", "mail"))


class Way:
    """A channel that answers as told, then accepts; remembers what it was told."""

    is_clinical = False
    recipients = ()

    def __init__(self, name, *outcomes, always=SENT):
        self.name, self.outcomes, self.always = name, list(outcomes), always
        self.told = []

    def send(self, notice, attempt_utc):
        self.told.append(notice)
        return self.outcomes.pop(0) if self.outcomes else self.always


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def journal(store, clock):
    with Journal(store, clock) as journal:
        yield journal


def system_alerts(journal):
    return [alert for alert in journal.active() if alert.rule == RULE]


def test_a_permanent_no_goes_to_the_next_channel_at_once(journal, clock):
    queue_alert(journal, channels=("push", "mail"))
    push, mail = Way("push", permanent("HTTP 400")), Way("mail")
    deliver_due(journal, [push, mail], clock)
    assert [len(way.told) for way in (push, mail)] == [1, 1]
    assert journal.outbox.counts() == {"failed": 1, "sent": 1}


def test_after_an_outage_of_ours_the_receiver_gets_its_attempts_all_the_same(journal, clock):
    queue_alert(journal, channels=("push", "mail"), severity="critical")
    clock.forward(DEADLINE["critical"] * 10)
    push, mail = Way("push", *[transient("HTTP 500")] * (FEWEST_ATTEMPTS - 1)), Way("mail")
    while not journal.outbox.counts().get("sent"):
        deliver_due(journal, [push, mail], clock)
        clock.forward(60 * SECOND)
    assert (len(push.told), len(mail.told)) == (FEWEST_ATTEMPTS, 0)


def test_who_wants_to_be_left_alone_past_the_deadline_loses_to_the_next_channel(journal, clock):
    queue_alert(journal, channels=("push", "mail"), severity="critical")
    push, mail = Way("push", transient("HTTP 429", retry_after_s=3600)), Way("mail")
    deliver_due(journal, [push, mail], clock)
    assert (len(push.told), len(mail.told)) == (1, 1)


def test_the_fewest_attempts_fit_into_the_shortest_deadline():
    longest = sum(FIRST_WAIT * 2**number for number in range(FEWEST_ATTEMPTS - 1))
    assert longest < min(DEADLINE.values())


def test_a_dead_letter_is_an_alert_told_by_what_is_left(journal, clock):
    queue_alert(journal, channels=("push",))
    push, mail = Way("push", permanent("HTTP 400"), permanent("HTTP 400")), Way("mail")
    done = deliver_due(journal, [push, mail], clock, fallback=IT)
    assert done.dead == 1
    (alert,) = system_alerts(journal)
    assert (alert.patient, alert.severity, alert.status) == ("push", "high", "open")
    assert "HTTP 400" in alert.sentence
    told = [(one.recipient, one.event) for one in mail.told + push.told[2:]]
    assert sorted(told) == [("it-1", "technical"), ("it-2", "technical")]
    assert journal.first_audit_fault() is None


def test_a_second_dead_letter_of_the_same_channel_does_not_alert_again(journal, clock):
    for _ in range(3):
        queue_alert(journal, channels=("push",))
    push, mail = Way("push", always=permanent("HTTP 400")), Way("mail")
    assert deliver_due(journal, [push, mail], clock, fallback=IT).dead == 3
    assert len(system_alerts(journal)) == 1
    assert len(mail.told) == 2


def test_a_dead_letter_about_a_dead_letter_ends_there(journal, clock):
    queue_alert(journal, channels=("push",))
    push, mail = Way("push", always=permanent("HTTP 400")), Way("mail", always=permanent("SMTP 550"))
    assert deliver_due(journal, [push, mail], clock, fallback=IT).dead == 3
    assert len(system_alerts(journal)) == 1
    assert len(journal.outbox.dead_letters()) == 3


def test_without_anybody_to_tell_the_alert_stands_in_the_list(journal, clock):
    queue_alert(journal, channels=("push",))
    deliver_due(journal, [Way("push", permanent("HTTP 400"))], clock)
    assert len(system_alerts(journal)) == 1


def worker(tmp_path, *ways, clock=system_clock, **options):
    return Worker(lambda: Journal(tmp_path / "alerts.sqlite", clock), ways, clock, "w", **options)


def test_a_channel_that_is_not_set_up_is_given_up(journal, clock, tmp_path):
    queue_alert(journal, channels=("pager", "mail"))
    mail = Way("mail")
    one = worker(tmp_path, mail, clock=clock)
    ((claim, channel, notice),) = one.turn(journal, [], 4)
    assert (channel, notice.recipient, claim.messages[0].channel) == (mail, "nurse-1", "mail")
    assert one.turn(journal, [(claim, SENT)], 4) == []
    assert journal.outbox.counts() == {"failed": 1, "sent": 1}


def test_the_longest_attempt_is_shorter_than_the_lease():
    assert LONGEST_ATTEMPT_S * SECOND < LEASE / 2


def test_an_attempt_ends_though_the_receiver_trickles():
    class Trickle(Way):
        def send(self, notice, attempt_utc):
            released.wait(PATIENCE_S)
            return SENT

    released = threading.Event()
    assert send_within(Trickle("slow"), notice(), 0, 0.05) == unsure("no end within the limit")
    released.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_ours_in_a_channel_costs_an_attempt_and_not_the_message(journal, clock):
    class Broken(Way):
        def send(self, notice, attempt_utc):
            raise RuntimeError("a bug")

    queue_alert(journal, channels=("push",))
    assert deliver_due(journal, [Broken("push")], clock).failed == 1
    clock.forward(60 * SECOND)
    assert deliver_due(journal, [Way("push")], clock).sent == 1


def test_several_threads_and_two_workers_send_each_message_once(tmp_path):
    with Journal(tmp_path / "alerts.sqlite", system_clock) as journal:
        for number in range(60):
            queue_alert(journal, channels=("push",), subject=f"p-{number}", recipient=f"nurse-{number}")
        push, stop = Way("push"), threading.Event()
        workers = [threading.Thread(target=worker(tmp_path, push).run, args=(stop,)) for _ in range(2)]
        for one in workers:
            one.start()
        wait_until(lambda: journal.outbox.counts().get("sent") == 60)
        stop.set()
        for one in workers:
            one.join()
        assert journal.outbox.counts() == {"sent": 60}
    assert set(Counter(notice.key for notice in push.told).values()) == {1}


def test_a_worker_that_cannot_open_its_store_ends(tmp_path):
    def cannot():
        raise OSError("no disk")

    one = Worker(cannot, [Way("push")], system_clock, "w")
    with pytest.raises(OSError, match="no disk"):
        one.run(threading.Event())


def test_a_slow_receiver_holds_up_nobody_else(tmp_path):
    released, stop = threading.Event(), threading.Event()

    class Slow(Way):
        def send(self, notice, attempt_utc):
            released.wait(PATIENCE_S)
            return super().send(notice, attempt_utc)

    slow, quick = Slow("slow"), Way("quick")
    with Journal(tmp_path / "alerts.sqlite", system_clock) as journal:
        for number in range(3):
            queue_alert(journal, channels=("slow",), subject=f"s-{number}", severity="critical")
        for number in range(20):
            queue_alert(journal, channels=("quick",), subject=f"q-{number}", severity="low")
        running = threading.Thread(target=worker(tmp_path, slow, quick, threads=4).run, args=(stop,))
        running.start()
        assert wait_until(lambda: len(quick.told) == 20)
        assert slow.told == []
        stop.set()
        released.set()
        running.join(PATIENCE_S)
        assert journal.outbox.counts() == {"sent": 23}, "what was being sent is finished"
