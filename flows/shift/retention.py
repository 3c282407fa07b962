"""Retention by age: each kind of thing as long as the site's setting says, and no longer.

A file goes when nothing names it any more: raw observations when they are old enough and no
kept snapshot shows them, snapshots before the files they name, derived files when neither the
ledger nor a snapshot names them.
"""

import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from alerts.engine.evaluate import event_time, night_of
from alerts.engine.journal import Journal
from alerts.engine.retaining import (
    LEAST_ALERT_DAYS,
    LEAST_READING_DAYS,
    first_foldable,
    forget_alerts,
    forget_readings,
)
from analytics.store.ledger import Ledger
from analytics.store.snapshots import expire, held_files
from devices.clock import DAY, Clock, from_utc
from devices.observations import KINDS
from flows import settings
from flows.care.rules_in_force import rules_in_force
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night import plan as night_plan
from flows.night import shared_snapshot
from flows.night.snapshot import publish_snapshot
from flows.night.sweeping import sweep
from flows.object_store import open_objects
from flows.shift import backup
from flows.shift.legal_holds import read_holds
from ingest.lake.files import Lake

NAME: Final = "retention.toml"
#: Days each kind is kept; 0: for ever. Observation kinds may be named too.
USUAL: Final[Mapping[str, int]] = {
    "observations": 0,
    "raw": 14,
    "batches": 90,
    "quarantine": 365,
    "snapshots": 30,
    "reports": 365,
    # the newest stays, however old
    "backups": 90,
    # what the rules saw of each night; nights near that age and older are not judged any more
    "readings": 0,
    # closed alerts with their messages, steps, comments and outcomes; rows of the audit stay
    "alerts": 0,
}

#: Of the alert store: fewer days than these are refused.
LEAST: Final[Mapping[str, int]] = {"readings": LEAST_READING_DAYS, "alerts": LEAST_ALERT_DAYS}

#: Tables of what was sent, by the date of its arrival.
SENT: Final = ("raw", "batches", "quarantine")


@dataclass
class Kept:
    """What was deleted, by kind; whether a legal hold kept what patients sent."""

    deleted: dict[str, int]
    is_held: bool = False


def read_retention(home: Path) -> dict[str, int]:
    """Days by kind: the usual ones, replaced by `HOME/retention.toml`.

    Raises
    ------
    UserError
        An unreadable file, a kind there is none of, or a number of days that is none.
    """
    path = home / NAME
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    for kind, days in said.items():
        if kind not in USUAL and kind not in KINDS:
            raise UserError(
                f"{path}: there is nothing called {kind!r}; there are {', '.join(USUAL)} and kinds"
            )
        if not isinstance(days, int) or days < 0:
            raise UserError(f"{path}: {kind}: {days!r} is not a number of days (0: for ever)")
        if 0 < days < LEAST.get(kind, 0):
            raise UserError(
                f"{path}: {kind}: {days} days are too few: at least {LEAST[kind]}, or 0: for ever"
            )
    return dict(USUAL) | said


def retain(clinic: Clinic, *, clock: Clock) -> Kept:
    """Delete what is older than its setting.

    Raises
    ------
    UserError
        A setting that is none, holds that cannot be read, or a night or compaction at work.
    """
    days, now = read_retention(clinic.home), clock()
    is_held = bool(read_holds(clinic.home))
    if is_held:
        # a file is of many patients: one who is under a hold keeps it
        days |= dict.fromkeys((*KINDS, *SENT, *LEAST), 0)
    today = from_utc(now).date()
    deleted: dict[str, int] = {}
    with clinic.alone("retention"), clinic.lake.alone("retention"), clinic.derived.ledger() as ledger:
        if days["snapshots"]:
            before = now - days["snapshots"] * DAY
            deleted["snapshots"] = expire(clinic.published, before)
            if (place := settings.snapshot_place()) is not None:
                deleted["shared snapshots"] = shared_snapshot.expire(open_objects(place), before)
        observations = _forget_observations(clinic, today, days)
        if observations:
            oldest = max(limit for limit, _ in observations.values())
            frozen = max(oldest + timedelta(days=3), night_plan.frozen_before(ledger))
            # before anything goes: a date whose raw observations are gone is never computed again
            ledger.keep_fact(night_plan.FROZEN_BEFORE, frozen.isoformat())
            stock = night_plan.take_stock(clinic, ledger)
            if clinic.current.exists():
                publish_snapshot(clinic, ledger, stock, clock)
            named = held_files(clinic.published)
            for kind, (_, paths) in observations.items():
                doomed = [path for path in paths if path.resolve() not in named]
                clinic.lake.remove(doomed)
                deleted[kind] = len(doomed)
        deleted |= _forget_in_store(clinic, ledger, days, clock)
        for kind in SENT:
            deleted[kind] = _by_arrival(clinic.lake, kind, today, days[kind])
        deleted["derived"] = sweep(clinic, ledger)
        deleted["reports"] = _old_reports(clinic, now, days["reports"])
        deleted["backups"] = _old_backups(today, days["backups"])
    return Kept({kind: count for kind, count in deleted.items() if count}, is_held)


def _forget_observations(
    clinic: Clinic, today: date, days: Mapping[str, int]
) -> dict[str, tuple[date, list[Path]]]:
    """Old compacted files by kind, taken out of the manifest: the limit and the files."""
    found: dict[str, tuple[date, list[Path]]] = {}
    lake = clinic.lake
    for kind in KINDS:
        own = days.get(kind, days["observations"])
        limit = today - timedelta(days=own)
        manifest = lake.manifest(kind)
        old = {name: part for name, part in manifest.parts.items() if own and part.date < limit.isoformat()}
        if old:
            for name in old:
                del manifest.parts[name]
            lake.publish(manifest)
            found[kind] = limit, [clinic.lake.root / part.path for part in old.values()]
    return found


def _forget_in_store(clinic: Clinic, ledger: Ledger, days: Mapping[str, int], clock: Clock) -> dict[str, int]:
    """Old readings and closed alerts, each kind in one transaction."""
    done: dict[str, int] = {}
    if not any(days[kind] for kind in LEAST) or not clinic.has_alert_store():
        return done
    now = clock()
    with Journal(clinic.alert_store, clock) as journal:
        pack = rules_in_force(clinic, journal)
        if days["readings"]:
            limit = event_time(from_utc(now).date() - timedelta(days=days["readings"]))
            first = max(night_of(first_foldable(limit)), night_plan.judged_from(ledger))
            # before anything goes: a night whose readings are gone is never judged again
            ledger.keep_fact(night_plan.JUDGED_FROM, first.isoformat())
            with journal.transaction() as con:
                done["readings"] = forget_readings(con, pack, limit, now)
        if days["alerts"]:
            with journal.transaction() as con:
                done["alerts"] = forget_alerts(con, pack, now - days["alerts"] * DAY, now)
    return done


def _by_arrival(lake: Lake, kind: str, today: date, days: int) -> int:
    limit = f"{kind}/dt={today - timedelta(days=days)}"
    doomed = [lake.root / name for name in lake.names(kind) if days and name < limit]
    lake.remove(doomed)
    return len(doomed)


def _old_reports(clinic: Clinic, now: int, days: int) -> int:
    doomed = [
        path
        for path in clinic.reports.glob("*.json")
        if days and now - path.stat().st_mtime_ns // 1000 > days * DAY
    ]
    for path in doomed:
        path.unlink()
    return len(doomed)


def _old_backups(today: date, days: int) -> int:
    """Backups by the date in their name; what a kept one shares with them is linked and stays."""
    place = settings.from_environment().backup
    newest = backup.latest(place) if place is not None and place.is_dir() else None
    if not days or place is None or newest is None:
        return 0
    limit = f"{today - timedelta(days=days):%Y%m%d}"
    doomed = [path.parent for path in place.glob(f"*/{backup.LIST}") if path.parent.name[:8] < limit]
    doomed = [path for path in doomed if path != newest[0]]
    for path in doomed:
        # without its list it is no backup any more, should this be the last thing that happens
        (path / backup.LIST).unlink()
        shutil.rmtree(path)
    return len(doomed)
