"""What is wrong with telling people: channels that cannot be used, messages that wait or were given up."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from alerts.delivery.channels.settings import NAME
from alerts.errors import AlertsError, JournalError
from alerts.rules.pack import digest_of, read_text
from alerts.store.database import Database
from devices.clock import HOUR, MINUTE
from flows import settings
from flows.care.channels import fallback_of, from_settings
from flows.care.rules_in_force import STRAY
from flows.care.site_rules import own_text
from flows.clinic import Clinic
from flows.errors import UserError

#: A message due for longer has no worker.
WAITING: Final = 10 * MINUTE

_WAITING: Final = """
    select channel, count(*), min(not_before_utc) from outbox
    where (status = 'queued' and not_before_utc < :limit) or (status = 'leased' and lease_until_utc < :limit)
    group by channel order by channel
"""
_AGREED: Final = """
    select digest from rule_change where approved_utc is not null order by approved_utc desc, change limit 1
"""
_DEAD: Final = """
    select subject, count(*) from alert where rule = 'dead-letter' and status = 'open'
    group by subject order by subject
"""


def delivery(clinic: Clinic, now: int) -> Iterator[tuple[str, str]]:
    """Findings about channels and messages, in a journal that is one."""
    yield from _stray_rules(clinic)
    configured = replace(settings.from_environment(), home=clinic.home)
    try:
        channels = {channel.name for channel in from_settings(configured)}
        has_fallback = fallback_of(configured) is not None
    except (AlertsError, UserError) as fault:
        yield "alerts", f"{fault}: nothing can be delivered until that is mended"
        return
    if channels and not has_fallback:
        yield "alerts", f"nobody is told of dead letters: add [dead_letters] to {clinic.home / NAME}"
    for channel, count, since in _rows(clinic.alert_store, _WAITING, {"limit": now - WAITING}):
        hours = f"{count} messages by {channel} are due for {(now - since) / HOUR:.1f} h"
        known = f"is `flarecast alerts worker` running? try `flarecast alerts test-channel {channel}`"
        yield "alerts", f"{hours}: {known if channel in channels else 'no such channel is set up'}"
    for channel, count in _rows(clinic.alert_store, _DEAD, {}):
        yield (
            "alerts",
            f"{count} dead letter by {channel}, the last way there was: call whom it was for, then repair",
        )


def _stray_rules(clinic: Clinic) -> Iterator[tuple[str, str]]:
    try:
        text = own_text(clinic)
    except AlertsError as fault:
        yield "alerts", str(fault)
        return
    agreed = [row[0] for row in _rows(clinic.alert_store, _AGREED, {})]
    if text is not None and digest_of(text) not in (agreed or [digest_of(read_text(None)[1])]):
        yield "alerts", STRAY


def _rows(path: Path | str, query: str, given: dict[str, Any]) -> list[Any]:
    if isinstance(path, str):
        try:
            with Database(path) as database, database.transaction() as con:
                return list(con.execute(sa.text(query), given))
        except JournalError:
            # that it cannot be opened is said by the doctor already
            return []
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute(query, given).fetchall()
    except sqlite3.Error:
        # a journal that is none is said by the doctor already
        return []
