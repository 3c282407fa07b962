"""Any nights in any order: the journal against an oracle that knows only the rule in words."""

import random
import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from alerts.delivery.channels.channel import SENT, transient
from alerts.delivery.worker import deliver_due
from alerts.engine.journal import Journal
from alerts.engine.night import run_night
from devices.clock import HOUR
from tests.fixtures_alerts import NIGHT, PACK, Hands, tables

VALUES = st.sampled_from([None, -1.5, -1.0, -0.9, -0.5, -0.4, 0.3])
REPORTS = st.sampled_from([None, False, True])
NIGHTS = st.tuples(st.integers(0, 9), st.sampled_from(["p-1", "p-2"]), VALUES, REPORTS)


def holds_deviation(history):
    """Latched: begins at -1.0, ends only above -0.5, silence changes nothing."""
    firing = False
    for _, (value, _) in sorted(history.items()):
        if value is not None and value <= -1.0:
            firing = True
        elif value is not None and value > -0.5:
            firing = False
    return firing


def holds_report(history):
    """Three nights that say no since the last report, or a week after it."""
    reports = [day for day, (_, said) in history.items() if said]
    if not reports:
        return False
    last = max(reports)
    quiet = sum(said is False for day, (_, said) in history.items() if day > last)
    return quiet < 3 and max(history) - last < 7


ORACLES = {"deviation-3d": holds_deviation, "flare-reported": holds_report}


class Unreliable:
    """Accepts, fails before accepting, or fails after: at random."""

    name = "webhook"
    is_clinical = False
    recipients = ()

    def __init__(self, chance):
        self.chance = chance
        self.accepted = []

    def send(self, notice, attempt_utc):
        turn = self.chance.random()
        if turn < 0.3:
            return transient("HTTP 500")
        self.accepted.append(notice.key)
        return transient("ReadTimeout") if turn < 0.5 else SENT


@settings(max_examples=60)
@example([(1, "p-2", -1.5, None), (0, "p-2", -1.5, None), (1, "p-2", None, None), (0, "p-2", None, None)], 0)
@given(st.lists(NIGHTS, max_size=25), st.integers(0, 2**32))
def test_one_active_alert_exactly_while_the_condition_holds(nights, seed):
    histories = {"p-1": {}, "p-2": {}}
    clock, channel = Hands(), Unreliable(random.Random(seed))
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "j", clock) as journal:
        for day, patient, value, said in nights:
            histories[patient][day] = (value, said)
            night = NIGHT + timedelta(days=day)
            rows = tables(night, (patient, value, 9, said))
            run_night(journal, PACK, night, rows)
            again = run_night(journal, PACK, night, rows)
            assert (again.opened, again.resolved) == (0, 0)
            active = [(alert.patient, alert.rule) for alert in journal.active()]
            wanted = {
                (person, rule)
                for person, history in histories.items()
                for rule, holds in ORACLES.items()
                if history and holds(history)
            }
            assert sorted(active) == sorted(wanted)
            if channel.chance.random() < 0.3:
                deliver_due(journal, [channel], clock, chance=channel.chance)
            clock.forward(HOUR)
        for _ in range(23):
            deliver_due(journal, [channel], clock, chance=channel.chance)
            clock.forward(HOUR)
        assert_everybody_was_told(journal, channel)


def assert_everybody_was_told(journal, channel):
    """Every alert still open was told; whoever was told of one that is over was told that too."""
    accepted = set(channel.accepted)
    with journal.transaction() as con:
        rows = con.exec_driver_sql("select key, alert, kind, status from outbox").fetchall()
    with journal.transaction() as con:
        silent = set(con.exec_driver_sql("select alert from alert where is_retrospective").scalars())
    keys = [row.key for row in rows]
    assert len(set(keys)) == len(keys)
    assert accepted <= set(keys)
    sent = {(row.alert, row.kind) for row in rows if row.status == "sent"}
    for row in journal.to_table().to_pylist():
        opened, resolved = (row["alert"], "open") in sent, (row["alert"], "resolved") in sent
        if row["alert"] not in silent:
            assert opened if row["status"] == "open" else opened == resolved
    assert journal.first_audit_fault() is None
    assert not journal.outbox.dead_letters()
