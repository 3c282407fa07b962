"""Collector, release, replay and doctor on a lake by URL: from one machine what another one stored."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devices.blobs import pack_u16
from devices.clock import DAY, system_clock
from devices.observations import KINDS, StepCount
from flows import stack
from flows.cli import main
from flows.clinic import Clinic
from flows.doctor.command import examine
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.errors import StoreUnreachableError
from ingest.lake import intake as intake_module
from ingest.lake.objects import S3Objects
from ingest.lake.presence import Presence, read_presence
from ingest.wire import messages
from tests.fixtures_ingest import PATIENCE_S, clock, one_of_each, stored_rows, write_enrolment
from tests.fixtures_s3 import use_s3


@pytest.fixture
def machines(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Clinic, Clinic]:
    """Two folders with one bucket."""
    monkeypatch.setenv("FLARECAST_LAKE_URL", f"s3://{use_s3(monkeypatch, s3)}/lake")
    found: list[Clinic] = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        clinic = Clinic(tmp_path / name)
        write_enrolment(clinic.enrolment_path, ["gw-1"])
        found.append(clinic)
    return found[0], found[1]


def send(clinic: Clinic, folder: Path) -> None:
    """A gateway's observations through broker and collector process; the ring's are of somebody unknown."""
    lines = clinic.enrolment_path.read_text().splitlines(keepends=True)
    clinic.enrolment_path.write_text("".join(line for line in lines if "ring" not in line))
    spool = Spool(folder / "spool.db", clock=clock)
    spool.append(one_of_each())
    with stack.broker(folder / "broker") as address, stack.collector(clinic, address):
        sender = Forwarder(
            spool, address, site="north", gateway="gw-1", ack_timeout_s=5, min_delay_s=0.1, max_delay_s=0.3
        )
        sender.start()
        try:
            assert sender.drain(PATIENCE_S)
        finally:
            sender.stop()
            spool.close()
    clinic.enrolment_path.write_text("".join(lines))


def kinds_in(clinic: Clinic) -> set[str]:
    return {kind for kind in KINDS if stored_rows(clinic.lake.files(kind))}


def test_what_one_machine_collects_another_releases_and_reads_again(
    machines: tuple[Clinic, Clinic], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    one, other = machines
    send(one, tmp_path)
    assert kinds_in(other) == {"rr_interval"}
    assert main(["collector", "status", "--home", str(one.home)]) == 0
    findings = examine(other, "127.0.0.1", 1, clock=clock)
    assert [words for where, words in findings if where == "quarantine" and "not enrolled" in words]
    capsys.readouterr()
    assert main(["lake", "release", "--home", str(other.home)]) == 0
    assert "released from quarantine" in capsys.readouterr().out
    assert kinds_in(one) == kinds_in(other) == {one.kind for one in one_of_each()}
    assert one.lake.quarantined() == {}
    before = {kind: len(stored_rows(one.lake.files(kind))) for kind in KINDS}

    # a codec that read steps wrong, mended: each machine's replay outweighs the one before
    for number, clinic in enumerate((other, one, other), start=1):
        _misread_steps(monkeypatch, number)
        assert main(["lake", "replay", "--home", str(clinic.home), "--json"]) == 0
        done = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (done["messages"], done["still_refused"]) == (len(one_of_each()), 0)
        rows = stored_rows(clinic.lake.files("step_count"))
        latest = max(rows, key=lambda row: row["received_utc"])
        assert latest["steps"] == number
    assert {kind: len(stored_rows(one.lake.files(kind))) for kind in KINDS} != before
    assert main(["lake", "compact", "--home", str(one.home)]) == 0
    assert main(["lake", "verify", "--home", str(other.home)]) == 0
    rows = stored_rows(other.lake.files("step_count"))
    assert [row["steps"] for row in rows] == [3, 12, 900], "the first slot as the third replay read it"


def test_a_collector_elsewhere_forgets_the_gateway_of_somebody_erased(
    machines: tuple[Clinic, Clinic], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = machines
    for clinic in machines:
        write_enrolment(clinic.enrolment_path, ["gw-1", "gw-2"])
    long_ago = system_clock() - 2 * DAY
    heard = Presence(other.lake.root, "collector-1", clock=lambda: long_ago)
    heard.brought(["gw-1", "gw-2"])
    heard.save(at_once=True)
    (patient,) = {row.patient for row in one.enrolment().rows if row.gateway == "gw-2"}
    assert main(["erase", "--patient", patient, "--home", str(one.home)]) == 0
    assert "bring the new enrolment.csv there" in capsys.readouterr().out
    send(other, tmp_path)
    assert read_presence(other.lake.root).keys() == {"gw-1", "gw-2"}, (
        "the enrolment here is still the old one"
    )
    shutil.copy(one.enrolment_path, other.enrolment_path)
    (tmp_path / "again").mkdir()
    send(other, tmp_path / "again")
    assert read_presence(other.lake.root).keys() == {"gw-1"}


def _misread_steps(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def decode(payload: bytes, kind: str) -> messages.Decoded:
        decoded = messages.decode_batch(payload, kind)
        batch = decoded.batch
        observations = [
            msgspec.structs.replace(one, counts=pack_u16([number])) if isinstance(one, StepCount) else one
            for one in batch.observations
        ]
        whole = msgspec.structs.replace(batch, observations=observations)
        return msgspec.structs.replace(decoded, batch=whole)

    monkeypatch.setattr(intake_module, "decode_batch", decode)


def test_a_store_that_is_away_is_one_finding(
    machines: tuple[Clinic, Clinic], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(self: S3Objects, key: str) -> Any:
        raise StoreUnreachableError(f"object storage: {key}: down")

    for name in ("keys", "read"):
        monkeypatch.setattr(S3Objects, name, down)
    found = examine(machines[0], "127.0.0.1", 1, clock=clock)
    (words,) = [words for where, words in found if where == "lake"]
    assert "lake: object storage" in words
    assert "FLARECAST_S3_ENDPOINT" in words
