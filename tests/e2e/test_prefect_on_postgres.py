"""The history of runs on PostgreSQL by one setting: a real server, a real night."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from flows import settings, stack
from flows.errors import UserError
from flows.settings import Settings
from tests.fixtures_night import FIRST, make_clinic
from tests.fixtures_postgres import new_database


def test_a_night_whose_history_is_on_postgres(postgres: str, tmp_path: Path) -> None:
    server = new_database(postgres)
    clinic = make_clinic(tmp_path / "home", people=2, days=2)
    url = server.replace("+psycopg", "+asyncpg")
    configured = Settings(clinic.home, prefect_database=url)
    prefect = stack.PrefectServer(tmp_path / "prefect", configured)
    prefect.start()
    try:
        prefect.wait()
        report = stack.nightly(replace(configured, prefect_api_url=prefect.api_url), FIRST, FIRST)
    finally:
        prefect.stop()
    assert report["problems"] == []
    assert report["snapshot"]
    with psycopg.connect(server.replace("+psycopg", "")) as con:
        query = "select flow.name, flow_run.state_type from flow_run join flow on flow.id = flow_run.flow_id"
        assert [(name, str(state)) for name, state in con.execute(query)] == [("nightly", "COMPLETED")]


def test_another_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLARECAST_PREFECT_DATABASE", "mysql://somewhere")
    with pytest.raises(UserError, match="FLARECAST_PREFECT_DATABASE is not"):
        settings.from_environment()
