"""The import directions, and what a home box must never load."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Together half a gigabyte and several seconds of start-up on a small box.
CLINIC_ONLY = (
    "pyarrow",
    "numpy",
    "scipy",
    "numba",
    "polars",
    "duckdb",
    "prefect",
    "bumble",
    "fastapi",
    "sqlalchemy",
)
#: The virtual radio serves demo and tests; a gateway with a real radio never imports it.
NOT_ON_A_GATEWAY = ("ingest.edge.virtual_radio",)


def _loaded_by(modules: list[str]) -> set[str]:
    code = f"import sys, importlib\nfor m in {modules!r}: importlib.import_module(m)\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


def _modules(*folders: str) -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def test_import_directions_hold():
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_a_gateway_loads_nothing_that_computes():
    gateway = [
        name for name in _modules("ingest/edge", "ingest/wire") if not name.startswith(NOT_ON_A_GATEWAY)
    ]
    assert "ingest.edge" in gateway
    assert not _loaded_by(gateway) & set(CLINIC_ONLY)


def test_codecs_and_observations_load_no_arrow_and_no_radio():
    pure = [
        name
        for name in _modules("devices")
        if name != "devices.tables" and not name.startswith("devices.sim")
    ]
    assert "devices.observations" in pure
    assert not _loaded_by(pure) & {*CLINIC_ONLY, "bleak", "paho"}


def test_the_schemas_do_load_arrow():
    assert "pyarrow" in _loaded_by(["devices.tables"])
