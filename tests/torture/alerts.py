"""Kill the alert worker while alerts go out to servers that fail in every way, and count.

``make torture-alerts``: every alert arrives by the first channel able to accept it or is
dead-lettered visibly; every repeat carries the same key; nothing starts after the
acknowledgement has committed.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import sqlalchemy as sa

from alerts.delivery.dead_letter import RULE
from alerts.engine.journal import Journal
from alerts.store.schema import alert, outbox
from devices.clock import MINUTE, system_clock
from ingest.lake.broker import free_port
from tests.fixtures_alerts import acknowledge
from tests.fixtures_delivery import queue_alert
from tests.torture.alert_receivers import HOOK, MAIL, Receivers
from tests.torture.alert_worker import PACE, TIMEOUT_S, fast_clock

ROOT = Path(__file__).parents[2]
WORKERS = 2
#: Alerts opened a second: about what two workers on a slow disk keep up with.
RATE = 20
DRAIN_S = 240
#: Alerts that are acknowledged by somebody else while they may be on their way, of all.
RACED = 0.15
#: Behaviours of the first channel that end with its deadline only.
HOPELESS = ("down", "silent", "refuse")


class Child:
    """A worker process."""

    def __init__(self, name: str, words: list[str], folder: Path) -> None:
        self._command = [sys.executable, "-m", "tests.torture.alert_worker", name, *words]
        self._log = folder / f"{name}.log"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def wait_until_working(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), self.last_words()

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def stop(self) -> int:
        self.process.terminate()
        return self._end()

    def _end(self) -> int:
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def last_words(self) -> str:
        return "".join(self._log.read_text(errors="replace").splitlines(keepends=True)[-12:])


class Torture:
    """One run."""

    def __init__(self, folder: Path, *, alerts: int, seed: int, is_short: bool) -> None:
        self.is_short = is_short
        # one for each thread: what one draws says nothing of when the other does
        self.random, self._openings = random.Random(seed + 1), random.Random(seed)
        self._raced: list[threading.Timer] = []
        self.store, self.folder, self.count = folder / "alerts.sqlite", folder, alerts
        began = system_clock()
        self.clock = fast_clock(began)
        #: alert -> its recipient
        self.opened: dict[str, str] = {}
        #: message -> attempts made when its alert was acknowledged
        self.at_ack: dict[str, int] = {}
        self._lock = threading.Lock()
        with Journal(self.store, self.clock):
            pass
        self.receivers = Receivers(self.acknowledge, 3 * TIMEOUT_S)
        self.receivers.start()
        words = [str(self.store), str(began), self.receivers.url, str(self.receivers.mail_port)]
        words.append(str(free_port()))
        self.workers = [Child(f"worker-{number}", words, folder) for number in range(WORKERS)]

    def acknowledge(self, name: str) -> None:
        """Acknowledge, and see in the same transaction which attempts had begun."""
        with Journal(self.store, self.clock) as journal, journal.transaction() as con:
            version = con.scalar(sa.select(alert.c.version).where(alert.c.alert == name))
            acknowledge(journal, name, "nurse-9", version)
            query = sa.select(outbox.c.key, outbox.c.attempt_count).where(outbox.c.alert == name)
            made = {row.key: row.attempt_count for row in con.execute(query)}
        with self._lock:
            self.at_ack |= made

    def open_alerts(self) -> None:
        """Open alerts one after another, each to somebody with other troubles."""
        recipients = [
            f"{hook}.{mail}"
            for hook in HOOK
            for mail in MAIL
            if not (self.is_short and hook in HOPELESS and mail == "grey")
        ]
        chance = self._openings
        chance.shuffle(recipients)
        with Journal(self.store, self.clock) as journal:
            for number in range(self.count):
                recipient = recipients[number % len(recipients)]
                hook, _, mail = recipient.partition(".")
                first = "closed" if hook == "refuse" else "hook"
                # given up sooner, so that it does not take half an hour; the mail then needs no second try
                is_critical = (hook in HOPELESS and mail != "grey") or (mail == "full" and not HOOK[hook])
                letters = [("open", "1", 0)]
                if hook == "ack":
                    letters += [("repeat", "1", 2 * MINUTE), ("escalate", "2", 3 * MINUTE)]
                name = queue_alert(
                    journal,
                    channels=(first, "mail"),
                    subject=f"p-{number}",
                    recipient=recipient,
                    severity="critical" if is_critical else "high",
                    letters=letters,
                )
                self.opened[name] = recipient
                if hook != "ack" and chance.random() < RACED:
                    self._raced.append(threading.Timer(chance.uniform(0, 2), self.acknowledge, (name,)))
                    self._raced[-1].start()
                time.sleep(1 / RATE)
        for one in self._raced:
            one.join()

    def kill_one(self) -> None:
        victim = self.random.choice(self.workers)
        victim.wait_until_working()
        time.sleep(self.random.uniform(0.05, 0.8))
        victim.kill()
        victim.start()

    def drain(self) -> bool:
        """Wait until nothing is queued or leased any more; whether that came about."""
        end = time.monotonic() + DRAIN_S
        with Journal(self.store, self.clock) as journal:
            while time.monotonic() < end:
                counts = journal.outbox.counts()
                if not counts.keys() & {"queued", "leased"}:
                    return True
                time.sleep(0.2)
        return False

    def stop(self) -> list[int]:
        codes = [worker.stop() for worker in self.workers]
        for worker, code in zip(self.workers, codes, strict=True):
            if code:
                print(worker.last_words(), file=sys.stderr)
        self.receivers.stop()
        return codes

    def judge(self) -> dict[str, object]:
        """Faults by kind, against what each recipient's name says must happen."""
        faults: Counter[str] = Counter()
        with Journal(self.store, self.clock) as journal:
            dead = {letter.key.partition(":")[0] for letter in journal.outbox.dead_letters()}
            has_alerted = any(one.rule == RULE for one in journal.active())
            with journal.transaction() as con:
                attempts = {row.key: row.attempt_count for row in con.execute(sa.select(outbox))}
            audit_fault = journal.first_audit_fault()
        accepted: dict[str, list[str]] = defaultdict(list)
        for one in self.receivers.came:
            if one.is_accepted and one.channel not in accepted[one.reference]:
                accepted[one.reference].append(one.channel)
        acked = {key.partition(":")[0] for key in self.at_ack}
        for name, recipient in self.opened.items():
            if name in acked:
                continue
            hook, _, mail = recipient.partition(".")
            want = ["hook"] if HOOK[hook] else ["mail"] if MAIL[mail] else []
            if accepted[name] != want:
                print(f"{name} to {recipient}: accepted by {accepted[name]}, not {want}", file=sys.stderr)
            faults["not by the first able channel"] += accepted[name] != want
            faults["not a dead letter"] += (name in dead) != (not want)
        faults["key changed"] += sum(len(keys) != 1 for keys in self.receivers.keys().values())
        faults["attempt after acknowledgement"] += sum(
            attempts[key] != before for key, before in self.at_ack.items()
        )
        faults["redirect followed"] += any(one.channel == "followed" for one in self.receivers.came)
        faults["dead letters did not alert"] += bool(dead) and not has_alerted
        faults["audit"] += audit_fault is not None
        repeats = Counter((one.channel, one.key) for one in self.receivers.came if one.is_accepted)
        return {
            "alerts": len(self.opened),
            "acknowledged": len(acked),
            "dead": len(dead),
            "attempts": sum(attempts.values()),
            "accepted_again": sum(count - 1 for count in repeats.values()),
            "faults": dict(+faults),
        }


def run(alerts: int, kills: int, *, seed: int, is_short: bool = False) -> dict[str, object]:
    """Figures of one run of so many alerts and kills; a short one leaves out what takes a minute."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        torture = Torture(Path(name), alerts=alerts, seed=seed, is_short=is_short)
        opener = threading.Thread(target=torture.open_alerts)
        opener.start()
        for number in range(kills):
            torture.kill_one()
            if number % 10 == 9:
                print(f"{number + 1} kills, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        opener.join()
        is_drained = torture.drain()
        codes = torture.stop()
        return {
            "seed": seed,
            "kills": kills,
            "pace": PACE,
            "is_drained": is_drained,
            "exit_codes": codes,
            **torture.judge(),
            "seconds": round(time.monotonic() - began),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description="kill the alert worker, count what went wrong")
    parser.add_argument("--alerts", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    figures = run(arguments.alerts, arguments.kills, seed=arguments.seed)
    print(json.dumps(figures))
    return 0 if figures["is_drained"] and not any(figures["exit_codes"]) and not figures["faults"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
