"""What an analyst does with the demo's snapshot: starter queries, the notebook, an extract."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analytics.store import query, starters
from tests.fixtures_ingest import DEMO_S

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "cohort.py"
#: What three people and three days are not enough for.
MAY_BE_EMPTY = {"alerts-per-week", "changed-from-usual", "scores"}


def test_there_are_ten_starter_queries_each_with_its_question() -> None:
    assert len(starters.names()) == 10
    for name in starters.names():
        assert starters.read(name).startswith("-- ")
        assert starters.question(name).endswith(".")


@pytest.mark.parametrize("name", starters.names())
def test_a_starter_query_answers(demo: dict[str, Any], name: str) -> None:
    rows = query.run(Path(demo["snapshot"]), starters.read(name))
    assert rows.num_columns >= 3
    assert rows.num_rows > 0 or name in MAY_BE_EMPTY
    again = query.run(Path(demo["snapshot"]), starters.read(name))
    assert rows.equals(again), "the order of the rows is part of the answer"


def test_the_command_knows_them(demo: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "flows.cli", "sql", "--home", str(demo["home"])]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in listed.splitlines()] == [f"@{name}" for name in starters.names()]
    done = subprocess.run([*command, "@nights", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0]["tst_h"] > 0
    wrong = subprocess.run([*command, "@night"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "no starter query 'night'" in wrong.stderr


def test_the_snapshot_says_that_its_people_are_synthetic(demo: dict[str, Any]) -> None:
    with duckdb.connect(demo["snapshot"], read_only=True) as con:
        assert con.execute("select people from snapshot").fetchall() == [("SYNTHETIC",)]


def test_the_notebook_shows_cohort_and_patient(demo: dict[str, Any], tmp_path: Path) -> None:
    """Run headless in a process of its own; every cell, and the figures of the snapshot."""
    page = tmp_path / "cohort.html"
    # marimo leaves what it showed beside the notebook
    notebook = shutil.copy(NOTEBOOK, tmp_path)
    command = [sys.executable, "-m", "marimo", "-y", "export", "html", notebook, "-o", str(page)]
    done = subprocess.run(
        [*command, "--", "--snapshot", demo["snapshot"]],
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "MarimoExceptionRaisedError" not in text
    assert "SYNTHETIC" in text
    assert text.count("data:image/png;base64") >= 2, "the cohort's and the patient's picture"
    with duckdb.connect(demo["snapshot"], read_only=True) as con:
        for (patient,) in con.execute("select distinct patient from flare_risk").fetchall():
            assert patient in text
