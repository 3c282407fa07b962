"""Quiet hours: wall-clock times at the recipient, converted once per question. Pure."""

from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from devices.clock import from_utc, to_utc

#: Days looked back and ahead for the window an instant lies in; clock changes move it by hours.
_AROUND: Final = (-1, 0, 1)


def quiet_end(now: int, zone: ZoneInfo, begins: time, ends: time) -> int | None:
    """End of the quiet hours `now` lies in; None outside them.

    Parameters
    ----------
    now : int
        Microseconds UTC.
    zone : ZoneInfo
        Where the recipient is.
    begins, ends : time
        Local wall-clock times; `ends` before `begins` is on the next day, equal ones are never.
    """
    if begins == ends:
        return None
    local = from_utc(now, zone)
    for shift in _AROUND:
        day = local.date() + timedelta(days=shift)
        start = to_utc(datetime.combine(day, begins, zone))
        last = day + timedelta(days=1) if ends <= begins else day
        # a clock that is set back shows the end twice: quiet until the second
        end = max(to_utc(datetime.combine(last, ends, zone).replace(fold=fold)) for fold in (0, 1))
        if start <= now < end:
            return end
    return None


def read_wall_clock(text: str) -> time:
    """Local time of ``HH:MM``.

    Raises
    ------
    ValueError
        When the text is none.
    """
    found = time.fromisoformat(text)
    if len(text) != len("HH:MM") or found.tzinfo is not None:
        raise ValueError(f"{text!r} is not HH:MM")
    return found
