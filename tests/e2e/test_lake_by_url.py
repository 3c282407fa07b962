"""The lake by a URL: every command as it is in a folder, and the same tables in the end."""

import hashlib
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from flows.cli import main
from flows.clinic import Clinic
from ingest.lake.remote import RemoteLake
from tests.fixtures_night import FIRST, LAST, make_clinic, shown
from tests.fixtures_s3 import use_s3


def digests(clinic: Clinic) -> dict[str, str]:
    return {name: hashlib.sha256(repr(rows).encode()).hexdigest() for name, rows in shown(clinic).items()}


def run(home: Path) -> None:
    nights = ["--from", str(LAST - timedelta(days=1)), "--to", str(LAST)]
    for line in (
        ["lake", "compact", "--home", str(home)],
        ["lake", "verify", "--home", str(home)],
        ["nightly", "--home", str(home), *nights],
    ):
        assert main(line) == 0


def test_a_clinic_on_object_storage_is_the_clinic_in_a_folder(
    s3: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    folder = make_clinic(tmp_path / "folder", people=3, days=8)
    run(folder.home)
    bucket = use_s3(monkeypatch, s3)
    monkeypatch.setenv("FLARECAST_LAKE_URL", f"s3://{bucket}/north/lake")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["lake", "verify", "--home", str(empty)]) == 2
    assert f"no lake at s3://{bucket}/north/lake" in capsys.readouterr().err
    remote = make_clinic(tmp_path / "remote", people=3, days=8)
    assert isinstance(remote.lake, RemoteLake)
    run(remote.home)
    assert digests(remote) == digests(folder)
    assert len(shown(folder)["patient_day"]) > 3
    # what is here is copies: another machine, or this one without them, gives the same
    shutil.rmtree(remote.home / "lake")
    shutil.rmtree(remote.home / "derived")
    run(remote.home)
    assert digests(remote) == digests(folder)


@pytest.mark.parametrize("url", ["bucket/lake", "s3://bucket", "https://bucket/lake"])
def test_a_url_that_is_none_is_said(url: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FLARECAST_LAKE_URL", url)
    assert main(["nightly", "--home", str(tmp_path), "--date", str(FIRST)]) == 2
    assert f"FLARECAST_LAKE_URL is {url!r}, not s3://bucket/prefix" in capsys.readouterr().err
