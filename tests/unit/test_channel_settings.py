"""channels.toml and `flarecast alerts test-channel`: a mistake is one line, a channel is proved."""

import base64
import re
from email import message_from_bytes

import pytest

from flows.care.channels import from_settings
from flows.cli import main
from flows.settings import Settings
from tests.fixtures_delivery import Mailbox, answering, mail_server

MAIL = """
[[channel]]
name = "mail"
kind = "email"
host = "127.0.0.1"
port = {port}
security = "none"
sender = "rpm@clinic.example"
[channel.addresses]
nurse-1 = "nurse@clinic.example"
lead = "lead@clinic.example"
"""
WEBHOOK = """
[[channel]]
name = "console"
kind = "webhook"
url = "{url}"
allow_hosts = ["127.0.0.1"]
secret = {secret}
"""
PUSH = """
[[channel]]
name = "push"
kind = "apprise"
[channel.addresses]
nurse-1 = { file = "nurse-1.push" }
"""
FHIR = """
[[channel]]
name = "ehr"
kind = "fhir"
url = "https://ehr.example/fhir"
allow_hosts = ["ehr.example"]
patient_system = "urn:clinic:patient"
token = { file = "ehr.token" }
[channel.recipients]
lead = "Practitioner/12"
"""
SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()


def written(home, *texts):
    (home / "channels.toml").write_text("".join(texts))
    return home


def test_a_mail_channel_is_proved_to_everybody_it_knows(tmp_path, capsys):
    with mail_server() as box:
        written(tmp_path, MAIL.format(port=box.port))
        assert main(["alerts", "test-channel", "mail", "--home", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "mail to nurse-1: accepted" in said
    assert "mail to lead: accepted" in said
    mails = [message_from_bytes(mail) for mail in box.mails]
    assert [mail["to"] for mail in mails] == ["nurse@clinic.example", "lead@clinic.example"]
    assert all("nothing needs to be done" in mail.get_payload() for mail in mails)


def test_a_channel_that_fails_says_so(tmp_path, capsys):
    with mail_server(Mailbox(rcpt="550 no such user")) as box:
        written(tmp_path, MAIL.format(port=box.port))
        assert main(["alerts", "test-channel", "mail", "--to", "lead", "--home", str(tmp_path)]) == 1
    assert "mail to lead: FAILED, would be given up: SMTP 550" in capsys.readouterr().out


def test_secrets_come_from_the_environment_or_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CARE_SECRET", SECRET)
    with answering(204) as (url, asked):
        written(tmp_path, WEBHOOK.format(url=url, secret='{ env = "CARE_SECRET" }'), PUSH)
        (tmp_path / "nurse-1.push").write_text(url.replace("http", "json") + "\n")
        assert main(["alerts", "test-channel", "console", "--home", str(tmp_path)]) == 0
        assert main(["alerts", "test-channel", "push", "--home", str(tmp_path)]) == 0
    assert len(asked) == 2
    assert SECRET not in capsys.readouterr().out


def test_without_a_name_the_channels_are_listed(tmp_path, capsys):
    written(tmp_path, MAIL.format(port=25))
    assert main(["alerts", "test-channel", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "mail\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MAIL.format(port=0), "channel 'mail'.*port"),
        (MAIL.format(port=25) + MAIL.format(port=25), "stands 2 times"),
        (MAIL.format(port=25).replace("email", "pigeon"), "kind"),
        (MAIL.format(port=25).replace("sender", "sendr"), "sendr"),
        (MAIL.format(port=25).replace("127.0.0.1", "mail.example"), "starttls or tls"),
        (MAIL.format(port=25).replace('"mail"', '"My Mail"'), "name"),
        (WEBHOOK.format(url="http://127.0.0.1:1", secret='{ env = "NOT_SET" }'), "NOT_SET is empty"),
        (WEBHOOK.format(url="http://127.0.0.1:1", secret='{ env = "A", file = "b" }'), "either env or file"),
        (WEBHOOK.format(url="http://127.0.0.1:1", secret='"whsec_abc"'), "secret"),
        (PUSH, "nurse-1.push cannot be read"),
        (FHIR, "ehr.token cannot be read"),
        (FHIR.replace("https", "http").replace("token = ", "# "), "must be called by https"),
        ("[[chanel]]", "chanel"),
        ("[[channel]", "channels.toml"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, text, words):
    written(tmp_path, text)
    assert main(["alerts", "test-channel", "mail", "--home", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line), line


def test_a_name_that_is_not_there_is_named(tmp_path, capsys):
    written(tmp_path, MAIL.format(port=25))
    assert main(["alerts", "test-channel", "male", "--home", str(tmp_path)]) == 2
    assert "there is no channel 'male'; there is mail" in capsys.readouterr().err
    assert main(["alerts", "test-channel", "mail", "--to", "me", "--home", str(tmp_path)]) == 2
    assert "it has nurse-1, lead" in capsys.readouterr().err


def test_the_webhook_of_the_environment_stands_beside_the_file(tmp_path):
    written(tmp_path, MAIL.format(port=25))
    channels = from_settings(Settings(tmp_path, "http://127.0.0.1:1/x", SECRET))
    assert [channel.name for channel in channels] == ["mail", "webhook"]
