"""Which gateways are there: what each last said of itself, and when something of it last arrived.

Each collector keeps ``gateways/<collector>.json`` in the lake. A gateway says its clock;
the collector stamps the arrival with its own, and the difference tells whose clock is wrong.
"""

import logging
import threading
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import msgspec

from devices.clock import DAY, MINUTE, Clock
from devices.durable import replace_file
from ingest.errors import MessageError, TopicError
from ingest.wire.messages import decode_state
from ingest.wire.topics import parse

logger = logging.getLogger(__name__)

#: Words of a gateway's clock that are remembered; some are old when they arrive.
CLOCKS_KEPT: Final = 8
#: Two words so far apart and equally late are a wrong clock, not a queue that is delivered.
APART: Final = 5 * MINUTE
ALIKE: Final = MINUTE
SAVE_EVERY: Final = MINUTE
#: So long a gateway that nobody has enrolled is remembered after its last word.
STRANGER_KEPT: Final = DAY


class Heard(msgspec.Struct):
    """What is known of one gateway; instants in microseconds UTC of the collector's clock.

    Attributes
    ----------
    heard_utc : int or None
        When something of it last arrived that it had just sent.
    is_online : bool
        Its last word; its last will says no.
    boot : str
        The run of the gateway that said so.
    spool, word : str
        State of its spool, and why.
    clocks : list of (int, int)
        What its clock said, and when that arrived; the latest few.
    """

    heard_utc: int | None = None
    is_online: bool = False
    boot: str = ""
    spool: str = "ok"
    word: str = ""
    clocks: list[tuple[int, int]] = []

    def clock_error(self) -> int | None:
        """How far its clock is ahead (negative: behind), microseconds; ``None`` when not known.

        A word cannot arrive before it is said, so a clock ahead shows at once. One that
        arrives late may have waited in a queue: a clock is behind where two words that were
        said minutes apart are late alike.
        """
        if not self.clocks:
            return None
        said, arrived = self.clocks[-1]
        if said > arrived:
            return said - arrived
        for earlier, came in self.clocks[:-1]:
            if said - earlier >= APART and abs((arrived - said) - (came - earlier)) <= ALIKE:
                return said - arrived
        return None


class Presence:
    """What one collector hears of gateways; may be told from any thread.

    Parameters
    ----------
    root : Path
        The lake's folder.
    collector : str
        Name of the file.
    clock : Clock
        Microseconds UTC.
    """

    def __init__(self, root: Path, collector: str, *, clock: Clock) -> None:
        self._path = root / "gateways" / f"{collector}.json"
        self._clock = clock
        self._lock = threading.Lock()
        self._is_changed = False
        self._saved_utc = 0
        #: Of whom there is news that the file does not have.
        self._fresh: set[str] = set()
        try:
            self._gateways = _read(self._path)
        except (OSError, msgspec.DecodeError) as error:
            logger.warning("presence_lost reason=%s", error)
            self._gateways = {}

    def hear(self, topic: str, payload: bytes, *, is_retained: bool) -> None:
        """Take a gateway's state; of a retained one it is not known when it was said."""
        try:
            gateway = parse(topic).gateway
            state = decode_state(payload)
        except (TopicError, MessageError) as error:
            logger.warning("state_refused reason=%s", error)
            return
        now = self._clock()
        with self._lock:
            heard = self._gateways.setdefault(gateway, Heard())
            if not state.is_online and heard.is_online and state.boot != heard.boot:
                return  # the last will of an earlier run, overtaken by this one
            self._is_changed = True
            self._fresh.add(gateway)
            heard.is_online, heard.boot = state.is_online, state.boot
            if state.spool is not None:
                heard.spool, heard.word = state.spool, state.word
            if state.utc is not None and not is_retained:
                heard.heard_utc = now
                heard.clocks = [*heard.clocks, (state.utc, now)][-CLOCKS_KEPT:]

    def brought(self, gateways: Iterable[str]) -> None:
        """Something of these gateways was stored."""
        now = self._clock()
        with self._lock:
            for gateway in gateways:
                self._gateways.setdefault(gateway, Heard()).heard_utc = now
                self._fresh.add(gateway)
                self._is_changed = True

    def forget_strangers(self, enrolled: Collection[str]) -> None:
        """Forget gateways that are in no row of the enrolment and have not been heard for a day.

        An erasure takes its gateway out of the enrolment; no other machine's erasure reaches this file.
        """
        now = self._clock()
        with self._lock:
            gone = [
                name
                for name, heard in self._gateways.items()
                if name not in enrolled and now - (heard.heard_utc or 0) > STRANGER_KEPT
            ]
            for name in gone:
                del self._gateways[name]
                self._fresh.discard(name)
            self._is_changed |= bool(gone)

    def save(self, *, at_once: bool = False) -> None:
        """Write the file where there is news, every minute or `at_once`; a full disk stops nothing."""
        now = self._clock()
        if not at_once and 0 <= now - self._saved_utc < SAVE_EVERY:
            return
        with self._lock:
            if not self._is_changed:
                return
            self._drop_forgotten()
            text, told = msgspec.json.encode(self._gateways), set(self._fresh)
            self._is_changed, self._saved_utc = False, now
        try:
            replace_file(self._path, text)
            with self._lock:
                self._fresh -= told
        except OSError as error:
            logger.error("presence_not_written reason=%s", error)

    def _drop_forgotten(self) -> None:
        """What an erasure took out of the file meanwhile does not come back, unless it was heard since."""
        try:
            known = _read(self._path) if self._path.exists() else None
        except (OSError, msgspec.DecodeError):
            known = None
        if known is not None:
            for name in self._gateways.keys() - known.keys() - self._fresh:
                del self._gateways[name]


def forget_gateways(root: Path, gateways: Collection[str]) -> int:
    """Take gateways out of what the collectors of a lake know; returns how often they stood there."""
    count = 0
    for path in sorted((root / "gateways").glob("*.json")):
        try:
            known = _read(path)
        except msgspec.DecodeError:
            continue  # written anew within a minute
        kept = {name: heard for name, heard in known.items() if name not in gateways}
        if len(kept) != len(known):
            replace_file(path, msgspec.json.encode(kept))
            count += len(known) - len(kept)
    return count


def read_presence(root: Path) -> dict[str, Heard]:
    """What all collectors of a lake know of each gateway: the one that heard it last says it."""
    found: dict[str, Heard] = {}
    for path in sorted((root / "gateways").glob("*.json")):
        try:
            gateways = _read(path)
        except (OSError, msgspec.DecodeError):
            continue  # written anew within a minute
        for name, heard in gateways.items():
            if name not in found or (heard.heard_utc or 0) > (found[name].heard_utc or 0):
                found[name] = heard
    return found


def _read(path: Path) -> dict[str, Heard]:
    if not path.exists():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Heard])
