"""A care team's receiver on loopback: checks signatures, tells repeats by their key. For demo and tests."""

import base64
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError


class Receiver:
    """HTTP server on a free loopback port; a context manager.

    Attributes
    ----------
    messages : dict
        Webhook-id -> body, first arrival.
    repeats, refused : int
        Deliveries of a key already seen; deliveries whose signature is wrong.
    """

    def __init__(self) -> None:
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        self.messages: dict[str, dict[str, Any]] = {}
        self.repeats = 0
        self.refused = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self._server.server_port}/alerts"

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def opened_count(self) -> int:
        """Distinct alerts whose opening arrived."""
        with self._lock:
            return len({m["reference"] for m in self.messages.values() if m.get("event") == "opened"})

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """HTTP status for a delivery."""
        try:
            Verifier(self.secret).verify(body, headers)
        except WebhookVerificationError:
            with self._lock:
                self.refused += 1
            return 401
        key = headers["webhook-id"]
        with self._lock:
            if key in self.messages:
                self.repeats += 1
            else:
                self.messages[key] = json.loads(body)
        return 204

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(receiver.take(headers, body))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing: a log line could carry a reference."""

        return Handler
