"""Anything in any order, with crashes: the engine against an oracle that shares none of its code.

The oracle keeps whole histories and recomputes from the words of the rules. Crashes: before a commit
(the transaction is lost, the store is opened again), after a lease, after sending.
"""

import atexit
import functools
import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from alerts.engine import alert as alerts
from alerts.engine.alert import IS_ACTIVE
from alerts.engine.events import Answer, judge_answers
from alerts.engine.journal import Journal
from alerts.errors import JournalError, StaleAlertError
from alerts.store import audit, database
from devices.clock import HOUR, MINUTE, from_utc
from tests.alert_oracle import is_silent, low_days, red_flag
from tests.fixtures_alerts import Hands
from tests.fixtures_engine import FIRST, PACK, ZONE, at_hour, desk, hire, judge, run_tick

PATIENTS = ("p-1", "p-2")
DEVIATIONS = st.sampled_from([None, -1.5, -1.0, -0.7, -0.4, 0.2])
MOODS = st.sampled_from([None, 2.0, 2.0, 2.0, 7.0, 9.0])
ROWS = st.tuples(DEVIATIONS, MOODS, st.sampled_from([None, 4000.0, 4000.0]))
CLINICIAN_AFTER = 2 * HOUR
FATES = ("sent", "sent", "retry", "no answer", "after lease", "after send")


class Crash(Exception):
    """The process died."""


ORACLES = {"low-days": low_days, "red-flag": red_flag}


class AlertMachine(RuleBasedStateMachine):
    """A clinic with two patients."""

    @initialize()
    def open_clinic(self):
        self.path = begin_again()
        self.clock = Hands(at_hour(0, 9))
        self.journal = self.opened()
        self.day = -1
        self.histories = {patient: {} for patient in PATIENTS}
        self.closed = {}  # (patient, rule) -> day a person closed the episode
        self.accepted = {}  # key -> messages, as the receiver has them
        self.told, self.ended = set(), set()
        self.perhaps = set()  # (alert, recipient) of attempts whose worker died: nobody knows
        self.audible_since = {}
        self.answers = {}  # id -> value, of the answers on self-harm that were judged

    def teardown(self):
        if hasattr(self, "journal"):
            try:
                self.settle()
            finally:
                self.journal.close()

    def opened(self):
        with mock.patch.object(database, "_engine", ENGINE):
            return Journal(self.path, self.clock)

    # -- what happens ---------------------------------------------------------------------------

    def act(self, what, crash):
        """Do it; with a crash do it, die before the commit, come back and do it again."""
        if crash:
            with pytest.raises(Crash):
                self.die_in(what)
            self.journal.close()
            self.journal = self.opened()
        return what()

    def die_in(self, what):
        with self.journal.transaction():
            what()
            raise Crash

    # from the fourteenth night on the usual wear counts, which has tests of its own
    @precondition(lambda self: len(self.histories["p-1"]) < 13)
    @rule(rows=st.tuples(ROWS, ROWS), skipped=st.sampled_from([0, 0, 0, 1, 3]), crash=st.booleans())
    def night(self, rows, skipped, crash):
        self.day += 1 + skipped
        self.clock.utc = max(self.clock.utc, at_hour(self.day, 6))
        given = dict(zip(PATIENTS, rows, strict=True))
        for patient, row in given.items():
            self.histories[patient][self.day] = row
        self.act(lambda: judge(self.journal, FIRST + timedelta(days=self.day), given), crash)
        self.note()

    @precondition(lambda self: self.day > 1)
    @rule(back=st.integers(1, 3), patient=st.sampled_from(PATIENTS), row=ROWS)
    def late_night(self, back, patient, row):
        day = self.day - back
        # what was never judged is a day without a word on steps: only known nights come again
        if day in self.histories[patient]:
            known = self.histories[patient][day]
            row = (*row[:2], known[2])
            self.histories[patient][day] = row
            judge(self.journal, FIRST + timedelta(days=day), {patient: row})
            self.note()

    @rule(hours=st.sampled_from([1, 2, 5, 9, 26]), crash=st.booleans())
    def time_passes(self, hours, crash):
        self.clock.forward(hours * HOUR)
        self.act(lambda: run_tick(self.journal), crash)
        self.check_escalated()
        self.note()

    @rule(count=st.integers(1, 4), fate=st.sampled_from(FATES))
    def deliver(self, count, fate):
        for _ in range(count):
            claim = self.journal.outbox.claim(None)
            if not claim.messages:
                return
            self.check_attempt(claim)
            if fate in ("sent", "no answer", "after send"):
                self.accept(claim)
            if fate == "after lease":
                self.perhaps |= {(message.alert, message.recipient) for message in claim.messages}
            if fate == "sent":
                self.journal.outbox.mark_sent(claim.key)
            elif fate in ("retry", "no answer"):
                if fate == "no answer":
                    self.journal.outbox.doubt(claim.key)
                self.journal.outbox.retry(claim.key, "HTTP 500", self.clock() + MINUTE)

    @rule(
        number=st.integers(0, 3),
        patient=st.sampled_from(PATIENTS),
        value=st.sampled_from([0.0, 1.0, 2.0]),
        late=st.sampled_from([0, 1, 80]),
        crash=st.booleans(),
    )
    def answer(self, number, patient, value, late, crash):
        """An answer on self-harm, or one that is sent again: an event, told once whatever stands already."""
        key = f"{patient}-{number}"
        is_news = key not in self.answers and value > 0
        value = self.answers.setdefault(key, value)
        said = Answer(key, patient, "phq-9", "9", value, self.clock() - late * HOUR, ZONE)
        before = self.self_harm(patient)
        assert self.act(lambda: judge_answers(self.journal, PACK, [said]), crash) == is_news
        after = self.self_harm(patient)
        if is_news:
            assert after.status == "open"
            assert before is None or (after.alert, after.round) == (before.alert, before.round + 1)
        else:
            assert after == before, "an answer was judged twice"
        self.note()

    @precondition(lambda self: self.active())
    @rule(index=st.integers(0, 5), stale=st.booleans(), crash=st.booleans())
    def acknowledge(self, index, stale, crash):
        one = self.pick(index)
        version = one.version - stale
        if stale:
            with pytest.raises(StaleAlertError):
                desk(self.journal).acknowledge(one.alert, version)
            assert self.find(one.alert) == one
            return
        self.act(lambda: desk(self.journal).acknowledge(one.alert, version), crash)
        self.note()

    @precondition(lambda self: self.active())
    @rule(index=st.integers(0, 5), hours=st.sampled_from([1, 3, 24]))
    def snooze(self, index, hours):
        one = self.pick(index)
        until = self.clock() + hours * HOUR
        if one.severity == "critical" or one.status != "open":
            with pytest.raises(JournalError):
                desk(self.journal).snooze(one.alert, one.version, until, "test")
            return
        desk(self.journal).snooze(one.alert, one.version, until, "test")
        self.note()

    @precondition(lambda self: self.active())
    @rule(index=st.integers(0, 5))
    def close_by_hand(self, index):
        one = self.pick(index)
        desk(self.journal).resolve(one.alert, one.version, "seen")
        if one.night is not None:
            today = max(self.day, (self.find(one.alert).resolved_night - FIRST).days)
            self.closed[one.subject, one.rule] = today
        self.note()

    # -- what must hold ---------------------------------------------------------------------------

    def check_attempt(self, claim):
        """An attempt begins only for what still needs it, and not at night."""
        local = from_utc(self.clock(), ZoneInfo(ZONE))
        for message in claim.messages:
            one = self.find(message.alert)
            if message.kind != "resolved":
                assert one.status == "open", "told of what was acknowledged or is over"
                assert one.held_by is None, "told of what is held"
                assert one.snooze_until_utc is None or one.snooze_until_utc <= self.clock(), "snoozed"
            if message.recipient == "nurse-1" and message.severity != "critical":
                assert 7 <= local.hour < 22, "in the quiet hours"

    def accept(self, claim):
        content = {(message.alert, message.kind, message.recipient) for message in claim.messages}
        before = self.accepted.setdefault(claim.key, content)
        assert content <= before, "a repeated key says more than it did"
        for alert, kind, recipient in content:
            (self.ended if kind == "resolved" else self.told).add((alert, recipient))

    def check_escalated(self):
        """Right after a tick: what was audible and unanswered for so long has gone to the clinician."""
        with self.journal.transaction() as con:
            sent = set(con.exec_driver_sql("select alert, created_utc from outbox where kind = 'escalate'"))
        for one in self.active():
            until = one.snooze_until_utc
            assert until is None or until > self.clock(), "sleeps on"
        for name, since in self.audible_since.items():
            one = self.find(name)
            if one.status == "open" and one.held_by is None and since + CLINICIAN_AFTER <= self.clock():
                assert any(alert == name and made >= since for alert, made in sent), "nobody was told next"

    def note(self):
        """Since when each alert has been open, not held, not snoozed; in the same round.

        A snooze ends with the first tick after its time, and the chain begins there.
        """
        now = {}
        for one in self.active():
            if one.status == "open" and one.held_by is None and one.snooze_until_utc is None:
                key = (one.alert, one.round)
                now[key] = self.audible.get(key, self.clock()) if hasattr(self, "audible") else self.clock()
        self.audible = now
        self.audible_since = {alert: since for (alert, _), since in now.items()}

    @invariant()
    def conditions_and_alerts_agree(self):
        if not hasattr(self, "journal"):
            return
        active = {(one.subject, one.rule): one for one in self.active() if one.scope == "patient"}
        assert len(active) == sum(one.scope == "patient" for one in self.active())
        for patient, history in self.histories.items():
            for name, oracle in ORACLES.items():
                firing, since = oracle(history)
                one = active.get((patient, name))
                is_closed = (patient, name) in self.closed and self.closed[patient, name] >= (since or 0)
                if firing and not is_closed:
                    assert one is not None, f"{name} holds and nobody is told"
                if one is not None and not firing:
                    assert name == "red-flag", "lasts longer than its condition"
                    assert one.cleared_utc is not None, "a person has to know that it is over"
                if one is not None and name == "low-days" and history:
                    self.check_inhibited(one, is_silent(history))

    def check_inhibited(self, one, silent):
        is_inhibited = one.held_by == "inhibited by silent"
        if one.held_by != "judged late":
            assert is_inhibited == silent, "held for no data exactly while there are none"

    @invariant()
    def only_the_audible_have_timers(self):
        if not hasattr(self, "journal"):
            return
        for one in self.active():
            is_snoozed = one.snooze_until_utc is not None and one.snooze_until_utc > self.clock()
            if one.status != "open" or one.held_by is not None or is_snoozed:
                assert one.next_escalation_utc is None, "a silent alert would escalate"
                assert one.next_repeat_utc is None, "a silent alert would repeat"
            if one.severity == "critical":
                assert one.held_by is None
                assert one.snooze_until_utc is None

    def settle(self):
        """Everything delivered: who is waited for has been told, who was told knows the end."""
        for _ in range(6):
            self.clock.forward(7 * HOUR)
            while (claim := self.journal.outbox.claim(None)).messages:
                self.check_attempt(claim)
                self.accept(claim)
                self.journal.outbox.mark_sent(claim.key)
        with self.journal.transaction() as con:
            for one in alerts.select(con):
                told = {who for name, who in self.told if name == one.alert}
                is_snoozed = one.snooze_until_utc is not None
                if one.status == "open" and one.held_by is None and not is_snoozed:
                    assert told, "open and nobody knows"
                if one.status == "resolved":
                    ended = {who for name, who in self.ended if name == one.alert}
                    assert told <= ended, "told the beginning and not the end"
                    unsure = {who for name, who in self.perhaps if name == one.alert}
                    assert ended <= told | unsure, "told the end of what nobody began to tell"
            assert audit.first_fault(con) is None
            keys = con.exec_driver_sql("select key from outbox").scalars().all()
        assert len(keys) == len(set(keys))

    # -- looking ----------------------------------------------------------------------------------

    def active(self):
        with self.journal.transaction() as con:
            return alerts.select(con, IS_ACTIVE)

    def pick(self, index):
        found = self.active()
        return found[index % len(found)]

    def self_harm(self, patient):
        found = [one for one in self.active() if (one.subject, one.rule) == (patient, "self-harm")]
        return found[0] if found else None

    def find(self, name):
        with self.journal.transaction() as con:
            return alerts.find(con, name)


#: One for all examples: it keeps its compiled statements, and its connections are new with every opening.
ENGINE = functools.cache(database._engine)


@functools.cache
def template():
    """A store with its staff, made once: making the tables is most of an example's time."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with Journal(folder / "hired", Hands(0)) as journal:
        hire(journal)
    return folder / "hired"


def begin_again():
    """A fresh store, where the one of the last example was."""
    path = template().with_name("j")
    for old in path.parent.glob("j*"):
        old.unlink()
    shutil.copy(template(), path)
    return path


AlertMachine.TestCase.settings = settings(
    max_examples=int(os.environ.get("ALERT_EXAMPLES", "300")), stateful_step_count=12, deadline=None
)
# a fault found is first made small, for up to five minutes; `make proof` takes 3,000 examples
AlertMachine.TestCase.pytestmark = [pytest.mark.timeout(0 if "ALERT_EXAMPLES" in os.environ else 900)]
test_the_engine_under_anything = AlertMachine.TestCase
