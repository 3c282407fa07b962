"""Compile what the nights run on, once for all: `python -m tests.kernels`.

A fresh checkout has nothing compiled, and every worker and every process of a test would do it
for itself, fifteen seconds each. Two dates of one person call every kernel with the types they have.
"""

from contextlib import redirect_stdout
from datetime import timedelta
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from flows.cli import main
from flows.night.nightly import run
from tests.fixtures_night import FIRST, make_clinic, now


def compile_all(folder: Path) -> None:
    beats = [700 + 7 * number % 200 for number in range(900)]
    pq.write_table(
        pa.table({"who": ["a"] * len(beats), "beat": range(len(beats)), "rr_ms": beats}), folder / "a.parquet"
    )
    for window in ("5min", "whole"):
        words = ["hrv", str(folder / "a.parquet"), "--recording", "who", "--order", "beat"]
        with redirect_stdout(StringIO()):
            main([*words, "--window", window, "--json"])
    clinic = make_clinic(folder / "home", people=1, days=4)
    run(clinic, FIRST + timedelta(days=2), FIRST + timedelta(days=3), clock=now)


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        compile_all(Path(name))
