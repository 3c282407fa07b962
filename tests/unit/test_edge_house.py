"""The home box pays for nothing that only the clinic needs."""

import subprocess
import sys

HEAVY = {"pyarrow", "numpy", "bumble", "prefect", "scipy", "duckdb", "polars", "numba"}


def test_gateway_imports_nothing_heavy() -> None:
    code = "import sys, ingest.edge.gateway; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "bleak" in loaded
    assert not loaded & HEAVY


def test_unknown_driver_is_said_in_words() -> None:
    code = "from devices.drivers.registry import find_driver; find_driver('hr_belt')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "no driver 'hr_belt'; there are " in run.stderr
