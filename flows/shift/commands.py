"""`flarecast backup | restore | retention | backfill | recalibrate | review`: beside the nights."""

from datetime import date
from pathlib import Path

from devices.clock import system_clock
from flows import settings
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.command import check_has_been, check_has_begun, in_words
from flows.progress import stages
from flows.shift import backup
from flows.shift.backfill import backfill
from flows.shift.quality_review import latest_month, review
from flows.shift.recalibrate import recalibrate
from flows.shift.restore import restore
from flows.shift.retention import LEAST, retain
from flows.words import counted
from ingest.lake.remote import RemoteLake


def run_backup(home: Path, target: Path) -> int:
    """Make a backup; returns the exit code."""
    clinic = _clinic(home)
    done = backup.backup(clinic, target, clock=system_clock)
    print(f"{done.folder}: {done.files} files, {done.bytes_copied / 2**20:.1f} MiB copied, the rest linked")
    if target.stat().st_dev == home.stat().st_dev:
        print(f"it lies on the same file system as {home}: a disk that dies takes both")
    if (home / "ca").is_dir():
        print(f"NOT in it: {home / 'ca'}, whose key stays where it is: keep a copy locked away")
    if isinstance(clinic.lake, RemoteLake):
        print(f"NOT in it: the lake, a list of it only: replicate the bucket of {clinic.lake_place}")
    return 0


def run_check(target: Path) -> int:
    """Read the newest backup and say what is damaged; exit code 1 when anything is."""
    found = backup.latest(target)
    if found is None:
        raise UserError(f"no backup below {target}")
    wrong = backup.check(found[0])
    print("\n".join(f"missing or changed: {found[0] / name}" for name in wrong) or f"{found[0]}: whole")
    return 1 if wrong else 0


def run_restore(folder: Path, home: Path, erasures: Path | None, *, is_damage_left: bool) -> int:
    """Make a home of a backup; exit code 1 when somebody erased is back in it, or a file was left out."""
    done = restore(folder, home, erasures=erasures, is_damage_left=is_damage_left, clock=system_clock)
    print(f"{home}: {counted(done.files, 'file')} as they were")
    for name in done.lost:
        print(f"damaged in the backup and left out: {name.partition('/')[2]}")
    for patient, reference in done.back.items():
        print(f"{patient} was erased ({reference}): `flarecast erase --patient {patient} --home {home}`")
    if erasures is None:
        print("erase again whoever was erased since: --erasures OLD/erasures would have said whom")
    return 1 if done.back or done.lost else 0


def run_retention(home: Path) -> int:
    """Delete what is older than the site's settings; returns the exit code."""
    kept = retain(_clinic(home), clock=system_clock)
    for kind, count in kept.deleted.items():
        print(f"{kind:14} {count} {'deleted' if kind in LEAST else 'files deleted'}")
    if kept.is_held:
        print("a legal hold keeps what was sent, what the rules saw and closed alerts, whatever their age")
    if not kept.deleted:
        print("nothing is older than retention.toml says")
    return 0


def run_backfill(home: Path, first: date, last: date) -> int:
    """Compute a range of nights by today's code and tell nobody; returns the exit code."""
    check_has_been(last, system_clock)
    check_has_begun(_clinic(home), first)
    configured = settings.from_environment()
    with stages() as runner:
        clinic = Clinic(_clinic(home).home, None, configured.partitions)
        report = backfill(clinic, first, last, clock=system_clock, runner=runner)
    print(in_words(report.to_json() | {"seconds": "-"}))
    return 1 if report.problems else 0


def run_recalibrate(home: Path) -> int:
    """Drift of the active model and a candidate; exit code 1 when the active one was frozen."""
    found = recalibrate(_clinic(home), clock=system_clock)
    print("\n".join(found.words()))
    return 1 if found.has_drifted else 0


def run_review(home: Path, month: str | None) -> int:
    """Write the quality review of a month, by default the one before this; returns the exit code."""
    print(review(_clinic(home), month or latest_month(system_clock), clock=system_clock))
    return 0


def _clinic(home: Path) -> Clinic:
    clinic = Clinic(home)
    if not clinic.has_lake():
        raise UserError(f"no lake at {clinic.lake_place}: set --home or FLARECAST_HOME")
    return clinic
