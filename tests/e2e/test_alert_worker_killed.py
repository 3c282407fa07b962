"""A worker process killed between sending and marking: the same key goes out again, and is kept once."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from alerts.delivery.channels.webhook import Webhook
from alerts.delivery.receiver import Receiver
from alerts.delivery.worker import deliver_due
from alerts.engine.journal import Journal
from alerts.engine.night import run_night
from alerts.engine.outbox import LEASE
from tests.fixtures_alerts import NIGHT, PACK, Hands, tables
from tests.fixtures_ingest import PATIENCE_S
from tests.unit.test_alert_delivery import SECRET

ROOT = Path(__file__).parents[2]
WORKER = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from alerts.delivery.channels.webhook import Webhook
    from alerts.delivery.worker import deliver_due
    from alerts.engine.journal import Journal

    path, url, secret, now = sys.argv[1:]

    class Killed:
        name, is_clinical, recipients = "webhook", False, ()
        def __init__(self):
            self.inner = Webhook(url, secret, allow_hosts=["127.0.0.1"])
        def send(self, notice, attempt_utc):
            self.inner.send(notice, attempt_utc)
            os.kill(os.getpid(), signal.SIGKILL)

    with Journal(Path(path), lambda: int(now)) as journal:
        deliver_due(journal, [Killed()], lambda: int(now))
    """
)


def test_killed_between_sending_and_marking(tmp_path):
    clock, path = Hands(), tmp_path / "alerts.sqlite"
    with Journal(path, clock) as journal:
        run_night(journal, PACK, NIGHT, tables(NIGHT, ("p-1", -2.0, 9, None)))
    with Receiver(SECRET, clock=clock) as receiver:
        worker = [sys.executable, "-c", WORKER, str(path), receiver.url, SECRET, str(clock())]
        died = subprocess.run(worker, cwd=ROOT, timeout=PATIENCE_S, check=False)
        assert died.returncode == -signal.SIGKILL
        assert len(receiver.received) == 1
        with Journal(path, clock) as journal:
            channel = Webhook(receiver.url, SECRET, allow_hosts=["127.0.0.1"])
            assert journal.outbox.counts() == {"leased": 1}
            assert deliver_due(journal, [channel], clock).sent == 0, "the dead worker's lease still holds"
            clock.forward(LEASE)
            assert deliver_due(journal, [channel], clock).sent == 1
            assert journal.outbox.counts() == {"sent": 1}
    assert len(receiver.received) == 1
    assert receiver.repeat_count == 1
