"""Where alerts go in the torture: a webhook and a mail server that fail as each recipient's name says.

A recipient is called `hook.mail`, a behaviour of either: what the first channel able to accept is
can be read off it. Everything that comes is remembered, and whether it was accepted.
"""

import json
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller

from ingest.lake.broker import free_port

#: Behaviour -> whether the channel will accept in the end.
HOOK = {
    "ok": True,
    "late": True,  # 500 twice
    "busy": True,  # 429 with Retry-After once
    "slow": True,  # no answer once
    "drop": True,  # taken, and the connection cut before the answer, once
    "redirect": False,  # 302
    "bad": False,  # 400
    "down": False,  # 500 always
    "silent": False,  # no answer ever
    "refuse": False,  # nobody listens
    "ack": False,  # acknowledged while it is on its way, then 500
}
MAIL = {
    "ok": True,
    "grey": True,  # 451 twice
    "drop": True,  # taken, and the connection cut before the answer, once
    "reject": False,  # 550
    "full": False,  # 451 always
}
REFERENCE = re.compile(r"A-[2-9A-HJ-NP-Z]{10}")


@dataclass(frozen=True)
class Came:
    """One request or mail as it came."""

    channel: str
    reference: str
    event: str
    key: str
    is_accepted: bool


class Receivers:
    """Both servers, and their memory.

    Parameters
    ----------
    acknowledge : callable
        Called with the reference of an alert whose recipient acknowledges while being told.
    silence_s : float
        Longer than the worker waits.
    """

    def __init__(self, acknowledge: Callable[[str], None], silence_s: float) -> None:
        self.came: list[Came] = []
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._acknowledge, self._silence_s = acknowledge, silence_s
        self._stop = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self.mail_port = free_port()
        self._smtp = Controller(_Mail(self), hostname="127.0.0.1", port=self.mail_port)

    @property
    def url(self) -> str:
        """Address of the webhook."""
        return f"http://127.0.0.1:{self._http.server_port}/alerts"

    def start(self) -> None:
        self._thread.start()
        self._smtp.start()

    def stop(self) -> None:
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._smtp.stop()

    def keys(self) -> dict[tuple[str, str, str], set[str]]:
        """Channel, alert and event -> idempotency keys that came."""
        found: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        for one in self.came:
            found[one.channel, one.reference, one.event].add(one.key)
        return found

    def turn(self, channel: str, key: str) -> int:
        """How often a message has come, this time included."""
        with self._lock:
            self._attempts[channel, key] += 1
            return self._attempts[channel, key]

    def note(self, came: Came) -> None:
        with self._lock:
            self.came.append(came)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receivers = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receivers.take(self, body, self.headers["webhook-id"])

            def do_GET(self) -> None:
                # a redirect that was followed
                receivers.note(Came("followed", "", "", "", True))

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def take(self, handler: BaseHTTPRequestHandler, body: dict, key: str) -> None:
        behaviour = body["data"]["recipient"].partition(".")[0]
        turn = self.turn("hook", key)
        status, is_taken = _hook_answer(behaviour, turn)
        reference = body["data"]["reference"]
        if behaviour == "ack" and turn == 1:
            self._acknowledge(reference)
        self.note(Came("hook", reference, body["type"], key, is_taken))
        if status == 0:
            handler.close_connection = True
            if behaviour != "drop":
                self._stop.wait(self._silence_s)
            return
        handler.send_response(status)
        if status == 429:
            handler.send_header("retry-after", "20")
        if status == 302:
            handler.send_header("location", "/elsewhere")
        handler.send_header("content-length", "0")
        # the worker may have been killed while it waited
        with suppress(OSError):
            handler.end_headers()


def _hook_answer(behaviour: str, turn: int) -> tuple[int, bool]:
    """Status (0: none) and whether it was taken."""
    fixed = {"redirect": 302, "bad": 400, "down": 500, "ack": 500, "silent": 0}
    if behaviour in fixed:
        return fixed[behaviour], False
    failing = {"late": (2, 500), "busy": (1, 429), "slow": (1, 0)}
    count, status = failing.get(behaviour, (0, 204))
    if turn <= count:
        return status, False
    return (0 if behaviour == "drop" and turn == 1 else 204), True


class _Mail:
    """Handler of the mail server."""

    def __init__(self, receivers: Receivers) -> None:
        self._receivers = receivers

    async def handle_RCPT(self, server, session, envelope, address, options):
        envelope.rcpt_tos.append(address)
        return "550 no such user" if address.partition("@")[0].endswith(".reject") else "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.original_content)
        behaviour = envelope.rcpt_tos[0].partition("@")[0].rpartition(".")[2]
        key = mail["message-id"]
        turn = self._receivers.turn("mail", key)
        is_taken = behaviour != "full" and not (behaviour == "grey" and turn <= 2)
        text = mail.get_payload()
        reference = REFERENCE.search(text)
        assert reference is not None
        self._receivers.note(Came("mail", reference[0], mail["subject"], key, is_taken))
        if behaviour == "drop" and turn == 1:
            server.transport.abort()
        return "250 OK" if is_taken else "451 later"
