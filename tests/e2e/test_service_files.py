"""The commands of the service files are run as they stand, folders and port replaced."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devices.clock import system_clock
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.lake.broker import MosquittoBroker
from ingest.lake.files import Lake
from tests.fixtures_ingest import PATIENCE_S, beats, stored_rows, wait_until, write_enrolment
from tests.fixtures_security import SecuredBroker, authority_of

UNITS = sorted((Path(__file__).parents[2] / "deploy").glob("*.service"))


def command(unit: Path, state: Path, instance: str) -> list[str]:
    text = unit.read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    words = shlex.split(line.replace("%S", str(state)).replace("%i", instance))
    assert words[0] == "flarecast"
    return [sys.executable, "-m", "flows.cli", *words[1:]]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_its_command_is_one_of_ours(unit, tmp_path):
    words = [*command(unit, tmp_path, "collector-1"), "--help"]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    for option in re.findall(r"--[a-z-]+", " ".join(words)):
        assert option in said.stdout or option == "--help"


def test_compiled_code_has_a_folder_of_its_own(tmp_path):
    """The unit leaves neither the code's folder nor a home to write in, and numba ends without one."""
    text = (UNITS[0].parent / "flarecast-serve.service").read_text()
    assert "CacheDirectory=flarecast\n" in text
    (name, place) = re.findall(r"^Environment=(NUMBA\w+)=(.*)$", text, re.MULTILINE)[0]
    assert place == "%C/flarecast"
    module = tmp_path / "code" / "kernel.py"
    module.parent.mkdir()
    module.write_text("import numba\n\n@numba.njit(cache=True)\ndef one():\n    return 1\n\none()\n")
    environment = {**os.environ, name: str(tmp_path / "cache")}
    subprocess.run([sys.executable, str(module)], env=environment, check=True)
    assert list((tmp_path / "cache").rglob("*.nbi"))
    assert not (module.parent / "__pycache__").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_no_fault(unit, tmp_path):
    """With a command that is there: systemd looks for it."""
    program = tmp_path / "flarecast"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    shown = tmp_path / unit.name.replace("@", "@collector-1")
    shown.write_text(unit.read_text().replace("ExecStart=flarecast", f"ExecStart={program}"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(shown)], capture_output=True, text=True, check=False
    )
    about = [line for line in done.stderr.splitlines() if unit.stem.split("@")[0] in line]
    assert (done.returncode, about) == (0, [])


def test_the_collector_collects(tmp_path):
    """Over the loopback listener with its own certificate, and ends at systemd's signal."""
    assert MosquittoBroker.executable() is not None
    (unit,) = [one for one in UNITS if "collector" in one.name]
    home = tmp_path / "flarecast"
    home.mkdir()
    write_enrolment(home / "enrolment.csv", ["gw-1"])
    broker = SecuredBroker(tmp_path / "broker", authority_of(home, ["gw-1"], ["collector-1"]))
    broker.start()
    spool = Spool(tmp_path / "spool.db", clock=system_clock)
    sender = Forwarder(spool, broker.address("gw-1"), site="north", gateway="gw-1")
    words = command(unit, tmp_path, "collector-1")
    words[words.index("8884")] = str(broker.collector_port)
    with (tmp_path / "log").open("wb") as log:
        service = subprocess.Popen(words, stderr=log, env={**os.environ, "FLARECAST_HOME": str(home)})
    try:
        spool.append([beats(0, [800, 810], gap=None)])
        spool.seal(force=True)
        status = home / "lake" / "status" / "collector-1.json"
        # before it has a subscription the broker keeps nothing for it
        assert wait_until(lambda: status.exists() and json.loads(status.read_text())["is_subscribed"])
        sender.start()
        assert wait_until(lambda: spool.counts().messages == 0), (tmp_path / "log").read_text()
        (row,) = stored_rows(Lake(home / "lake").files("rr_interval"))
        assert row["rr_ms"] == [800, 810]
        service.send_signal(signal.SIGTERM)
        assert service.wait(PATIENCE_S) == 0
    finally:
        sender.stop()
        service.kill()
        broker.stop()
        spool.close()
