"""The other ends of the channels, on this machine: servers that answer as told and remember what came."""

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller

from alerts.delivery.notice import Notice
from alerts.engine.journal import new_reference
from alerts.engine.letters import Letter, queue
from alerts.store.schema import alert
from ingest.lake.broker import free_port


def notice(event="opened", *, recipient="nurse-1", key="A-7F3Q:open:nurse-1:mail", clinical=()):
    """A notice of two alerts."""
    counts = {} if event == "test" else {"high": 1, "medium": 1}
    return Notice(
        key=key, event=event, reference="A-7F3Q", counts=counts, recipient=recipient, clinical=clinical
    )


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@contextmanager
def answering(status, *, wait_s=0.0, body=b"", content_type="text/plain", **headers):
    """A server that gives one answer to every POST, 200 to every GET, and remembers who asked."""
    asked: list[Asked] = []
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            came = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked.append(Asked("POST", self.path, dict(self.headers), came))
            if not stop.wait(wait_s) and not wait_s:
                self._answer(status)

        def do_GET(self):
            asked.append(Asked("GET", self.path, dict(self.headers), b""))
            self._answer(200)

        def _answer(self, code):
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/in", asked
    finally:
        stop.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Mailbox:
    """A mail server's handler: what it says to RCPT and to DATA, and what it took.

    `drop` is None, "before" or "after" the mail was taken: the connection ends there
    without an answer.
    """

    rcpt: str = "250 OK"
    data: str = "250 OK"
    drop: str | None = None
    mails: list[bytes] = field(default_factory=list)
    port: int = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.rcpt.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server, session, envelope):
        if self.drop != "before" and self.data.startswith("2"):
            self.mails.append(envelope.original_content)
        if self.drop:
            server.transport.abort()
            # no answer follows: the connection is gone before there could be one
            await asyncio.sleep(0)
        return self.data


@contextmanager
def mail_server(handler=None, **options):
    """A mail server on this machine; yields its handler, which knows the port."""
    handler = handler or Mailbox()
    handler.port = free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=handler.port, **options)
    controller.start()
    try:
        yield handler
    finally:
        controller.stop()


def queue_alert(
    journal,
    *,
    channels,
    subject="p-1",
    recipient="nurse-1",
    severity="high",
    rule=None,
    letters=(("open", "1", 0),),
):
    """An alert in the store with its messages; returns its reference.

    `letters` are (kind, step, microseconds from now); each goes to the recipient by the channels in order.
    """
    name = new_reference()
    with journal.transaction() as con:
        now = journal.outbox._clock()
        con.execute(
            alert.insert().values(
                alert=name,
                scope="patient",
                subject=subject,
                rule=rule or f"rule-{name.lower()}",
                rule_version=1,
                route="team",
                severity=severity,
                status="open",
                night=date(2026, 11, 24),
                zone="Europe/Berlin",
                sentence="Steps fell.",
                inputs={},
                opened_utc=now,
            )
        )
        queue(
            con,
            [
                Letter(
                    alert=name,
                    kind=kind,
                    step=step,
                    recipient=recipient,
                    channels=tuple(channels),
                    grouping=f"alert:{name}",
                    severity=severity,
                    not_before_utc=now + wait,
                )
                for kind, step, wait in letters
            ],
            now,
        )
    return name
