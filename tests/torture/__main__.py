"""Kill gateway, broker and collector at random moments under load, and count what is missing.

``make torture``: made is what each home's spool promised to keep, stored is what lies in
Parquet; distinct, value by value. The control runs the same with acknowledgements
that come too early, and has to lose.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq

from devices.blobs import unpack_u16
from devices.clock import from_utc, system_clock
from ingest.edge.spool import Spool
from ingest.edge.spool_cipher import load_key
from ingest.lake.broker import MosquittoBroker
from ingest.lake.files import Lake
from tests.fixtures_ingest import write_enrolment
from tests.fixtures_security import SecuredBroker, authority_of, share_the_work
from tests.torture.children import DRAIN_S, MADE, block
from tests.torture.network import HOST, BrokerOnBothEnds, Cable, cable, inside

HOMES = ("gw-1", "gw-2")
ROOT = Path(__file__).parents[2]
#: Room of the disk that is filled: the lake, the spools and what the spools keep free.
DISK_MB = 512
FULL_S = 3.0
CUTS_S = (3.0, 12.0, 60.0)


class Child:
    """A process of ours that is killed and started again; remembers what it promised."""

    def __init__(
        self, what: str, name: str, folder: Path, port: int, *, is_control: bool, has_cable: bool = False
    ) -> None:
        control = ["--control"] if is_control else []
        self._command = [sys.executable, "-m", "tests.torture.children", what, name, str(folder), str(port)]
        self._command += control
        if has_cable:
            self._command = inside([*self._command, "--host", HOST])
        self._log = folder / f"{name}.log"
        self.promised = 0
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, text=True
            )
        # until its first word it may do nothing yet, and not know what to do at a SIGTERM
        self.is_working = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                self.is_working.set()
                self.promised = max(self.promised, int(line))

    def wait_until_working(self) -> None:
        assert self.is_working.wait(DRAIN_S), self.last_words()

    def last_words(self) -> str:
        return "".join(self._log.read_text(errors="replace").splitlines(keepends=True)[-12:])

    def kill(self) -> None:
        self.process.kill()
        self._wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def _wait(self) -> int:
        code = self.process.wait(DRAIN_S + 30)
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Torture:
    """One run: two homes (the second behind a cable where there is one), mosquitto, one collector."""

    def __init__(self, folder: Path, disk: Path, cable: Cable | None, *, seed: int, is_control: bool) -> None:
        self.random = random.Random(seed)
        self.folder, self.disk, self.is_control = folder, disk, is_control
        write_enrolment(disk / "e.csv", list(HOMES))
        self.cable = cable
        self.broker = (BrokerOnBothEnds if cable else MosquittoBroker)(folder / "broker")
        port = self.broker.start().port
        self.homes = {
            name: Child(
                "home",
                name,
                disk,
                port,
                is_control=is_control,
                has_cable=cable is not None and name == HOMES[1],
            )
            for name in HOMES
        }
        self.collector = Child("collector", "collector-1", disk, port, is_control=is_control)
        self.kills: Counter[str] = Counter()

    def kill_one(self) -> None:
        """Kill somebody while everybody is at work, however long they took to start."""
        victim = self.random.choice(["gateway", "broker", "broker with an empty store", "collector"])
        pause_s = self.random.uniform(0.1, 1.6)
        for child in (*self.homes.values(), self.collector):
            child.wait_until_working()
        time.sleep(pause_s)
        if victim == "gateway":
            home = self.homes[self.random.choice(HOMES)]
            home.kill()
            home.start()
        elif victim == "collector":
            self.collector.kill()
            self.collector.start()
        else:
            self.broker.kill()
            if victim != "broker":
                (self.folder / "broker" / "mosquitto.db").unlink(missing_ok=True)
            self.broker.start()
        self.kills[victim] += 1

    def fill_disk(self) -> None:
        """Not one block left for a while, then room again."""
        ballast = self.disk / "ballast"
        with ballast.open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(bytes(2**20))
            except OSError:
                pass
            for size in (65536, 4096):
                try:
                    while stream.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass
            time.sleep(FULL_S)
        ballast.unlink()
        self.kills["(disk full)"] += 1

    def pull_cable(self, seconds: float) -> None:
        """No network for one home; what it makes meanwhile waits in its spool."""
        if self.cable is not None:
            self.cable.pull(seconds)
            self.kills["(cable pulled)"] += 1

    def finish(self) -> dict[str, object]:
        self.collector.wait_until_working()
        for home in self.homes.values():
            home.wait_until_working()
            home.process.send_signal(signal.SIGTERM)
        codes = [home._wait() for home in self.homes.values()]
        codes.append(self.collector.stop())
        for child, code in zip((*self.homes.values(), self.collector), codes, strict=True):
            if code:
                print(child.last_words(), file=sys.stderr)
        self.broker.stop()
        return {"kills": dict(self.kills), "exit_codes": codes, **self.count()}

    def count(self) -> dict[str, object]:
        made: dict[tuple[str, object], list[int]] = {}
        broken_promises = left = 0
        for name, home in self.homes.items():
            key = load_key(self.disk / f"{name}.key")
            spool = Spool(self.disk / f"{name}.db", clock=system_clock, key=key)
            number = spool.cursor(MADE) or 0
            left += spool.counts().messages
            spool.close()
            broken_promises += max(0, home.promised - number)
            for index in range(number):
                one = block(name, index)
                made[name, from_utc(one.start_utc)] = list(unpack_u16(one.rr_ms))
        stored: Counter[tuple[str, object]] = Counter()
        wrong = 0
        lake = Lake(self.disk / "lake")
        for path in lake.files("rr_interval"):
            for row in pq.read_table(path, columns=["gateway", "start_utc", "rr_ms"]).to_pylist():
                key = (row["gateway"], row["start_utc"])
                stored[key] += 1
                wrong += made.get(key) != row["rr_ms"]
        return {
            "made": len(made),
            "stored_distinct": len(stored),
            "missing": len(made.keys() - stored.keys()),
            "wrong_values": wrong,
            "stored_twice": stored.total() - len(stored),
            "broken_promises": broken_promises,
            "left_in_spools": left,
            "quarantined": sum(lake.quarantined().values()),
        }


@contextmanager
def small_disk(folder: Path):
    """A disk of its own that can be filled; without the right to mount one, a plain folder."""
    disk = folder / "disk"
    disk.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", str(disk)]
    is_mounted = (
        os.geteuid() == 0 and subprocess.run(options, capture_output=True, check=False).returncode == 0
    )
    try:
        yield disk, is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(disk)], check=True)


def run(kills: int, *, seed: int, is_control: bool = False, fills: int = 0) -> dict[str, object]:
    """Figures of one run of so many kills; `fills` times the disk is full in between."""
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name)) as (disk, is_mounted), cable() as wire:
        torture = Torture(Path(name), disk, wire, seed=seed, is_control=is_control)
        when = {kills * (index + 1) // (fills + 1) for index in range(fills if is_mounted else 0)}
        started = time.monotonic()
        for number in range(kills):
            torture.kill_one()
            if number in when:
                torture.fill_disk()
            # the last of them longer than keepalives and time-outs of both ends
            for cut, seconds in enumerate(CUTS_S, 1):
                if fills and number == kills * cut // (len(CUTS_S) + 1) + 1:
                    torture.pull_cable(seconds)
            if number % 20 == 19:
                print(f"{number + 1} kills, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        figures = torture.finish()
        return {
            "seed": seed,
            "seconds": round(time.monotonic() - started),
            "disk_filled": len(when),
        } | figures


def share(seconds: float) -> dict[str, object]:
    """Two collectors of one group for so long; raises where one was put out or anything is missing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = SecuredBroker(folder / "broker", authority_of(folder, HOMES, ["collector-1", "collector-2"]))
        broker.start()
        try:
            messages = share_the_work(broker, folder, seconds)
        finally:
            broker.stop()
    return {"seconds": seconds, "disconnects": 0, "missing": 0, "messages": messages}


def is_whole(figures: dict[str, object]) -> bool:
    """Whether nothing is missing, wrong or left behind."""
    zero = ("missing", "wrong_values", "broken_promises", "left_in_spools", "quarantined")
    return bool(figures["made"]) and not any(figures[name] for name in zero)


def main() -> int:
    parser = argparse.ArgumentParser(description="kill everything, count what is missing")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--control-kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if MosquittoBroker.executable() is None:
        print("mosquitto is not installed")
        return 2
    control = run(arguments.control_kills, seed=arguments.seed, is_control=True)
    print(json.dumps({"control": control}), flush=True)
    print(json.dumps({"two collectors": share(30)}), flush=True)
    figures = run(arguments.kills, seed=arguments.seed, fills=3)
    print(json.dumps({"torture": figures}), flush=True)
    return 0 if control["missing"] and is_whole(figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
