"""The care team's commands, run as they stand: who may, what is said, what is on record."""

import os
import pwd

import pytest

from alerts.engine.journal import Journal
from alerts.rules.pack import read_text
from devices.clock import system_clock
from flows.cli import main
from tests.fixtures_alerts import open_alert

USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def home(tmp_path, capsys):
    assert (
        main(
            ["alerts", "staff", "add", "anna", "--os-user", USER, "--role", "nurse", "--home", str(tmp_path)]
        )
        == 0
    )
    capsys.readouterr()
    return tmp_path


def said(capsys, home, *words):
    code = main(["alerts", *words, "--home", str(home)])
    out = capsys.readouterr()
    return code, out.out + out.err


def test_list_show_acknowledge_outcome_and_the_record_of_it(home, capsys):
    with Journal(home / "alerts.sqlite", system_clock) as journal:
        name = open_alert(journal, "p-7")
    assert said(capsys, home, "list")[1].startswith(f"{name}  v1  medium   open, step 1")
    assert "when flare_risk.deviation is > -0.5" in said(capsys, home, "show", name)[1]
    assert said(capsys, home, "ack", name, "--version", "9") == (
        2,
        f"flarecast: alert {name} is at version 1, not 9: look again\n",
    )
    assert said(capsys, home, "ack", name) == (0, f"{name}: acknowledged by anna\n")
    assert said(capsys, home, "outcome", name, "true-flare", "--helped", "pacing")[0] == 0
    shown = said(capsys, home, "show", name)[1]
    for action in ("engine: open", "anna: view", "anna: acknowledge", "anna: outcome"):
        assert action in shown
    assert said(capsys, home, "audit", "verify")[0] == 0


def test_who_is_not_registered_is_told_how(tmp_path, capsys):
    assert said(capsys, tmp_path, "list") == (
        2,
        f"flarecast: {USER} is not registered: flarecast alerts staff add NAME --os-user {USER}\n",
    )


def test_a_changed_pack_takes_two_people(home, capsys, tmp_path):
    code, text = said(capsys, home, "lint")
    assert (code, text) == (0, "default.toml: no fault, every example holds\n")
    pack = tmp_path / "new.toml"
    pack.write_text(read_text(None)[1].replace('enter = "<= -1.0"', 'enter = "<= -1.2"', 1))
    code, text = said(capsys, home, "lint", str(pack))
    assert code == 1
    assert "example 'enters at the bound, not before it'" in text
    assert "version: the rule has changed, its version 2 has not" in text
    changed = read_text(None)[1].replace('cooldown = "3d"', 'cooldown = "4d"', 1)
    pack.write_text(changed)
    assert "its version 1 has not" in said(capsys, home, "rules", "propose", str(pack))[1]
    pack.write_text(
        changed.replace('id = "pain-above-usual"\nversion = 1', 'id = "pain-above-usual"\nversion = 2')
    )
    change = said(capsys, home, "rules", "propose", str(pack))[1].strip()
    assert "takes two people" in said(capsys, home, "rules", "approve", change)[1]
    assert not (home / "rules.toml").exists()


def test_silence_of_the_nightly_run_is_not_all_quiet(home, capsys):
    assert said(capsys, home, "digest")[1].startswith("the nightly run is missing")
