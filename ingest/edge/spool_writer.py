"""Messages of the spool: blocks gathered to the size aimed at, numbered and stored."""

import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from devices.clock import DAY
from devices.drivers.colmi_ring import FOUND_LOG
from devices.drivers.wall_clock import DRIFT_LOG, OFFSET_LOG
from devices.observations import Observation
from ingest.edge.runs import is_run
from ingest.edge.spool_cipher import Cipher
from ingest.edge.spool_limits import EARLIEST_UTC
from ingest.wire.messages import MESSAGE_BYTES, WearableState, encode_batch, encode_observation

#: How often a message says a wearable's firmware that has not changed.
FIRMWARE_EVERY: Final = DAY


class Waiting(NamedTuple):
    """An observation in the spool, not yet in a message; `observation` is none when it cannot be read."""

    number: int
    appended_utc: int
    samples: int
    payload: bytes
    observation: Observation | None


class MessageWriter:
    """Fills messages of one kind up to the size aimed at."""

    def __init__(self, database: sqlite3.Connection, kind: str, now: int, cipher: Cipher) -> None:
        self._database = database
        self._kind = kind
        self._now = now
        self._cipher = cipher
        self._oldest_utc = 0
        self._encoded: list[bytes] = []
        self._size = 0
        self._open_samples = 0
        self._devices: set[str] = set()
        self._last: Observation | None = None
        self.samples = 0
        self.made = 0

    def add(self, block: Observation) -> None:
        """Put a block into the open message, or begin the next."""
        encoded = encode_observation(block)
        # a slot that is said again is the same sample revised: the later word needs the higher number
        is_revision = (
            self._last is not None
            and is_run(type(block))
            and self._last.device == block.device
            and block.start_utc < self._last.end_utc
        )
        if self._encoded and (is_revision or self._size + len(encoded) > MESSAGE_BYTES):
            self.close()
        self._encoded.append(encoded)
        self._devices.add(block.device)
        self._size += len(encoded)
        self._open_samples += block.sample_count
        self._last = block

    def note_age(self, rows: Iterable[Waiting]) -> None:
        """The messages from here on hold observations that came as early as the first of these."""
        came = min((row.appended_utc for row in rows), default=0)
        self._oldest_utc = min(came, self._oldest_utc) if self._encoded else came

    def add_unreadable(self, payload: bytes, samples: int, appended_utc: int) -> None:
        """A message of its own for what no longer is an observation: the quarantine keeps it."""
        self.close()
        try:
            msgspec.msgpack.decode(payload)
        except (ValueError, RecursionError):
            payload = msgspec.msgpack.encode(payload)
        self._encoded, self._open_samples, self._oldest_utc = [payload], samples, appended_utc
        self.close()

    def close(self) -> None:
        """Number the open message and store it."""
        if not self._encoded:
            return
        sequence: int = self._database.execute(
            "update number set value = value + 1 where name = 'sequence' returning value"
        ).fetchone()[0]
        # a box without a battery wakes up in 1970; a batch must not be refused for that
        sealed = max(self._now, EARLIEST_UTC)
        wearables = read_states(self._database, sorted(self._devices), self._now)
        payload = encode_batch(sequence, sealed, self._kind, self._encoded, wearables)
        stored = self._cipher.seal(payload, str(sequence))
        self._database.execute(
            "insert into message (sequence, kind, samples, payload, oldest_utc) values (?, ?, ?, ?, ?)",
            (sequence, self._kind, self._open_samples, stored, self._oldest_utc),
        )
        self.samples += self._open_samples
        self.made += 1
        self._encoded, self._size, self._open_samples = [], 0, 0
        self._devices.clear()


def read_states(database: sqlite3.Connection, devices: Iterable[str], now: int) -> list[WearableState]:
    """What is to be said of these wearables; those of which nothing is known are left out.

    A ring's visit says where its clock was found instead of how far it had drifted.
    """
    states: list[WearableState] = []
    for device in devices:
        names = {f"{device}/{log}": log for log in (OFFSET_LOG, DRIFT_LOG, FOUND_LOG)}
        rows = database.execute("select name, value from cursor where name in (?, ?, ?)", list(names))
        known: dict[str, int] = {names[name]: value for name, value in rows}
        offset_s, drift_ms = known.get(OFFSET_LOG), known.get(DRIFT_LOG)
        if drift_ms is None and offset_s is not None and FOUND_LOG in known:
            drift_ms = 1000 * (known[FOUND_LOG] - offset_s)
        firmware = _firmware_to_say(database, device, now)
        if known or firmware is not None:
            states.append(WearableState(device, offset_s, drift_ms, firmware))
    return states


def _firmware_to_say(database: sqlite3.Connection, device: str, now: int) -> str | None:
    """Firmware of a wearable unless it was said within the last day; from here on it counts as said."""
    row = database.execute(
        "update firmware set said_utc = ?1 where device = ?2 and abs(?1 - said_utc) >= ?3 returning version",
        (now, device, FIRMWARE_EVERY),
    ).fetchone()
    return None if row is None else row[0]
