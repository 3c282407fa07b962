"""The other end of a signed webhook, on this machine: for the demonstration and the tests.

Checks what a receiver must check: signature, age, and whether the message has
come before.
"""

import hmac
import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook as Signer

from devices.clock import MINUTE, SECOND, Clock, from_utc

#: Standard Webhooks: older or newer is a replay or a wrong clock.
TOLERANCE = 5 * MINUTE
#: Far above any message of ours; a larger one is not ours.
LARGEST_BODY = 64 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """A message that came, its repeats left out."""

    key: str
    body: dict[str, Any]


class Receiver:
    """HTTP server on 127.0.0.1 and a free port.

    Parameters
    ----------
    secret : str
        Signing secret shared with the sender.
    clock : Clock
        Judges the age of a signature.
    """

    def __init__(self, secret: str, *, clock: Clock) -> None:
        self._signer = Signer(secret)
        self._clock = clock
        self._lock = threading.Lock()
        self._received: dict[str, Received] = {}
        self.repeat_count = 0
        self.refused_count = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Address to post to."""
        return f"http://127.0.0.1:{self._server.server_port}/alerts"

    @property
    def received(self) -> list[Received]:
        """Messages that came, each once, in order of arrival."""
        with self._lock:
            return list(self._received.values())

    def start(self) -> Self:
        """Serve until stopped."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving; what came stays readable."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def take(self, key: str, timestamp: str, signatures: str, body: bytes) -> int:
        """Judge one request; returns the HTTP status to answer with."""
        with self._lock:
            if not self._is_genuine(key, timestamp, signatures, body):
                self.refused_count += 1
                return 401
            if key in self._received:
                self.repeat_count += 1
            else:
                self._received[key] = Received(key, json.loads(body))
            return 204

    def _is_genuine(self, key: str, timestamp: str, signatures: str, body: bytes) -> bool:
        if not key or not timestamp.isdigit():
            return False
        sent_utc = int(timestamp) * SECOND
        if abs(self._clock() - sent_utc) > TOLERANCE:
            return False
        try:
            expected = self._signer.sign(key, from_utc(sent_utc), body.decode())
        except UnicodeDecodeError:
            return False
        return any(hmac.compare_digest(expected, given) for given in signatures.split(" "))


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        # A connection that says nothing does not hold its thread for ever.
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdigit() or int(length) > LARGEST_BODY:
                self._answer(413)
                return
            body = self.rfile.read(int(length))
            given = [self.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")]
            self._answer(receiver.take(given[0], given[1], given[2], body))

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Requests are counted, not printed."""

    return Handler
