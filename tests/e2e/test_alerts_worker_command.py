"""`flarecast alerts worker` as it is run: delivers, ends in order, says what is missing."""

import base64
import os
import signal
import subprocess
import sys

import pytest

from alerts.delivery.receiver import Receiver
from alerts.engine.journal import Journal
from devices.clock import system_clock
from tests.fixtures_delivery import mail_server, queue_alert
from tests.fixtures_ingest import PATIENCE_S, wait_until

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
CHANNELS = """
[dead_letters]
recipients = ["it-on-call"]
channels = ["mail"]

[[channel]]
name = "console"
kind = "webhook"
url = "{url}"
allow_hosts = ["127.0.0.1"]
secret = {{ env = "CONSOLE_SECRET" }}

[[channel]]
name = "mail"
kind = "email"
host = "127.0.0.1"
port = {port}
security = "none"
sender = "rpm@clinic.example"
[channel.addresses]
it-on-call = "it@clinic.example"
"""


def command(home, *more):
    return [sys.executable, "-m", "flows.cli", "alerts", "worker", "--home", str(home), *more]


@pytest.fixture
def started():
    running = []

    def start(home):
        env = {**os.environ, "CONSOLE_SECRET": SECRET}
        running.append(subprocess.Popen(command(home), stderr=subprocess.PIPE, text=True, env=env))
        return running[-1]

    yield start
    for one in running:
        one.kill()
        one.communicate()


def test_it_delivers_gives_up_tells_of_it_and_ends_in_order(tmp_path, started):
    with Receiver(SECRET, clock=system_clock) as receiver, mail_server() as box:
        (tmp_path / "channels.toml").write_text(CHANNELS.format(url=receiver.url, port=box.port))
        with Journal(tmp_path / "alerts.sqlite", system_clock) as journal:
            told = queue_alert(journal, channels=("console",))
            lost = queue_alert(journal, channels=("pager",), subject="p-2")
        worker = started(tmp_path)
        assert wait_until(lambda: receiver.received and box.mails)
        with Journal(tmp_path / "alerts.sqlite", system_clock) as journal:
            # a site without staff has coverage gaps as well, told by a channel that is not set up here:
            # another dead letter
            assert wait_until(lambda: journal.outbox.counts().get("sent", 0) >= 2)
            dead = {letter.key.partition(":")[0] for letter in journal.outbox.dead_letters()}
        worker.send_signal(signal.SIGTERM)
        _, said = worker.communicate(timeout=PATIENCE_S)
    assert worker.returncode == 0, said
    assert [one.body["data"]["reference"] for one in receiver.received] == [told]
    assert lost in dead
    assert b"technical fault" in box.mails[0]
    assert "Traceback" not in said
    assert "p-2" not in said


def test_without_a_channel_it_says_so(tmp_path):
    done = subprocess.run(command(tmp_path), capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert "no channel is set up" in done.stderr
    assert "Traceback" not in done.stderr
