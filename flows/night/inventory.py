"""What a night depends on: the lake files that touch it and who was enrolled on it, as fingerprints.

Equal fingerprints mean there is nothing to do. A late file changes those of exactly the
dates it touches; a new patient, a new device or a move changes those of one share and of the
dates on which it holds. Fingerprints are sums of digests over ranges of dates, so that years
of dates and a hundred thousand rows cost one pass.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files as package_files
from itertools import accumulate
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.features.sleep import REACH_AFTER, REACH_BEFORE
from analytics.store.ledger import Seen
from analytics.store.partitions import Partition, digest_of
from analytics.store.parts import Part
from devices.clock import DAY, HOUR, from_utc, to_utc
from flows.errors import UserError
from ingest.lake.enrolment import Cells
from ingest.lake.manifest import check_version

#: The widest offsets of any zone, UTC+14 and UTC-12.
EAST, WEST = 14 * HOUR, 12 * HOUR
#: A date reads sleep from a day before its local midnight (the longest sleep and the time awake in bed
#: before it) until some hours after its end. A file is known by the starts of its rows: an epoch of sleep
#: or a run of beats lasts up to three hours more, a step interval a day.
BEFORE, AFTER = max(REACH_BEFORE + 3 * HOUR, DAY), REACH_AFTER
_EPOCH: Final = date(1970, 1, 1)
_WRAP: Final = 2**128
#: What each stage is computed by: another formula is another night.
_SOURCES: Final = {
    "features": ("devices", "analytics.features", "analytics.store.warehouse", "analytics.tables"),
    "snapshot": ("devices.tables", "analytics.store", "analytics.tables", "alerts.tables"),
    "scores": ("analytics.risk", "analytics.features.four_weeks", "analytics.metrics", "analytics.tables"),
}


def look_at(path: Path) -> Seen:
    """Size of a lake file, and first and last start of its rows, from its footer.

    A file that cannot be read comes back with its `fault`: it counts as one that has not
    arrived, until it is replaced.

    Raises
    ------
    LakeError
        When it was written in a later schema than ours.
    """
    size = path.stat().st_size
    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        return Seen(size, 0, 0, str(error).splitlines()[0])
    written = (metadata.metadata or {}).get(b"flarecast.schema_version", b"1")
    check_version(path, int(written))
    column = metadata.schema.names.index("start_utc")
    statistics = [metadata.row_group(i).column(column).statistics for i in range(metadata.num_row_groups)]
    if not statistics or any(s is None or not s.has_min_max for s in statistics):
        return Seen(size, 0, 2**62)
    return Seen(size, to_utc(min(s.min for s in statistics)), to_utc(max(s.max for s in statistics)))


def damage(path: Path) -> str | None:
    """Why a file cannot be read to its end; None when it can."""
    try:
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches(use_threads=False):
                pass
    except (pa.ArrowException, OSError) as error:
        return str(error).splitlines()[0]
    return None


def take_stock(
    root: Path, lake_files: Mapping[str, Sequence[Path]], known: Mapping[str, Seen]
) -> dict[str, Seen]:
    """Every lake file by its path below `root`; a footer is read once, and again when the size changed."""
    found: dict[str, Seen] = {}
    for path in (path for paths in lake_files.values() for path in paths):
        name = path.relative_to(root).as_posix()
        before = known.get(name)
        try:
            is_same = before is not None and before.size == path.stat().st_size
            found[name] = before if before is not None and is_same else look_at(path)
        except FileNotFoundError:
            raise UserError(f"lake file {path} is gone: restore it, or run `flarecast lake verify`") from None
    return found


def days_touched(seen: Seen) -> tuple[date, date]:
    """First and last local date, of any zone, whose values a file can change."""
    first = (seen.first_utc - WEST - AFTER - DAY) // DAY + 1
    last = (seen.last_utc + BEFORE + EAST) // DAY
    # statistics that say nothing reach to the ends of time
    ends = (max(first, -(10**5)), min(last, 10**6))
    return _EPOCH + timedelta(days=ends[0]), _EPOCH + timedelta(days=ends[1])


@dataclass(frozen=True)
class _Sums:
    """Sum of the digests that hold on each day from `first` on."""

    first: int
    values: list[int]

    @classmethod
    def over(cls, first: date, last: date, terms: Iterable[tuple[int, int, int]]) -> "_Sums":
        """Terms are (first day, last day, digest), days since 1970."""
        low, high = (first - _EPOCH).days, (last - _EPOCH).days
        steps = [0] * (high - low + 2)
        for start, end, digest in terms:
            if start <= high and end >= low:
                steps[max(start, low) - low] += digest
                steps[min(end, high) - low + 1] -= digest
        return cls(low, [value % _WRAP for value in accumulate(steps)])

    def on(self, day: date) -> int:
        return self.values[(day - _EPOCH).days - self.first]


class Inputs:
    """Fingerprints of the features of dates and shares.

    Parameters
    ----------
    files : mapping of str to Seen
        Lake files; those with a fault do not count.
    rows : sequence of Cells
        Enrolment as written, rows with mistakes included.
    first, last : date
        Dates that will be asked for.
    """

    def __init__(self, files: Mapping[str, Seen], rows: Sequence[Cells], first: date, last: date) -> None:
        self._span = first, last
        self._lake = _Sums.over(first, last, _file_terms(files))
        self._rows = rows
        self._enrolled: dict[int, dict[int, _Sums]] = {}

    def of(self, day: date, partition: Partition) -> str:
        """Fingerprint of what the features of a date and share are made of."""
        if partition.count not in self._enrolled:
            self._enrolled[partition.count] = self._shares(partition.count)
        own = self._enrolled[partition.count].get(partition.number)
        enrolled = own.on(day) if own else 0
        return f"{(self._lake.on(day) * 3 + enrolled) % _WRAP:032x}"

    def _shares(self, count: int) -> dict[int, _Sums]:
        terms: dict[int, list[tuple[int, int, int]]] = {}
        for row in self._rows:
            terms.setdefault(digest_of(row.patient) % count, []).extend(_row_terms(row))
        return {number: _Sums.over(*self._span, own) for number, own in terms.items()}


class Notes:
    """Fingerprints, per share, of what somebody wrote down about its patients that holds by a date.

    Parameters
    ----------
    said : iterable of (patient, first date, text)
        Each note from its first date on.
    """

    def __init__(self, said: Iterable[tuple[str, date, str]]) -> None:
        self._said = sorted(said)
        self._shares: dict[Partition, list[tuple[date, int]]] = {}

    def of(self, day: date, partition: Partition) -> str:
        """Fingerprint of the notes of a share that begin by a date; "" where there is none."""
        if partition not in self._shares:
            own = [one for one in self._said if partition.holds(one[0])]
            self._shares[partition] = [(since, _number("note", *one)) for one in own for since in one[1:2]]
        held = [number for since, number in self._shares[partition] if since <= day]
        return f"{sum(held) % _WRAP:032x}" if held else ""


def _file_terms(files: Mapping[str, Seen]) -> Iterable[tuple[int, int, int]]:
    for name, seen in files.items():
        if seen.fault is None:
            first, last = days_touched(seen)
            yield (first - _EPOCH).days, (last - _EPOCH).days, _number("file", name, seen.size)


def _row_terms(row: Cells) -> Iterable[tuple[int, int, int]]:
    """Digests of an enrolment row: its content while it holds, its end on the dates that can see it."""
    core = _number("row", row.patient, row.site, row.zone, row.gateway, row.device, row.valid_from_utc)
    start, end = row.interval if row.interval else (0, None)
    first = (start - WEST - AFTER - DAY) // DAY + 1
    last = 10**6 if end is None else (end + BEFORE + EAST) // DAY
    yield first, last, core
    if end is not None:
        yield (end - WEST - AFTER - DAY) // DAY + 1, last, _number("end", core, end)


def score_fingerprint(parts: Iterable[Part], notes: str) -> str:
    """Fingerprint of the scores of a date and share, by content: the days they look back on, the scores of
    the day before, and what is written down (:class:`Notes`).
    """
    return digest(
        [notes, *(f"{part.table} {part.day} {part.partition} {part.digest}" for part in sorted(parts))]
    )


def first_day(files: Mapping[str, Seen], rows: Sequence[Cells]) -> date | None:
    """Earliest date that has anything: a readable file touches it and somebody was enrolled.

    None for an empty lake.
    """
    starts = [seen.first_utc for seen in files.values() if seen.fault is None]
    enrolled = [row.interval[0] for row in rows if row.interval]
    if not starts or not enrolled:
        return None
    # a device whose clock said 1970 reopens no half century
    return from_utc(max(min(starts), min(enrolled)) - WEST).date()


@cache
def code_version(stage: str) -> str:
    """Digest of the source that computes a stage."""
    found = hashlib.sha256()
    for name in _SOURCES[stage]:
        package, _, rest = name.partition(".")
        root = Path(str(package_files(package))).joinpath(*rest.split(".") if rest else [])
        single = root.with_suffix(".py")
        paths = [single] if single.is_file() else sorted(root.rglob("*"))
        for path in (p for p in paths if p.suffix in (".py", ".sql", ".toml", ".json")):
            found.update(path.read_bytes())
    return found.hexdigest()[:32]


def digest(parts: Iterable[str]) -> str:
    """Digest of texts in order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _number(*parts: object) -> int:
    text = "\x00".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")
