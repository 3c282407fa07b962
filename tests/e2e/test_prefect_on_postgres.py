"""The history of runs on PostgreSQL by one setting: a real server, a real night."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from flows import settings, stack
from flows.errors import UserError
from flows.settings import Settings
from tests.fixtures_night import FIRST, make_clinic, patient
from tests.fixtures_postgres import drop_database, new_database


def night(configured: Settings, day: date, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report of a run."""
    command = [sys.executable, "-m", "flows.cli", "nightly", "--home", str(configured.home), "--json"]
    env = settings.child_environment(configured, prefect_home=configured.home / "prefect")
    done = subprocess.run(
        [*command, "--date", str(day), *more], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr[-2000:]
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def everything_in(url: str) -> str:
    """Every row of every table of a database."""
    with psycopg.connect(url) as con:
        tables = con.execute("select table_name from information_schema.tables where table_schema = 'public'")
        names = [sql.Identifier(name) for (name,) in tables.fetchall()]
        return "".join(
            str(con.execute(sql.SQL("select * from {}").format(name)).fetchall()) for name in names
        )


@pytest.mark.timeout(900)
def test_a_night_whose_history_is_on_postgres_and_one_when_it_is_gone(postgres: str, tmp_path: Path) -> None:
    server = new_database(postgres)
    clinic = make_clinic(tmp_path / "home", people=2, days=2)
    url = server.replace("+psycopg", "+asyncpg")
    configured = Settings(clinic.home, prefect_database=url)
    prefect = stack.PrefectServer(tmp_path / "prefect", configured)
    configured = replace(configured, prefect_api_url=prefect.api_url)
    prefect.start()
    try:
        prefect.wait()
        # whoever asks for one patient by name leaves no name there
        code, report = night(configured, FIRST, "--patient", patient(0))
        assert (code, report["problems"], report["patients"]) == (0, [], 1)
        kept = everything_in(server.replace("+psycopg", ""))
        assert "nightly" in kept
        assert patient(0) not in kept
        assert not list((clinic.home / "requests").iterdir())
        assert report["snapshot"]
        with psycopg.connect(server.replace("+psycopg", "")) as con:
            query = (
                "select flow.name, flow_run.state_type from flow_run join flow on flow.id = flow_run.flow_id"
            )
            assert [(name, str(state)) for name, state in con.execute(query)] == [("nightly", "COMPLETED")]
        drop_database(server)
        code, without = night(configured, FIRST + timedelta(days=1))
    finally:
        prefect.stop()
    (problem,) = without["problems"]
    assert code == 1
    assert problem["where"] == f"Prefect at {prefect.api_url}"
    assert "its database does not answer (HTTP 5" in problem["what"]
    assert without["feature_days"] > 0
    assert without["snapshot"] > report["snapshot"], "the night was published"
    (said,) = [path for path in clinic.reports.glob("*.json") if "Prefect at" in path.read_text()]
    assert json.loads(said.read_text())["problems"] == [problem]


def test_another_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLARECAST_PREFECT_DATABASE", "mysql://somewhere")
    with pytest.raises(UserError, match="FLARECAST_PREFECT_DATABASE is not"):
        settings.from_environment()
