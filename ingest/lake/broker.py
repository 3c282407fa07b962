"""Brokers as child processes on the loopback interface: the embedded default, and mosquitto.

Both speak MQTT 5 without TLS to this machine only. A site's broker, with mutual TLS
and one rule per gateway, is configured in ``deploy/``.
"""

import getpass
import json
import logging
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Final

from ingest.errors import BrokerError
from ingest.wire.address import BrokerAddress

logger = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 10.0

#: Below what Linux gives to clients (32,768 and up); processes lie side by side in every stride.
_FIRST_PORT: Final = 12_032
_STRIDE: Final = 128
_STRIDES: Final = 160
_STEPS: Final = count(random.randrange(_STRIDES))

#: rumqttd keeps messages in segments and drops the oldest when there are too many: 10 of 32 MiB
#: are three times what 100 gateways may have in flight.
_IOTCORE: Final = """\
id = 0

[router]
id = 0
max_connections = 10000
max_outgoing_packet_count = 200
max_segment_size = 33554432
max_segment_count = 10

[v5.1]
name = "loopback"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = false
"""

#: Defaults of mosquitto drop silently from the 1,001st queued message on.
_MOSQUITTO: Final = """\
user {user}
listener {port} {host}
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 60
max_inflight_messages 1000
max_queued_messages 2000000
max_queued_bytes 2147483648
max_packet_size 1048576
persistent_client_expiration 14d
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
"""


class _ChildBroker(ABC):
    """A broker process that listens on a loopback port, the same one after every restart."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self._folder = folder
        self.port = free_port() if port is None else port
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """Write the configuration; the command that starts the broker with it."""

    def start(self) -> BrokerAddress:
        """Start it and wait until it listens.

        Raises
        ------
        BrokerError
            When it does not.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if _is_listening(self.port):
            raise BrokerError(f"port {self.port} is taken")
        log_path = self._folder / "broker.log"
        with log_path.open("ab") as log:
            # the embedded broker ends when its standard input closes: it never outlives us
            self._process = subprocess.Popen(self._command(), stdin=subprocess.PIPE, stdout=log, stderr=log)
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end and self._process.poll() is None:
            if _is_listening(self.port):
                return BrokerAddress(LOOPBACK, self.port)
            time.sleep(0.02)
        self.stop()
        raise BrokerError(f"the broker did not start: see {log_path}")

    def stop(self) -> None:
        """Ask it to end (mosquitto saves its queues)."""
        self._end(is_forced=False)

    def kill(self) -> None:
        """End it without warning, as a power cut would."""
        self._end(is_forced=True)

    def _end(self, *, is_forced: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if is_forced:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


class EmbeddedBroker(_ChildBroker):
    """rumqttd out of the iotcore wheel: needs nothing installed, keeps everything in memory.

    Parameters
    ----------
    folder : Path
        For its configuration and log.
    port : int, optional
        Loopback port; a free one when absent.
    """

    def _command(self) -> list[str]:
        path = self._folder / "iotcore.toml"
        path.write_text(_IOTCORE.format(host=LOOPBACK, port=self.port))
        # -P: a folder called iotcore where we are started must not shadow the package
        return [sys.executable, "-P", "-m", "iotcore._serve", json.dumps({"config_path": str(path)})]


class MosquittoBroker(_ChildBroker):
    """Debian's mosquitto with its persistence in `folder`.

    Parameters
    ----------
    folder : Path
        For its configuration, queues and log.
    port : int, optional
        Loopback port; a free one when absent.
    """

    @staticmethod
    def executable() -> str | None:
        """Path of mosquitto, or ``None`` when it is not installed."""
        return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")

    def _command(self) -> list[str]:
        executable = self.executable()
        if executable is None:
            raise BrokerError("mosquitto is not installed")
        path = self._folder / "mosquitto.conf"
        path.write_text(
            _MOSQUITTO.format(
                user=getpass.getuser(), host=LOOPBACK, port=self.port, folder=self._folder.resolve()
            )
        )
        return [executable, "-c", str(path)]


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((LOOPBACK, port)) == 0


def free_port() -> int:
    """A loopback TCP port nobody listens on, of those the system gives to nobody by itself.

    A client's own port is never one of them, and no other process here asks for the same: it is
    still free when a server is started on it, and after that one was killed.

    Raises
    ------
    BrokerError
        When there is none.
    """
    for step in islice(_STEPS, _STRIDES):
        port = _FIRST_PORT + step % _STRIDES * _STRIDE + os.getpid() % _STRIDE
        with socket.socket() as probe, suppress(OSError):
            # as a server does that follows one that was killed
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            return port
    raise BrokerError(f"no free port from {_FIRST_PORT} on")
