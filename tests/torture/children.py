"""The processes that are killed: a home that never stops making beats, and a collector."""

import argparse
import signal
import threading
import time
from pathlib import Path

from devices.clock import system_clock
from devices.observations import RrInterval
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.edge.spool_cipher import load_key
from ingest.errors import SpoolError
from ingest.wire.address import BrokerAddress
from ingest.wire.client import make_bulk_client
from ingest.wire.messages import VERSION, Ack
from tests.fixtures_ingest import T0, beats

#: Name of the cursor that says how many blocks a home has made; it moves with the block.
MADE = "made"
BEATS = 60
MINUTE_US = 60_000_000
EVERY_S = 0.02
DRAIN_S = 180.0
#: First word of a collector, once the broker has taken its subscription; no promise.
SUBSCRIBED = 0


def block(gateway: str, number: int) -> RrInterval:
    """Block `number` of a home: values that belong to this home and number only."""
    seed = number * 31 + sum(gateway.encode())
    rr_ms = [500 + (seed * 7 + 13 * i) % 700 for i in range(BEATS)]
    device = f"strap-{gateway.removeprefix('gw-')}"
    return beats(0, rr_ms, start_utc=T0 + number * MINUTE_US, gap=None, device=device)


def run_home(gateway: str, folder: Path, port: int, *, host: str, is_freed_by_broker: bool) -> None:
    """Make blocks and forward them until SIGTERM, then send what is left."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    spool = Spool(folder / f"{gateway}.db", clock=system_clock, key=load_key(folder / f"{gateway}.key"))
    sender = Forwarder(
        spool,
        BrokerAddress(host, port),
        site="north",
        gateway=gateway,
        ack_timeout_s=2.0,
        min_delay_s=0.1,
        max_delay_s=0.5,
    )
    sender.start()
    end = None
    while end is None or (time.monotonic() < end and spool.pending(limit=1)):
        if stop.is_set() and end is None:
            end = time.monotonic() + DRAIN_S
        try:
            if end is None:
                number = spool.cursor(MADE) or 0
                spool.append([block(gateway, number)], cursors={MADE: number + 1})
                # what was said here was promised: the parent remembers it
                print(number + 1, flush=True)
            spool.seal(force=True)
        except SpoolError:
            time.sleep(0.2)
        if is_freed_by_broker:
            flights = list(sender._flights.items())
            taken = [number for number, flight in flights if flight.mid in sender._taken]
            sender._confirmed.put(Ack(VERSION, taken))
        time.sleep(EVERY_S)
    sender.stop()
    spool.close()


def acknowledging_at_receipt(name, broker, on_arrivals, *, clock):
    """A collector's client that does what paho does unless it is told otherwise."""

    def at_once(arrivals):
        acknowledge((one.mid, one.qos) for one in arrivals)
        on_arrivals(arrivals)

    client = make_bulk_client(name, broker, at_once, clock=clock)
    acknowledge, client.ack_all = client.ack_all, lambda _: None
    return client


def run_collector(name: str, folder: Path, port: int, *, is_automatic: bool) -> None:
    """Collect until SIGTERM; `is_automatic` acknowledges at receipt, as paho does by default."""
    from ingest.lake import collector as module
    from ingest.lake.files import Lake
    from ingest.lake.intake_enrolment import EnrolmentFile

    if is_automatic:
        module.make_bulk_client = acknowledging_at_receipt
    collector = module.Collector(
        BrokerAddress("127.0.0.1", port),
        Lake(folder / "lake"),
        EnrolmentFile(folder / "e.csv"),
        clock=system_clock,
        collector=name,
        flush_s=0.1,
    )
    signal.signal(signal.SIGTERM, lambda *_: collector.stop())
    threading.Thread(target=_say_when_subscribed, args=(collector,), daemon=True).start()
    collector.run()


def _say_when_subscribed(collector) -> None:
    while not collector.counts.is_subscribed:
        time.sleep(0.02)
    print(SUBSCRIBED, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("home", "collector"))
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="127.0.0.1", help="of the broker, for a home")
    parser.add_argument("--control", action="store_true")
    arguments = parser.parse_args()
    here = (arguments.name, arguments.folder, arguments.port)
    if arguments.what == "home":
        run_home(*here, host=arguments.host, is_freed_by_broker=arguments.control)
    else:
        run_collector(*here, is_automatic=arguments.control)


if __name__ == "__main__":
    main()
