"""`flarecast lake`: compact, verify, release from quarantine, replay."""

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path

from analytics.store.snapshots import expire, held_files
from devices.clock import DAY, Clock, system_clock
from devices.observations import KINDS
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.plan import take_stock
from flows.night.restamp import restamp, up_to_date
from flows.progress import bar
from ingest.lake.batches import merge_batches
from ingest.lake.compaction import Compacted, compact
from ingest.lake.compaction_release import release
from ingest.lake.enrolment import read_enrolment_leniently
from ingest.lake.manifest import read_manifest
from ingest.lake.manifest_check import verify
from ingest.lake.raw import raw_files, replay


def run_compact(home: Path, *, keep_days: int, as_json: bool) -> int:
    """Compact the clinic's lake; exit code 1 when a file could not be used."""
    if keep_days < 1:
        raise UserError(f"--keep-days {keep_days}: readers need a day at least")
    done = compact_lake(_clinic(home), keep_us=keep_days * DAY, clock=system_clock)
    code = int(any(one.unreadable for one in done))
    if as_json:
        print(json.dumps([asdict(one) for one in done]))
        return code
    for one in done:
        print(
            f"{one.kind:14} {one.landing_files} landing files, {one.rows} rows, {one.duplicates} duplicates"
            f" -> {one.parts_written} files written; {one.files_deleted} old ones deleted"
        )
        for site, night in one.reopened:
            print(f"  reopened {night} of {site}")
        for words in one.unreadable:
            print(f"  NOT COMPACTED, restore it or move it away: {words}")
    if not done:
        print("nothing to compact")
    return code


def compact_lake(clinic: Clinic, *, keep_us: int, clock: Clock) -> list[Compacted]:
    """Delete snapshots older than `keep_us`, compact, and say what was done with which kind.

    Nothing is published: the night may have been killed half-way, and what it left is not for
    readers. The snapshots that are kept go on naming the files they were made of, and those stay.
    """
    expire(clinic.published, clock() - keep_us)
    with clinic.alone("compaction"), clinic.derived.ledger() as ledger:
        before = take_stock(clinic, ledger)
        current, retired = up_to_date(ledger, before), _retired(clinic)
        done = compact(
            clinic.lake,
            # of somebody whose line is wrong the site is not known; that stops nobody else's days
            read_enrolment_leniently(clinic.enrolment_path)[0],
            clock=clock,
            keep_us=keep_us,
            held=held_files(clinic.published),
        )
        # what landed after the first look and was compacted at once has been in no night
        if _retired(clinic) - retired <= before.seen.keys():
            restamp(ledger, before, take_stock(clinic, ledger), current)
    merge_batches(clinic.lake, clock())
    return [one for one in done if one.landing_files or one.files_deleted or one.unreadable]


def _retired(clinic: Clinic) -> set[str]:
    """Files that compaction has replaced."""
    return {name for kind in KINDS for name in read_manifest(clinic.lake.root, kind).retired}


def run_verify(home: Path, *, as_json: bool) -> int:
    """Print what is wrong with the lake's files; exit code 1 when anything is."""
    found = verify(_clinic(home).lake)
    if as_json:
        print(json.dumps(found))
    else:
        print("\n".join(found) if found else "every file is what the manifests say")
    return 1 if found else 0


def run_release(home: Path, *, has_ahead: bool) -> int:
    """Store what quarantine holds of devices that are enrolled now, `has_ahead`: and what is past now."""
    clinic = _clinic(home)
    samples = release(clinic.lake, clinic.enrolment(), clock=system_clock, has_ahead=has_ahead)
    print(f"{samples} samples released from quarantine")
    return 0


def run_replay(
    home: Path, first: date | None, last: date | None, *, gateway: str | None, as_json: bool
) -> int:
    """Read the messages kept of these days again; what is there already stays as it is."""
    if first is not None and last is not None and first > last:
        raise UserError(f"--from {first} is after --to {last}")
    clinic = _clinic(home)
    files = raw_files(clinic.lake, first, last)
    with bar() as shown:
        task = shown.add_task("replay", total=len(files))
        done = replay(
            clinic.lake,
            clinic.enrolment(),
            files,
            now=system_clock(),
            gateway=gateway,
            on_file=lambda: shown.advance(task),
        )
    is_known = gateway is None or gateway in {row.gateway for row in clinic.enrolment().rows}
    if not is_known and not done.messages and not done.released:
        raise UserError(f"no gateway {gateway} is known: it is in no row of the enrolment and sent nothing")
    if as_json:
        print(json.dumps(vars(done)))
        return 0
    print(
        f"{done.messages} messages of {len(files)} files read again: {done.stored.total()} samples,"
        f" {done.released} rows out of quarantine, {done.still_refused} still refused"
    )
    return 0


def _clinic(home: Path) -> Clinic:
    clinic = Clinic(home)
    if not clinic.has_lake():
        raise UserError(f"no lake at {clinic.lake_place}: set --home or FLARECAST_HOME")
    return clinic
