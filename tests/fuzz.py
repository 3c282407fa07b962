"""Random and mutated messages through a collector's intake into a lake: stored or refused, every one.

``make proof``: a million of them. The sums have to be equal, each refusal has a reason
and its bytes, and the process is as large at the end as in the middle.
"""

import argparse
import gc
import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
from rich.progress import track

from ingest.lake.enrolment import read_enrolment
from ingest.lake.files import Lake
from ingest.lake.intake import Flush, Intake, Received
from ingest.wire.messages import decode_batch, encode_batch, encode_observation
from ingest.wire.topics import THEENGS, parse
from tests.fixtures_ingest import T0, one_of_each, write_enrolment
from tests.unit.test_points import ODD, VALID, changed, places

BASE = "flarecast/v1/north/gw-1/"
PER_FLUSH = 2000
#: Growth from the middle to the end that is not a leak: allocators keep some of what they had.
FLAT_MB = 32


def _good() -> list[tuple[str, bytes]]:
    """Topics and payloads of which nothing has been spoilt yet."""
    observations = one_of_each()
    batches = [
        (BASE + one.kind, encode_batch(number, T0, one.kind, [encode_observation(one)] * 3))
        for number, one in enumerate(observations, 1)
    ]
    points = [(BASE + "points/strap-1", json.dumps([each, each]).encode()) for each in VALID]
    return [
        *batches,
        *points,
        (BASE + "theengs/strap-1", b'{"hr": 61, "batt": 55, "id": "A4:C1:38:00:11:22"}'),
    ]


class Fuzz:
    """Makes messages, the same ones for a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._good = _good()

    def message(self) -> Received:
        pick = self._random
        topic, payload = pick.choice(self._good)
        if "/points/" in topic and pick.random() < 0.7:
            # good JSON all the same: bytes alone would rarely come past the parser
            valid = pick.choice(VALID)
            place = pick.choice(list(places(valid)))
            odd = changed(valid, place, pick.choice(ODD), is_removed=bool(place) and pick.random() < 0.2)
            payload = json.dumps([odd, valid]).encode()
        for _ in range(pick.choice((0, 1, 1, 1, 2, 3))):
            payload = self._mutated(payload)
        if pick.random() < 0.02:
            payload = pick.randbytes(pick.randrange(200))
        if pick.random() < 0.05:
            topic = pick.choice(self._good)[0]
        if pick.random() < 0.03:
            topic = self._mutated(topic.encode()).decode(errors="replace")
        content_type = pick.choice(("application/json", "x")) if pick.random() < 0.02 else None
        return Received(topic, payload, content_type, T0 + pick.randrange(10**12))

    def _mutated(self, data: bytes) -> bytes:
        pick = self._random
        place = pick.randrange(len(data) + 1)
        other = pick.choice(self._good)[1]
        size = pick.randrange(1, 9)
        return pick.choice(
            (
                lambda: data[:place] + bytes([pick.randrange(256)]) + data[place + 1 :],
                lambda: data[:place],
                lambda: data[:place] + pick.randbytes(size) + data[place:],
                lambda: data[:place] + data[place + size :],
                lambda: data[:place] + data[max(0, place - size) :],
                lambda: data[:place] + other[pick.randrange(len(other)) :],
                lambda: data[:place] + b"\xff" * size + data[place + size :],
            )
        )()


class Outcome(NamedTuple):
    """What became of the messages, and how the process grew from the middle to the end."""

    messages: int
    samples: int
    stored: int
    quarantined: int
    repeated: int
    #: Messages that are no observations (a state, an acknowledgement) or hold none.
    empty: int
    reasons: int
    grown_mb: float


def _resident_mb() -> float:
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def fuzz(count: int, folder: Path, *, seed: int = 1, is_shown: bool = False) -> Outcome:
    """Send so many through; raises where a message got lost."""
    lake = Lake(folder / "lake")
    intake = Intake(read_enrolment(write_enrolment(folder / "e.csv", ["gw-1"])))
    source = Fuzz(seed)
    totals, reasons = Counter[str](), set[str]()
    middle_mb = 0.0
    turns = range(0, count, PER_FLUSH)
    for turn in track(turns, "fuzz", disable=not is_shown):
        messages = [source.message() for _ in range(min(PER_FLUSH, count - turn))]
        flush = intake.sort(messages)
        _account(intake, messages, flush, totals)
        reasons |= {one.reason for one in flush.refused if len(reasons) < 1000}
        lake.commit(flush.tables(T0 + turn), writer="fuzz", now=T0 + turn)
        intake.remember(flush)
        if turn == turns[len(turns) // 2]:
            middle_mb = _resident_mb()
    grown_mb = _resident_mb() - middle_mb
    _read_back(lake, totals)
    return Outcome(
        count,
        totals["samples"],
        totals["stored"],
        totals["quarantined"],
        totals["repeated"],
        totals["empty"],
        len(reasons),
        round(grown_mb, 1),
    )


def _account(intake: Intake, messages: list[Received], flush: Flush, totals: Counter[str]) -> None:
    stored, quarantined = flush.stored().total(), flush.quarantined().total()
    if flush.received.total() != stored + quarantined:
        raise AssertionError(f"{flush.received.total()} samples, {stored} stored, {quarantined} refused")
    for one in flush.refused:
        if not one.reason or not one.reason.isprintable():
            raise AssertionError(f"a refusal without printable words: {one}")
    # each by itself says what it is: stored, refused, or nothing
    empty = 0
    for message in messages:
        alone = Intake(intake.enrolment).sort([message])
        if not alone.arrived and not alone.refused:
            empty += 1
            if not _says_nothing(message):
                raise AssertionError(f"{message} was neither stored nor refused")
    totals.update(
        samples=flush.received.total(),
        stored=stored,
        quarantined=quarantined,
        repeated=flush.repeated,
        empty=empty,
    )


def _says_nothing(message: Received) -> bool:
    """Whether a message is none of observations, or one of a batch or a list without any."""
    topic = parse(message.topic)
    if topic.device is not None:
        return json.loads(message.payload) in ([], {}) or topic.leaf == THEENGS
    return not topic.is_observations or not decode_batch(message.payload, topic.leaf).batch.observations


def _read_back(lake: Lake, totals: Counter[str]) -> None:
    """The quarantine holds what was refused, with its bytes."""
    found = sum(lake.quarantined().values())
    if found != totals["quarantined"]:
        raise AssertionError(f"{totals['quarantined']} refused, {found} in quarantine")
    for path in lake.quarantine_files():
        if any(not row["reason"] for row in pq.read_table(path, columns=["reason"]).to_pylist()):
            raise AssertionError(f"{path.name}: a row without a reason")


def main() -> int:
    parser = argparse.ArgumentParser(description="random and mutated messages, every one accounted for")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = fuzz(arguments.messages, Path(folder), seed=arguments.seed, is_shown=True)
    print(json.dumps(outcome._asdict()))
    return 0 if outcome.grown_mb < FLAT_MB else 1


if __name__ == "__main__":
    raise SystemExit(main())
