"""Messages as they came, kept for a while: what a codec got wrong can be read again.

Every flush stores its messages beside what was made of them, in the same commit.
Replaying reads them with today's codecs and today's enrolment, in the order they
came. A sample that is there already is the same sample; what was refused and can be
read now comes in and leaves the quarantine.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

import pyarrow as pa

from devices.clock import DAY, from_utc, to_utc
from devices.tables import QUARANTINE, RAW
from ingest.errors import TopicError
from ingest.lake.columns import read_kept
from ingest.lake.enrolment import Enrolment
from ingest.lake.files import RAW_MESSAGES, REFUSED, Lake
from ingest.lake.intake import Flush, Intake, Message, Received
from ingest.wire.topics import ROOT, parse

WRITER: Final = "replay"
#: The site in a topic is only where a gateway believes to be; a refused row does not keep it.
_ANY_SITE: Final = "any"
KEEP_DAYS: Final = 14


def raw_table(messages: Sequence[Message]) -> pa.Table:
    """Messages as rows of :data:`devices.tables.RAW`, in the order they came."""
    columns = {
        "arrived_utc": [one.arrived_utc for one in messages],
        "topic": [one.topic for one in messages],
        "content_type": [one.content_type for one in messages],
        "payload": [one.payload for one in messages],
    }
    return pa.table([pa.array(columns[each.name], type=each.type) for each in RAW], schema=RAW)


def is_worth_keeping(message: Message) -> bool:
    """Whether it says more than that its gateway is there, or that we have stored something."""
    try:
        topic = parse(message.topic)
    except TopicError:
        return True
    return topic.is_observations or topic.device is not None


def raw_files(lake: Lake, first: date | None = None, last: date | None = None) -> list[Path]:
    """Files of messages that arrived from `first` to `last` (UTC dates, both included), oldest first."""
    return [
        path
        for path in lake.raw_files()
        if (first is None or first <= _day(path)) and (last is None or _day(path) <= last)
    ]


def _day(path: Path) -> date:
    return date.fromisoformat(path.parent.name.removeprefix("dt="))


def forget(lake: Lake, *, before: date) -> int:
    """Delete messages that arrived before a UTC date; returns files deleted."""
    paths = (lake.root / name for name in lake.names(RAW_MESSAGES))
    old = [path for path in paths if _day(path) < before]
    lake.remove(old)
    for folder in {path.parent for path in old}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return len(old)


def keep_since(now: int, days: int) -> date:
    """First date of which messages are kept, of `days` days up to `now` (microseconds UTC)."""
    return from_utc(now - days * DAY).date()


@dataclass
class Replayed:
    """What a replay did: messages read, samples stored by kind, rows that left the quarantine."""

    messages: int = 0
    stored: Counter[str] = field(default_factory=Counter[str])
    released: int = 0
    still_refused: int = 0


def replay(
    lake: Lake,
    enrolment: Enrolment,
    files: Iterable[Path],
    *,
    now: int,
    gateway: str | None = None,
    on_file: Callable[[], None] = lambda: None,
) -> Replayed:
    """Read messages again and store what they say today.

    What a message said then and says no more stays in the lake: a codec that invented
    samples needs `flarecast erase`, not a replay.

    Parameters
    ----------
    now : int
        Microseconds UTC; names the files. A sample read again counts as received when its
        message was stored, a microsecond later for each replay, so that it outweighs the
        reading before and no revision that came after it.
    gateway : str, optional
        Only messages of this one.
    on_file : callable
        Called after each file, for a progress bar.

    Raises
    ------
    LakeError
        When another process compacts, releases or imports.
    """
    done = Replayed()
    with lake.alone("a replay"):
        lake.sweep(WRITER)
        later_us = lake.count_up("replays")
        intake = Intake(enrolment)
        for path in files:
            _replay_file(lake, intake, path, gateway, later_us, now, done)
            on_file()
        _release(lake, enrolment, gateway, later_us, now, done)
    return done


def _replay_file(
    lake: Lake, intake: Intake, path: Path, gateway: str | None, later_us: int, now: int, done: Replayed
) -> None:
    messages = [
        Received(row["topic"], row["payload"], row["content_type"], to_utc(row["arrived_utc"]))
        for row in read_kept(path, RAW).to_pylist()
    ]
    messages = [one for one in messages if gateway is None or _gateway(one.topic) == gateway]
    if not messages:
        return
    flush: Flush = intake.sort(messages)
    done.messages += len(messages)
    done.stored.update(flush.stored())
    done.still_refused += len(flush.refused)
    # what is refused again lies in the quarantine already
    flush.refused.clear()
    flush.batches.clear()
    lake.commit(flush.tables(_stored_utc(path) + later_us), writer=WRITER, now=now)


def _stored_utc(path: Path) -> int:
    """When a file was stored, and by that the samples of its messages received: it is named by it."""
    return int(path.name.partition("-")[0]) // 1000


def _gateway(topic: str) -> str | None:
    try:
        return parse(topic).gateway
    except TopicError:
        return None


def _release(
    lake: Lake, enrolment: Enrolment, gateway: str | None, later_us: int, now: int, done: Replayed
) -> None:
    """Store what the quarantine holds and can be read now, and take it out; older messages are there too."""
    intake = Intake(enrolment)
    for path in lake.quarantine_files():
        table = read_kept(path, QUARANTINE)
        keep: list[bool] = []
        for row in table.to_pylist():
            arrived = to_utc(row["received_utc"])
            is_asked = gateway is None or row["gateway"] == gateway
            topic = f"{ROOT}/{_ANY_SITE}/{row['gateway']}/{row['kind']}"
            flush = intake.sort([Received(topic, row["payload"], None, arrived)])
            is_read = is_asked and bool(flush.arrived) and not flush.refused
            keep.append(not is_read)
            if is_read:
                done.stored.update(flush.stored())
                flush.batches.clear()
                lake.commit(flush.tables(arrived + later_us), writer=WRITER, now=now)
        done.released += keep.count(False)
        kept = table.filter(pa.array(keep, pa.bool_()))
        if kept.num_rows == table.num_rows:
            continue
        if kept.num_rows:
            lake.replace_files(REFUSED, kept, [path], writer=WRITER)
        else:
            lake.remove([path])
