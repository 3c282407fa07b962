"""`flarecast backup | restore | retention | backfill`: what the night shift does beside its nights."""

from datetime import date
from pathlib import Path

from devices.clock import system_clock
from flows import backup, nightly, settings
from flows.clinic import Clinic
from flows.errors import UserError
from flows.nightly_command import in_words
from flows.progress import stages
from flows.retention import retain


def run_backup(home: Path, target: Path) -> int:
    """Make a backup; returns the exit code."""
    clinic = _clinic(home)
    done = backup.backup(clinic, target, clock=system_clock)
    print(f"{done.folder}: {done.files} files, {done.bytes_copied / 2**20:.1f} MiB copied, the rest linked")
    if isinstance(clinic.alert_store, str):
        print(
            "NOT in it: the alerts, they are in PostgreSQL (FLARECAST_ALERT_STORE): back that up with pg_dump"
        )
    return 0


def run_restore(folder: Path, home: Path) -> int:
    """Make a home of a backup; returns the exit code."""
    done = backup.restore(folder, home, clock=system_clock)
    print(f"{done.folder}: {done.files} files as they were; erase again whoever was erased since (erasures/)")
    return 0


def run_retention(home: Path) -> int:
    """Delete what is older than the site's settings; returns the exit code."""
    kept = retain(_clinic(home), clock=system_clock)
    for kind, count in kept.deleted.items():
        print(f"{kind:14} {count} files deleted")
    if not kept.deleted:
        print("nothing is older than retention.toml says")
    return 0


def run_backfill(home: Path, first: date, last: date) -> int:
    """Compute a range of nights by today's code and tell nobody; returns the exit code."""
    if first > last:
        raise UserError(f"--from {first} is after --to {last}")
    configured = settings.from_environment()
    with stages() as runner:
        report = nightly.run(
            Clinic(_clinic(home).home, None, configured.partitions),
            first,
            last,
            clock=system_clock,
            runner=runner,
            has_alerts=False,
        )
    print(in_words(report.to_json() | {"seconds": "-"}))
    return 1 if report.problems else 0


def _clinic(home: Path) -> Clinic:
    if not (home / "lake").is_dir():
        raise UserError(f"no clinic folder with a lake at {home}: set --home or FLARECAST_HOME")
    return Clinic(home)
