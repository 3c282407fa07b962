"""Who wears what: one file of `tests/wearers/` for each driver."""

from importlib import import_module
from pathlib import Path

from tests.wearers.wearer import Wearer

WEARERS: dict[str, type[Wearer]] = {
    path.stem: import_module(f"tests.wearers.{path.stem}").Worn
    for path in sorted((Path(__file__).parent / "wearers").glob("*.py"))
    if path.stem != "wearer"
}
