"""A dead man's switch outside Prefect: is there a fresh snapshot? A file and a clock, nothing else."""

import json
from pathlib import Path
from typing import Final

from devices.clock import HOUR, Clock
from devices.durable import replace_file
from flows.clinic import Clinic

#: A night a day, and two hours for it.
LIMIT: Final = 26 * HOUR
SERVED: Final = "served.json"
#: What a mark that cannot be read says: as old as can be.
UNREADABLE: Final = 0


def begin(clinic: Clinic, clock: Clock) -> None:
    """Somebody runs the schedules here: from now on silence is a fault."""
    path = clinic.home / SERVED
    if not path.exists():
        replace_file(path, json.dumps({"since_utc": clock()}))


def fault(clinic: Clinic, now: int, limit: int = LIMIT) -> str | None:
    """What is wrong with the last snapshot; None when it is fresh, or none is expected here."""
    since = mark(clinic.watermark_path, "utc")
    begun = mark(clinic.home / SERVED, "since_utc")
    if since is None and begun is None:
        return None
    if since == UNREADABLE:
        return (
            f"{clinic.watermark_path} cannot be read: when a night was last published is not known; "
            "the next night writes it anew"
        )
    if since is None and begun == UNREADABLE:
        return (
            f"{clinic.home / SERVED} cannot be read: since when a night is owed is not known; "
            "delete it and start `flarecast serve` again"
        )
    last = max(since or 0, begun or 0) if since is None else since
    if now - last <= limit:
        return None
    hours = (now - last) / HOUR
    if since is None:
        return f"no night was published since `flarecast serve` began {hours:.0f} h ago: look at its log"
    return (
        f"the last snapshot is {hours:.0f} h old: is `flarecast serve` running? "
        "`flarecast nightly --date` computes a night without it"
    )


def mark(path: Path, name: str) -> int | None:
    """Instant that a small file keeps, microseconds UTC; None without the file."""
    try:
        return int(json.loads(path.read_text())[name])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError):
        return UNREADABLE
