"""Which rules judge: what two people agreed on, in the night, live, in the worker's tick and at the desk."""

import pytest

from alerts.delivery.worker import Worker
from alerts.engine.journal import Journal
from alerts.errors import RuleError
from alerts.rules.pack import load_pack, read_text
from devices.clock import HOUR
from flows.care import delivery_command, live_command
from flows.care.live_command import LiveJudge
from flows.care.rules_in_force import RulesInForce, approve, in_force_text, propose
from flows.care.ticking import Ticking
from flows.cli import main
from flows.clinic import Clinic
from flows.night.judging import Judge
from ingest.lake.live import LiveObservation
from tests.e2e.test_live_subscriber import answer
from tests.fixtures_alerts import Hands
from tests.fixtures_engine import ZONE
from tests.fixtures_ingest import write_enrolment
from tests.unit.test_alert_worker import Way

#: As somebody alone may have left it: the rule that pages asks for more.
LAXER = ('item = "9"\nenter = ">= 1"', 'item = "9"\nenter = ">= 3"')


@pytest.fixture
def clinic(tmp_path):
    (tmp_path / "channels.toml").write_text('[staffed_response]\nwho = "on call"\n')
    write_enrolment(tmp_path / "enrolment.csv", ["gw-1"])
    return Clinic(tmp_path)


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def journal(clinic, clock):
    with Journal(clinic.journal_path, clock) as journal:
        yield journal


def laxer():
    text = read_text(None)[1]
    assert text.count(LAXER[0]) == 1
    lines = text.replace(*LAXER).splitlines()
    # a changed rule is a new version
    at = lines.index('id = "self-harm"')
    lines[at + 1] = "version = 9"
    return "\n".join(lines)


def bound(pack):
    return next(rule.enter for rule in pack.rule if rule.id == "self-harm")


def agree(journal, clinic, text):
    change = propose(journal, text, "new.toml", "doc-1", in_force_text(journal))
    approve(journal, change, "doc-2", clinic.home / "rules.toml")


def test_what_one_person_wrote_into_the_file_is_not_in_force_and_is_said_once(clinic, journal, caplog):
    rules = RulesInForce(clinic)
    (clinic.home / "rules.toml").write_text(laxer())
    assert bound(rules(journal)) == ">= 1"
    assert bound(rules(journal)) == ">= 1"
    assert caplog.text.count("rules_not_approved") == 1


def test_what_two_agreed_on_holds_at_once_and_whatever_becomes_of_the_file(clinic, journal, clock, caplog):
    rules = RulesInForce(clinic)
    assert rules(journal).digest == load_pack().digest
    agree(journal, clinic, laxer())
    assert bound(rules(journal)) == ">= 3"
    (clinic.home / "rules.toml").unlink()
    assert bound(rules(journal)) == ">= 3"
    assert "rules_not_approved" not in caplog.text
    # back to what came along takes two people too
    clock.forward(1)
    agree(
        journal,
        clinic,
        read_text(None)[1].replace('id = "self-harm"\nversion = 1', 'id = "self-harm"\nversion = 10'),
    )
    assert bound(rules(journal)) == ">= 1"


def test_a_file_that_is_no_text_is_not_in_force_and_stops_nothing(clinic, journal, caplog):
    (clinic.home / "rules.toml").write_bytes(b"\xff\xfe")
    assert RulesInForce(clinic)(journal).digest == load_pack().digest
    assert "rules_not_approved" in caplog.text


def test_an_older_version_of_a_rule_is_refused(clinic, journal):
    agree(journal, clinic, laxer())
    with pytest.raises(RuleError, match="version"):
        propose(journal, read_text(None)[1], "old.toml", "doc-1", in_force_text(journal))


def heard(number, value, clock):
    one = answer(number, value=value, start_utc=clock())
    return [LiveObservation("p-gw-1", "north", ZONE, one, clock())]


def test_the_live_judge_pages_by_the_rules_in_force(clinic, journal, clock, monkeypatch):
    (clinic.home / "rules.toml").write_text(laxer())
    judge = LiveJudge(clinic, journal, clock)
    judge(heard(1, 1.0, clock))
    assert [one.rule for one in journal.active()] == ["self-harm"]
    agree(journal, clinic, laxer())
    monkeypatch.setattr(live_command, "ASK_S", 0.0)
    judge(heard(2, 2.0, clock))
    assert bound(judge.pack) == ">= 3"
    assert journal.active()[0].version == 1


def test_a_file_that_cannot_be_read_does_not_silence_the_live_judge(
    clinic, journal, clock, monkeypatch, caplog
):
    judge = LiveJudge(clinic, journal, clock)
    monkeypatch.setattr(live_command, "ASK_S", 0.0)
    (clinic.home / "channels.toml").write_text("[[[")
    judge(heard(1, 1.0, clock))
    assert "rules_unreadable" in caplog.text
    assert [one.rule for one in journal.active()] == ["self-harm"]


def test_a_fault_in_channels_toml_does_not_stop_the_ticks_of_a_running_worker(clinic, journal, clock, caplog):
    ticking = Ticking(clinic, clock)
    assert ticking(journal)["coverage-gap"] == 3
    (clinic.home / "channels.toml").write_text("[[[")
    clock.forward(HOUR)
    assert ticking(journal)["coverage-gap"] == 0
    assert "rules_unreadable" in caplog.text


def test_night_desk_and_worker_go_by_them_too(clinic, journal, clock, monkeypatch, capsys):
    """The file has lost the rule that watches for people missing from the schedule: it watches on."""
    head, _, rest = read_text(None)[1].partition('[[rule]]\nid = "coverage-gap"')
    (clinic.home / "rules.toml").write_text(head + rest[rest.index("[[rule]]") :])
    assert Judge(clinic, journal, clock)._pack.digest == load_pack().digest
    assert main(["alerts", "tick", "--home", str(clinic.home)]) == 0
    assert "3 coverage-gap" in capsys.readouterr().out
    with journal.transaction() as con:
        con.exec_driver_sql("delete from outbox")
        con.exec_driver_sql("delete from alert")
    ticks = []

    class Ticking(Worker):
        def run(self, stop):
            ticks.append(self.tick(journal))

    monkeypatch.setattr(delivery_command, "Worker", Ticking)
    monkeypatch.setattr(delivery_command, "from_settings", lambda _: [Way("webhook")])
    assert delivery_command.run_worker(clinic.home, name="w", threads=1) == 0
    assert ticks == [{"coverage-gap": 3}]


def test_backtest_and_pathways_ask_for_the_rules_in_force(clinic, journal, capsys):
    """Of a rule that pathways name, and one person has renamed: nothing has changed. Two people: it has."""
    text = read_text(None)[1]
    renamed = text.replace("pain-above-usual", "pain-mine")
    pathway = ["alerts", "pathways", "--home", str(clinic.home)]
    backtest = ["backtest", "--rule", "none", "--from", "2026-05-01", "--to", "2026-05-02"]
    backtest += ["--home", str(clinic.home)]
    (clinic.lake.root / "data").mkdir(parents=True)

    def asked():
        assert main(backtest) == 2
        listed = capsys.readouterr().err
        main(pathway)
        return "pain-mine" in listed, "pain-above-usual" in capsys.readouterr().err

    (clinic.home / "rules.toml").write_text(renamed)
    assert asked() == (False, False)
    agree(journal, clinic, renamed)
    (clinic.home / "rules.toml").unlink()
    assert asked() == (True, True)
    (clinic.home / "mine.toml").write_text(text)
    assert main([*backtest, "--pack", str(clinic.home / "mine.toml")]) == 2
    assert "pain-above-usual" in capsys.readouterr().err, "one that is only proposed, by its file"
