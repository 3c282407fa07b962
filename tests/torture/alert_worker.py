"""The worker process that is killed: flarecast's own worker and channels, on a clock that runs faster.

Leases of two minutes and deadlines of half an hour pass in seconds; what is waited for on
sockets is shortened by the same factor.
"""

import argparse
import signal
import threading
import time
from pathlib import Path

import httpx

from alerts.delivery.channels import email
from alerts.delivery.channels.channel import LONGEST_ATTEMPT_S, Channel
from alerts.delivery.channels.webhook import Webhook
from alerts.delivery.dead_letter import Fallback
from alerts.delivery.worker import Worker
from alerts.engine.journal import Journal
from devices.clock import Clock, system_clock
from tests.torture.alert_receivers import HOOK, MAIL

#: How much faster than the wall's the clock runs.
PACE = 30
TIMEOUT_S = 30 / PACE
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#: Whom dead letters are told.
OPERATOR = "ok.ok"


def fast_clock(began_utc: int) -> Clock:
    """Clock of the torture: the same in every process that knows when it began."""
    return lambda: began_utc + (system_clock() - began_utc) * PACE


def channels_to(url: str, mail_port: int, closed_port: int) -> list[Channel]:
    """The three channels of the site."""
    client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)
    addresses = {f"{hook}.{mail}": f"{hook}.{mail}@clinic.example" for hook in HOOK for mail in MAIL}
    email.TIMEOUT_S = TIMEOUT_S
    return [
        Webhook(f"http://127.0.0.1:{closed_port}/", SECRET, ["127.0.0.1"], name="closed", client=client),
        Webhook(url, SECRET, ["127.0.0.1"], name="hook", client=client),
        email.Email(
            email.Server("127.0.0.1", mail_port, "none"),
            sender="rpm@clinic.example",
            addresses=addresses,
            name="mail",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("store", type=Path)
    parser.add_argument("began_utc", type=int)
    parser.add_argument("url")
    parser.add_argument("mail_port", type=int)
    parser.add_argument("closed_port", type=int)
    arguments = parser.parse_args()
    clock = fast_clock(arguments.began_utc)
    worker = Worker(
        lambda: Journal(arguments.store, clock),
        channels_to(arguments.url, arguments.mail_port, arguments.closed_port),
        clock,
        arguments.name,
        fallback=Fallback((OPERATOR,), ("hook",)),
        threads=6,
        limit_s=LONGEST_ATTEMPT_S / PACE,
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print(time.monotonic(), flush=True)
    worker.run(stop)


if __name__ == "__main__":
    main()
