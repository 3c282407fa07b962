"""Processes that are started for a clinic on one machine."""

import os
import signal
import subprocess
import sys
import time

PARENT = """
import os, sys, time
from flows.stack import start_bound
child = start_bound([sys.executable, "-c", "import time; time.sleep(600)"], os.environ)
print(child.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nothing_outlives_who_started_it_and_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert is_running(child)
            assert os.getpgid(child) == child, "Ctrl-C at a terminal is not for it"
            parent.kill()
            parent.wait()
            end = time.monotonic() + 60
            while is_running(child) and time.monotonic() < end:
                time.sleep(0.01)
            assert not is_running(child)
        finally:
            if is_running(child):
                os.kill(child, signal.SIGKILL)
