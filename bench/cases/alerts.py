"""From PUBLISH to the receiver: a self-harm answer among two hundred answers a second, all parts real."""

import base64
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from alerts.engine.journal import Journal
from alerts.store.schema import judged_event, staff, staff_role
from bench.harness import Bench, CannotMeasure, Result, case
from devices.clock import system_clock
from devices.observations import ProAnswer
from devices.sim.answers import given_answer
from ingest.lake.broker import MosquittoBroker
from ingest.lake.enrolment import Enrolment, EnrolmentRow, write_enrolment
from ingest.wire.address import BrokerAddress
from ingest.wire.client import make_client, start_client
from ingest.wire.messages import encode_batch, encode_observation

GATEWAYS = 10
#: One alert of each patient: of a second one of the same patient there would be one alert, told twice.
PATIENTS = 1_000
RATE_HZ = 200
#: Of so many answers one pages.
SHARE = 5
SETTLE_S = 30.0
LIMIT_S = 1.0
SECRET = "whsec_" + base64.b64encode(b"benchmark of the live path").decode()
CHANNELS = """
[staffed_response]
who = "the benchmark"

[[channel]]
name = "console"
kind = "webhook"
url = "{url}"
allow_hosts = ["127.0.0.1"]
secret = {{ env = "BENCH_WEBHOOK_SECRET" }}
"""


class _Times:
    """Monotonic seconds at which things happened, by name."""

    def __init__(self) -> None:
        self.of: dict[str, float] = {}

    def note(self, name: str) -> None:
        self.of.setdefault(name, time.monotonic())


@contextmanager
def _receiver(times: _Times) -> Generator[str]:
    """A care team's system that notes when each reference came."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            times.note(body.partition(b'"reference":"')[2].partition(b'"')[0].decode())
            self.send_response(204)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/alerts"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _process(home: Path, action: str, ready: str, *options: str) -> Generator[None]:
    """`flarecast alerts ACTION`, from the moment its log says that it is ready."""
    log = home / f"{action}.log"
    env = {**os.environ, "BENCH_WEBHOOK_SECRET": SECRET}
    command = [sys.executable, "-m", "flows.cli", "alerts", action, *options, "--home", str(home)]
    with log.open("wb") as stream:
        running = subprocess.Popen(command, stderr=stream, env=env)
    try:
        end = time.monotonic() + SETTLE_S
        while ready not in log.read_text():
            if running.poll() is not None or time.monotonic() > end:
                raise CannotMeasure(f"{action} does not start: {log.read_text()[-500:]}")
            time.sleep(0.05)
        yield
    finally:
        running.terminate()
        running.wait(30)


def _site(home: Path, url: str) -> None:
    (home / "channels.toml").write_text(CHANNELS.format(url=url))
    rows = [
        EnrolmentRow(f"p-{n}", "north", "UTC", f"gw-{n % GATEWAYS}", f"ring-{n}", 0, None)
        for n in range(PATIENTS)
    ]
    write_enrolment(home / "enrolment.csv", Enrolment(rows))
    with Journal(home / "alerts.sqlite", system_clock) as journal, journal.transaction() as con:
        con.execute(staff.insert().values(staff="on-call", zone="UTC", channels=["console"], since_utc=0))
        con.execute(staff_role.insert().values(staff="on-call", role="clinician"))


def _answer(number: int, patient: int, value: float) -> bytes:
    now, ring = system_clock(), f"ring-{patient}"
    answer = given_answer(ring, now, f"a-{number}", "phq-9", "9", value, source="app/1")
    return encode_batch(number + 1, system_clock(), ProAnswer.kind, [encode_observation(answer)])


class _Homes:
    """Publishes at a fixed rate, and hears by itself what the broker alone takes."""

    def __init__(self, address: BrokerAddress) -> None:
        self.published, self.heard = _Times(), _Times()
        self._client = make_client("homes", address)
        self._ears = make_client("ears", address)
        self._ears.on_message = lambda _, __, message: self.heard.note(bytes(message.payload).hex())
        for client in (self._client, self._ears):
            start_client(client, address, min_delay_s=0.1, max_delay_s=0.5)
        while not (self._client.is_connected() and self._ears.is_connected()):
            time.sleep(0.01)
        self._ears.subscribe("flarecast/v1/+/+/pro_answer", qos=1)
        self.broker_s: list[float] = []
        self.rate_hz = 0.0

    def publish(self) -> None:
        count = PATIENTS * SHARE
        began = time.monotonic()
        sent: dict[str, float] = {}
        for number in range(count):
            wait = began + number / RATE_HZ - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            is_positive = number % SHARE == 0
            patient = number // SHARE if is_positive else (number * 7) % PATIENTS
            payload = _answer(number, patient, float(is_positive))
            topic = f"flarecast/v1/north/gw-{patient % GATEWAYS}/{ProAnswer.kind}"
            self.published.note(f"a-{number}")
            sent[payload.hex()] = time.monotonic()
            self._client.publish(topic, payload, qos=1)
        self.rate_hz = count / (time.monotonic() - began)
        time.sleep(1.0)
        self.broker_s = [at - sent[key] for key, at in self.heard.of.items() if key in sent]

    def close(self) -> None:
        for client in (self._client, self._ears):
            client.disconnect()
            client.loop_stop()


@case
def alerts_live(bench: Bench) -> list[Result]:
    """Broker, subscriber, store, worker and receiver, each its own process or thread."""
    if MosquittoBroker.executable() is None:
        raise CannotMeasure("mosquitto is not installed: apt-get install mosquitto")
    times = _Times()
    with TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        broker = MosquittoBroker(home / "broker")
        address = broker.start()
        stack.callback(broker.stop)
        _site(home, stack.enter_context(_receiver(times)))
        stack.enter_context(_process(home, "live", "subscribed", "--port", str(address.port)))
        stack.enter_context(_process(home, "worker", "delivering"))
        homes = _Homes(address)
        stack.callback(homes.close)
        bench.timed(homes.publish)
        end = time.monotonic() + SETTLE_S
        while len(times.of) < PATIENTS and time.monotonic() < end:
            time.sleep(0.1)
        with Journal(home / "alerts.sqlite", system_clock) as journal, journal.transaction() as con:
            query = sa.select(judged_event.c.event, judged_event.c.alert)
            alert_of = {row.event: row.alert for row in con.execute(query.where(judged_event.c.is_positive))}
    paged = [
        times.of[alert] - homes.published.of[event] for event, alert in alert_of.items() if alert in times.of
    ]
    if len(paged) < PATIENTS:
        raise CannotMeasure(f"{len(paged)} of {PATIENTS} alerts arrived")
    ordered = sorted(paged)
    p99, median = ordered[int(0.99 * len(ordered))], statistics.median(paged)
    alone = statistics.median(homes.broker_s)
    against = f"the second the issue allows; {PATIENTS} alerts within {RATE_HZ} answers/s"
    rate = homes.rate_hz
    return [
        Result("alerts_live.p99", p99, "s", p99 / LIMIT_S, against, len(paged)),
        Result(
            "alerts_live.median", median, "s", median / alone, "mosquitto to a bare subscriber", len(paged)
        ),
        Result("alerts_live.rate", rate, "answers/s", rate / RATE_HZ, f"the {RATE_HZ} published", 1),
    ]
