"""The small words a rule is written in: `<= -1.0`, `36h`, `07:30`."""

import operator
import re
from collections.abc import Callable
from datetime import time
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from devices.clock import DAY, HOUR, MINUTE, SECOND

_COMPARE: Final[dict[str, Callable[[Any, float], Any]]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
}
_BOUND: Final = re.compile(r"(<=|>=|<|>)\s*(-?\d{1,12}(?:\.\d{1,9})?)")
_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_DURATION: Final = re.compile(r"(\d{1,6})([smhd])")
_WALL_CLOCK: Final = re.compile(r"\d\d:\d\d")


class Bound(NamedTuple):
    """One side of a threshold: `<= -1.0`."""

    comparison: str
    value: float

    @property
    def is_upper(self) -> bool:
        """Whether values above the bound satisfy it."""
        return self.comparison.startswith(">")

    def holds(self, value: float) -> bool:
        """Whether the value satisfies the bound."""
        return _COMPARE[self.comparison](value, self.value)

    def holds_in(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where values satisfy the bound; NaN never does."""
        return _COMPARE[self.comparison](values, self.value)


@lru_cache(maxsize=1024)
def parse_bound(text: str) -> Bound:
    """Read ``<= -1.0``.

    Raises
    ------
    ValueError
        When the text is not a comparison and a number.
    """
    match = _BOUND.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a comparison (<, <=, >, >=) and a number")
    return Bound(match[1], float(match[2]))


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> int:
    """Microseconds of ``36h``, ``15m``, ``2d``.

    Raises
    ------
    ValueError
        When the text is not a whole number and one of s, m, h, d.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration like 15m, 36h or 2d")
    return int(match[1]) * _UNITS[match[2]]


def parse_wall_clock(text: str) -> time:
    """Local time of ``HH:MM``.

    Raises
    ------
    ValueError
        When the text is none.
    """
    if not _WALL_CLOCK.fullmatch(text):
        raise ValueError(f"{text!r} is not a time like 07:30")
    return time.fromisoformat(text)


def check_pair(enter: str, leave: str) -> None:
    """Check that `leave` lies strictly inside `enter`: a condition must be able to end, and not flutter.

    Raises
    ------
    ValueError
        Naming the field.
    """
    bounds: list[Bound] = []
    for name, text in (("enter", enter), ("exit", leave)):
        try:
            bounds.append(parse_bound(text))
        except ValueError as fault:
            raise ValueError(f"{name}: {fault}") from None
    begin, end = bounds
    if begin.is_upper == end.is_upper:
        raise ValueError(f"exit {leave!r} points the same way as enter {enter!r}")
    if (end.value >= begin.value) if begin.is_upper else (end.value <= begin.value):
        raise ValueError(f"exit {leave!r} does not lie strictly inside enter {enter!r}")
