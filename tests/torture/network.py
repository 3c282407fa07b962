"""A home behind a cable that can be pulled: a network namespace, and a broker that listens on both ends."""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from ingest.lake.broker import MosquittoBroker

#: Two runs at once have a namespace, a cable and a network of four addresses each.
NAMESPACE = f"flarecast-{os.getpid()}"
CABLE, FAR_END = f"fct{os.getpid()}", f"fch{os.getpid()}"
_NETWORK = f"10.199.{os.getpid() // 64 % 256}."
_FIRST = os.getpid() % 64 * 4
HOST, HOME = f"{_NETWORK}{_FIRST + 1}", f"{_NETWORK}{_FIRST + 2}"


class Cable:
    """Pulled for a while and put back; the home's TCP knows nothing of it."""

    @staticmethod
    def pull(seconds: float) -> None:
        _ip("link", "set", CABLE, "down")
        time.sleep(seconds)
        _ip("link", "set", CABLE, "up")


class BrokerOnBothEnds(MosquittoBroker):
    """Also for the home in its namespace."""

    def _command(self) -> list[str]:
        command = super()._command()
        path = self._folder / "mosquitto.conf"
        path.write_text(path.read_text() + f"listener {self.port} {HOST}\n")
        return command


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _sweep() -> None:
    """Take away what runs left that were killed; a cable goes with its namespace, a moment later."""
    shown = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    for name in (line.split()[0] for line in shown.splitlines() if line.startswith("flarecast-")):
        number = name.removeprefix("flarecast-")
        if not number.isdigit() or number == str(os.getpid()) or not os.path.exists(f"/proc/{number}"):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@contextmanager
def cable() -> Generator[Cable | None]:
    """A namespace with a cable to it; ``None`` without the right to make one."""
    try:
        if os.geteuid():
            raise PermissionError
        _sweep()
        _ip("netns", "add", NAMESPACE)
        _ip("link", "add", CABLE, "type", "veth", "peer", "name", FAR_END, "netns", NAMESPACE)
        _ip("address", "add", f"{HOST}/30", "dev", CABLE)
        _ip("link", "set", CABLE, "up")
        _ip("-n", NAMESPACE, "address", "add", f"{HOME}/30", "dev", FAR_END)
        _ip("-n", NAMESPACE, "link", "set", FAR_END, "up")
        # paho wakes its thread over a pair of sockets of its own
        _ip("-n", NAMESPACE, "link", "set", "lo", "up")
    except (PermissionError, FileNotFoundError, subprocess.CalledProcessError) as error:
        print(f"no cable to pull: {getattr(error, 'stderr', None) or error!r}", file=sys.stderr)
        yield None
        return
    try:
        yield Cable()
    finally:
        _ip("netns", "delete", NAMESPACE)


def inside(command: list[str]) -> list[str]:
    """The command, in the namespace."""
    return ["ip", "netns", "exec", NAMESPACE, *command]
