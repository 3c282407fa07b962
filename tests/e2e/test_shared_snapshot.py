"""The snapshot on object storage: the same answers as the local one, and one pointer that never goes back."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from analytics.store import query
from flows.cli import main
from flows.night import shared_snapshot
from flows.night.shared_snapshot import CURRENT, share
from flows.object_store import open_objects
from flows.settings import Place
from ingest.errors import StoreUnreachableError
from tests.fixtures_night import ARRIVED, LAST, land, make_clinic, observations
from tests.fixtures_s3 import use_s3

QUESTIONS = [
    f"select * from {name} order by all"
    for name in (
        *("patient_day", "night", "baseline", "trend", "flare_risk", "rhythm", "alerts", "snapshot"),
        *("coverage", "pro_scores", "observations_step_count", "observations_pro_answer"),
        "observations_rr_interval",
    )
]


@pytest.fixture
def place(s3: str, monkeypatch):
    found = Place(use_s3(monkeypatch, s3), "north/snapshots", s3)
    monkeypatch.setenv("FLARECAST_SNAPSHOT_URL", found.url)
    return found


def nightly(home: Path) -> int:
    first = str(LAST - timedelta(days=12))
    return main(["nightly", "--home", str(home), "--from", first, "--to", str(LAST - timedelta(days=10))])


def test_what_readers_get_there(place: Place, tmp_path: Path, monkeypatch, capsys) -> None:
    clinic = make_clinic(tmp_path, people=3, days=8)
    assert main(["sql", "--snapshot", place.url, "select 1"]) == 2
    assert f"nothing published yet at {place.url}" in capsys.readouterr().err
    assert nightly(clinic.home) == 0
    rows = 0
    for question in QUESTIONS:
        there = shared_snapshot.run(place, question).to_pylist()
        assert there == query.run(clinic.current, question).to_pylist()
        rows += len(there)
    assert rows > 1000
    capsys.readouterr()
    assert main(["sql", "--snapshot", place.url, "--json", "select people from snapshot"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"people": "patients"}]
    assert main(["sql", "--snapshot", place.url, "select * from read_csv('/etc/passwd')"]) == 2

    objects = open_objects(place)
    before = objects.read(CURRENT)
    assert before is not None
    old = clinic.current.resolve().stem
    ask = "select count(*), max(steps) from patient_day"
    answer = shared_snapshot.run(place, ask).to_pylist()
    land(clinic, observations(1, 7, scale=3.0), ARRIVED + 9)

    # a publisher that ends between upload and swap: the old one is readable, the next run goes on
    def down(self, key, content, tag):
        raise StoreUnreachableError(f"object storage: {key}: down")

    with monkeypatch.context() as patch:
        patch.setattr(type(objects), "swap", down)
        assert nightly(clinic.home) == 1
    assert "CURRENT: down: the snapshot stands here" in capsys.readouterr().out
    new = clinic.current.resolve().stem
    assert new > old
    assert f"catalogs/{new}.duckdb" in dict(objects.keys("catalogs/"))
    assert objects.read(CURRENT) == before
    assert shared_snapshot.run(place, ask).to_pylist() == answer
    assert nightly(clinic.home) == 0
    assert shared_snapshot.run(place, "select snapshot from snapshot").to_pylist() == [{"snapshot": new}]
    assert shared_snapshot.run(place, ask).to_pylist() == query.run(clinic.current, ask).to_pylist()
    assert json.loads(objects.read(CURRENT).content)["id"] != json.loads(before.content)["id"]

    # somebody swaps between our look and our swap: we look again; what is newer stays
    real = type(objects).swap
    others = ["19990101T000000.000000Z", "29990101T000000.000000Z"]

    def raced(self, key, content, tag):
        if others:
            one = json.dumps({"snapshot": others.pop(0), "id": "x"}).encode()
            assert real(self, key, one, tag) is not None
        return real(self, key, content, tag)

    monkeypatch.setattr(type(objects), "swap", raced)
    objects.delete([CURRENT])
    assert share(clinic, objects) == "29990101T000000.000000Z"
    assert others == []
    assert share(clinic, objects) == "29990101T000000.000000Z", "never backwards"
    objects.delete([CURRENT])
    others[:] = ["19990101T000000.000000Z"]
    assert share(clinic, objects) == new, "the older one gives way at the second try"
