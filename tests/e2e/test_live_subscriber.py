"""At once, beside the collector: nothing is lost while it is away, nothing acknowledged before it is kept."""

import threading
from contextlib import contextmanager

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from devices.clock import DAY, HOUR, system_clock
from devices.sim.answers import given_answer
from ingest.lake.broker import MosquittoBroker
from ingest.lake.enrolment import read_enrolment
from ingest.lake.live import LiveSubscriber, Unavailable
from ingest.wire.client import make_client, start_client
from ingest.wire.messages import encode_batch, encode_observation
from tests.fixtures_ingest import PATIENCE_S, T0, beats, wait_until, write_enrolment


def answer(number, *, device="ring-1", start_utc=T0, value=1.0):
    return given_answer(device, start_utc, f"a-{number}", "phq-9", "9", value, source="app/1")


class Home:
    """A gateway's publisher; every message is confirmed by the broker."""

    def __init__(self, address, gateway="gw-1"):
        self._gateway, self._number = gateway, 0
        self._client = make_client(f"home-{gateway}", address)
        start_client(self._client, address, min_delay_s=0.1, max_delay_s=0.5)
        assert wait_until(self._client.is_connected)

    def say(self, *observations, kind="pro_answer"):
        self._number += 1
        encoded = [encode_observation(one) for one in observations]
        payload = encode_batch(self._number, T0, kind, encoded)
        topic = f"flarecast/v1/north/{self._gateway}/{kind}"
        # after a broker that was killed it comes back when it does
        assert wait_until(self._client.is_connected)
        self._client.publish(topic, payload, qos=1).wait_for_publish(PATIENCE_S)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path):
    broker = MosquittoBroker(tmp_path / "broker")
    yield broker, broker.start()
    broker.stop()


@pytest.fixture
def home(broker):
    home = Home(broker[1])
    yield home
    home.close()


class Kept:
    """What was handed over and kept; refuses while told to."""

    def __init__(self):
        self.rows, self.is_open, self.calls = [], True, 0
        self.poison = None

    def __call__(self, rows):
        self.calls += 1
        if not self.is_open:
            raise Unavailable("no disk")
        if any(one.observation.answer_id == self.poison for one in rows):
            raise ValueError("a bug")
        self.rows += rows

    def ids(self):
        return [one.observation.answer_id for one in self.rows]


@contextmanager
def listening(address, tmp_path, kept):
    write_enrolment(tmp_path / "e.csv", ["gw-1", "gw-2"])
    enrolment = read_enrolment(tmp_path / "e.csv")
    live = LiveSubscriber(
        address, lambda: enrolment, lambda: frozenset({"pro_answer"}), kept, clock=system_clock
    )
    thread = threading.Thread(target=live.run)
    thread.start()
    try:
        assert live.is_subscribed.wait(PATIENCE_S)
        yield live
    finally:
        live.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_whose_it_is_and_nothing_but_what_was_asked_for(broker, home, tmp_path):
    kept = Kept()
    with listening(broker[1], tmp_path, kept):
        home.say(beats(0, [800], gap=None), kind="rr_interval")
        home.say(answer(1), answer(2))
        assert wait_until(lambda: len(kept.rows) == 2)
    assert kept.ids() == ["a-1", "a-2"]
    assert {(one.patient, one.site, one.zone) for one in kept.rows} == {("p-gw-1", "north", "Europe/Berlin")}


def test_what_came_while_it_was_away_comes_when_it_is_back(broker, home, tmp_path):
    kept = Kept()
    with listening(broker[1], tmp_path, kept):
        home.say(answer(1))
        assert wait_until(lambda: kept.ids() == ["a-1"])
    home.say(answer(2))
    home.say(answer(3))
    with listening(broker[1], tmp_path, kept):
        assert wait_until(lambda: kept.ids() == ["a-1", "a-2", "a-3"])


def test_what_could_not_be_kept_is_offered_until_it_is_and_to_the_next_one(broker, home, tmp_path):
    kept = Kept()
    kept.is_open = False
    with listening(broker[1], tmp_path, kept):
        home.say(answer(1))
        assert wait_until(lambda: kept.calls >= 2)
    assert kept.rows == []
    kept.is_open = True
    with listening(broker[1], tmp_path, kept):
        assert wait_until(lambda: kept.ids() == ["a-1"])
    # acknowledged now: a third one gets nothing
    with listening(broker[1], tmp_path, kept):
        home.say(answer(2))
        assert wait_until(lambda: kept.ids() == ["a-1", "a-2"])


def test_a_broker_that_is_killed_brings_what_was_not_acknowledged(broker, tmp_path):
    kept = Kept()
    kept.is_open = False
    with listening(broker[1], tmp_path, kept) as live:
        home = Home(broker[1])
        home.say(answer(1))
        assert wait_until(lambda: kept.calls)
        broker[0].kill()
        home.close()
        kept.is_open = True
        assert wait_until(lambda: kept.ids() == ["a-1"])
        broker[0].start()
        assert live.is_subscribed.wait(PATIENCE_S)
        home = Home(broker[1])
        home.say(answer(2))
        assert wait_until(lambda: kept.ids()[-1] == "a-2")
        home.close()
    assert set(kept.ids()) == {"a-1", "a-2"}


def test_one_that_cannot_be_judged_does_not_hold_up_the_others(broker, home, tmp_path, caplog):
    kept = Kept()
    kept.poison = "a-2"
    with listening(broker[1], tmp_path, kept):
        for number in range(1, 5):
            home.say(answer(number))
        assert wait_until(lambda: len(kept.rows) == 3)
    assert kept.ids() == ["a-1", "a-3", "a-4"]
    assert "live_not_judged" in caplog.text


def test_a_clock_that_is_days_ahead_does_not_hold_an_answer_back(broker, home, tmp_path):
    kept = Kept()
    with listening(broker[1], tmp_path, kept):
        home.say(answer(1, start_utc=system_clock() + 3 * DAY), answer(2, start_utc=system_clock() - HOUR))
        assert wait_until(lambda: sorted(kept.ids()) == ["a-1", "a-2"])


def test_what_a_stranger_says_of_a_patient_is_not_taken(broker, tmp_path):
    """A device of another gateway, and one that nobody has: the collector's quarantine keeps both."""
    kept, stranger = Kept(), Home(broker[1], "gw-2")
    with listening(broker[1], tmp_path, kept):
        stranger.say(answer(1), answer(2, start_utc=system_clock() + 3 * DAY), answer(3, device="ring-9"))
        stranger.say(answer(4, device="ring-2"))
        assert wait_until(lambda: kept.rows)
    assert [(one.patient, one.observation.answer_id) for one in kept.rows] == [("p-gw-2", "a-4")]
    stranger.close()


def test_a_subscription_that_the_broker_refuses_is_none(caplog):
    live = LiveSubscriber(None, None, lambda: frozenset({"pro_answer"}), None, clock=system_clock)
    granted, refused = (ReasonCode(PacketTypes.SUBACK, name) for name in ("Granted QoS 1", "Not authorized"))
    live._on_subscribe(None, None, 1, [granted, refused], None)
    assert not live.is_subscribed.is_set()
    assert "subscription_refused broker=None reasons=Not authorized" in caplog.text
    live._on_subscribe(None, None, 1, [granted], None)
    assert live.is_subscribed.is_set()
