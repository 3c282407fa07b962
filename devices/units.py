"""Units of every quantity, as UCUM codes, and the one RR tick conversion."""

from typing import Final

MILLISECOND: Final = "ms"
SECOND: Final = "s"
MINUTE: Final = "min"
PER_MINUTE: Final = "/min"
STEPS: Final = "{steps}"
STEPS_PER_DAY: Final = "{steps}/d"
PERCENT: Final = "%"
SCORE: Final = "{score}"
COUNT: Final = "{#}"
CODE: Final = "{code}"
NONE: Final = ""

#: The Heart Rate Service counts RR intervals in 1/1024 s (Bluetooth GSS 3.115).
RR_TICKS_PER_SECOND: Final = 1024
#: 65,535 ticks, the longest RR interval a u16 can say, is 63,999 ms.
RR_MAX_MS: Final = 63_999


def ticks_to_ms(ticks: int) -> int:
    """RR interval in 1/1024 s -> nearest whole millisecond."""
    return (ticks * 1000 + 512) // RR_TICKS_PER_SECOND


def ms_to_ticks(ms: int) -> int:
    """RR interval in ms -> nearest 1/1024 s.

    A millisecond is longer than a tick, so ``ticks_to_ms(ms_to_ticks(x)) == x``
    for every x up to :data:`RR_MAX_MS`.
    """
    return (ms * RR_TICKS_PER_SECOND + 500) // 1000
