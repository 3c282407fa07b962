"""What runs by itself and when, in the zone of the site; `HOME/schedules.toml` says otherwise."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from flows.errors import UserError

NAME: Final = "schedules.toml"
#: Flow -> minute, hour, day of month, month and weekday (cron), by the clocks of the site.
USUAL: Final = {
    "nightly": "30 4 * * *",
    "erase": "15 5 * * *",
    "compact": "30 5 * * *",
    "backup": "0 6 * * *",
    "retention": "30 6 * * sun",
    "recalibrate": "0 7 * * sun",
    "quality_review": "30 7 1 * *",
    # runs when somebody asks for it, in Prefect's pages
    "backfill": "",
}


@dataclass(frozen=True)
class Schedules:
    """Cron lines by flow (none: it runs when somebody asks for it), and the zone they are meant in."""

    zone: str
    cron: Mapping[str, str]


def read_schedules(home: Path, zone: str) -> Schedules:
    """The usual ones, replaced or switched off (``flow = ""``) by `HOME/schedules.toml`.

    Raises
    ------
    UserError
        An unreadable file, a flow there is none of, a line that is no cron line, or an unknown zone.
    """
    path = home / NAME
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise UserError(f"FLARECAST_ZONE: {zone!r} is not an IANA time zone") from None
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    unknown = sorted(said.keys() - USUAL.keys())
    if unknown:
        raise UserError(f"{path}: there is no flow {unknown[0]!r}; there are {', '.join(USUAL)}")
    for flow, line in said.items():
        if not isinstance(line, str) or (line and len(line.split()) != 5):
            raise UserError(f"{path}: {flow}: {line!r} is not a cron line of five fields")
        if line and not _is_cron(line):
            # Prefect refuses it when the runner starts, and then nothing at all is scheduled
            raise UserError(f"{path}: {flow}: {line!r} is no cron line: what is not a time in it?")
    return Schedules(zone, USUAL | said)


def _is_cron(line: str) -> bool:
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=line)
    except ValueError:
        return False
    return True


def night_of(scheduled: datetime, zone: str) -> date:
    """Night that a run of an instant is about: the one that ends on the site's date before its own.

    A run at half past four brings yesterday up to date: the whole local day is over and the
    night that began on it has a date of its own.
    """
    return scheduled.astimezone(ZoneInfo(zone)).date() - timedelta(days=1)
