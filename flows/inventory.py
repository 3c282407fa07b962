"""What a night depends on: the lake files that touch it, the enrolment and the code.

Each landing file's time span is read from its footer once and remembered. A
night's features depend on the files that overlap it; its scores depend on the
features of that night and every night before. Equal fingerprints mean there is nothing to do,
and a late file changes the fingerprint of exactly the nights it touches.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from importlib.resources import files as package_files
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.features.sleep import REACH_AFTER, REACH_BEFORE
from devices.clock import DAY, HOUR, from_utc, to_utc
from devices.durable import replace_file
from flows.clinic import read_json
from flows.errors import UserError
from ingest.lake.manifest import check_version

#: The widest offsets of any zone, UTC+14 and UTC-12.
EAST, WEST = 14 * HOUR, 12 * HOUR
#: A date reads sleep from a day before its local midnight (the longest sleep and the time awake in bed
#: before it) until some hours after its end. A file is known by the starts of its rows: an epoch of sleep
#: or a run of beats lasts up to three hours more, a step interval a day.
BEFORE, AFTER = max(REACH_BEFORE + 3 * HOUR, DAY), REACH_AFTER

Span = tuple[int, int]


def file_span(path: Path) -> Span:
    """First start and last start of a lake file, microseconds UTC, from its footer.

    Raises
    ------
    UserError
        When the file cannot be read: it is named, nothing is computed without it.
    """
    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"lake file {path} cannot be read ({error}): restore it, or move it away") from None
    written = (metadata.metadata or {}).get(b"flarecast.schema_version", b"1")
    check_version(path, int(written))
    column = metadata.schema.names.index("start_utc")
    statistics = [metadata.row_group(i).column(column).statistics for i in range(metadata.num_row_groups)]
    if not statistics or any(s is None or not s.has_min_max for s in statistics):
        return (0, 2**62)
    return to_utc(min(s.min for s in statistics)), to_utc(max(s.max for s in statistics))


class Manifest:
    """Fingerprints of the nights done and spans of the files seen, in one JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        stored = read_json(path) if path.exists() else {}
        self._spans: dict[str, list[int]] = stored.get("spans", {})
        self._done: dict[str, dict[str, str]] = stored.get("done", {})

    def spans(self, lake_files: Mapping[str, Sequence[Path]]) -> dict[Path, Span]:
        """Span of every file, read from its footer when not remembered."""
        found: dict[Path, Span] = {}
        for path in (path for paths in lake_files.values() for path in paths):
            known = self._spans.get(path.name)
            found[path] = (known[0], known[1]) if known else file_span(path)
        self._spans = {path.name: list(span) for path, span in found.items()}
        return found

    def is_done(self, stage: str, day: date, fingerprint: str) -> bool:
        """Whether the stage was finished for that night with this fingerprint."""
        return self._done.get(stage, {}).get(day.isoformat()) == fingerprint

    def mark(self, stage: str, fingerprints: Mapping[date, str]) -> None:
        """Remember finished nights."""
        self._done.setdefault(stage, {}).update({day.isoformat(): text for day, text in fingerprints.items()})

    def save(self) -> None:
        """Write atomically; a crash before leaves the old manifest and the work is redone."""
        replace_file(self.path, json.dumps({"spans": self._spans, "done": self._done}))


def feature_fingerprints(
    spans: Mapping[Path, Span], enrolment_digest: str, days: Iterable[date]
) -> dict[date, str]:
    """Fingerprint of the inputs of each night's features."""
    epoch = date(1970, 1, 1)
    result: dict[date, str] = {}
    for day in days:
        midnight = (day - epoch).days * DAY
        start = midnight - BEFORE - EAST
        end = midnight + DAY + WEST + AFTER
        names = sorted(p.name for p, (low, high) in spans.items() if low < end and high >= start)
        result[day] = _digest([code_version(), enrolment_digest, day.isoformat(), *names])
    return result


def score_fingerprints(features: Mapping[date, str], notes: Mapping[date, str]) -> dict[date, str]:
    """Fingerprint of each night's scores: the features of that night and of every night before it.

    `notes` has the fingerprint of what somebody wrote down that holds by that night.
    """
    result: dict[date, str] = {}
    chained = ""
    for day in sorted(features):
        chained = _digest([chained, features[day], notes[day]])
        result[day] = chained
    return result


def first_day(spans: Mapping[Path, Span]) -> date | None:
    """Earliest date any file can touch; ``None`` for an empty lake."""
    starts = [low for low, _ in spans.values()]
    return from_utc(min(starts) - WEST).date() if starts else None


def file_digest(path: Path) -> str:
    """SHA-256 of a small file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def code_version() -> str:
    """Digest of the source that computes: another formula is another night."""
    digest = hashlib.sha256()
    for package in ("devices", "analytics"):
        root = Path(str(package_files(package)))
        for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".sql", ".toml")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
