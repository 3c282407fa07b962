"""What the end-to-end tests share: one run of the demo, one S3 server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_ingest import DEMO_S
from tests.fixtures_s3 import s3_server

PEOPLE, DAYS = 3, 3


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Figures of a small demo as its JSON object says them, with the `home` it wrote to."""
    home: Path = tmp_path_factory.mktemp("demo") / "out"
    size = ("--people", str(PEOPLE), "--days", str(DAYS), "--seed", "5")
    command = [sys.executable, "-m", "flows.cli", "demo", *size, "--out", str(home), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEMO_S, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    summary = json.loads(done.stdout) | {"home": home}
    assert (summary["people"], summary["days"]) == (PEOPLE, DAYS)
    return summary


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Address of an S3 server; every test makes a bucket of its own."""
    with s3_server() as endpoint:
        yield endpoint
