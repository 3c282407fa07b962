"""How much a spool may keep, and what is said before it can keep no more."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from devices.clock import DAY, Clock

#: The earliest instant the wire accepts (devices.observations.Utc), microseconds UTC.
EARLIEST_UTC: Final = 1_000_000_000_000_000


@dataclass(frozen=True)
class SpoolLimits:
    """Limits of one spool.

    Attributes
    ----------
    most_bytes : int
        Content of the database; at this size nothing more is accepted. 2 GiB are
        years of one household.
    reserve_bytes : int
        Free space left to the disk: below it nothing more is accepted, so that there
        is room to seal, send and free what is kept.
    alarm : float
        Part of `most_bytes` from which on the spool says that it fills.
    alarm_age : int
        Age of the oldest unconfirmed observation from which on the spool says so,
        microseconds. It never refuses for age: to refuse the new makes nothing younger,
        and a clock that jumps must not cost an observation.
    """

    most_bytes: int = 2 * 2**30
    reserve_bytes: int = 32 * 2**20
    alarm: float = 0.8
    alarm_age: int = 7 * DAY


@dataclass(frozen=True)
class SpoolState:
    """How full the spool is; `word` says in plain words what is wrong, empty when nothing is."""

    state: Literal["ok", "alarm", "full"] = "ok"
    word: str = ""


def judge(
    limits: SpoolLimits, folder: Path, *, used: int, oldest_utc: int | None, clock: Clock
) -> SpoolState:
    """State of a spool of `used` bytes whose oldest unconfirmed observation came at `oldest_utc`."""
    free = shutil.disk_usage(folder).free
    if used >= limits.most_bytes:
        return SpoolState("full", f"the spool has reached its limit of {limits.most_bytes} bytes")
    if free < limits.reserve_bytes:
        return SpoolState("full", f"the disk has {free} bytes left, less than {limits.reserve_bytes}")
    if used >= limits.alarm * limits.most_bytes:
        return SpoolState("alarm", f"the spool holds {used} of {limits.most_bytes} bytes")
    if free < 2 * limits.reserve_bytes:
        return SpoolState("alarm", f"the disk has {free} bytes left")
    if oldest_utc is not None and clock() - oldest_utc >= limits.alarm_age:
        days = (clock() - oldest_utc) // DAY
        return SpoolState("alarm", f"the oldest observation has waited {days} days for the clinic")
    return SpoolState()
