"""Time that passes only while everybody waits: no machine is too slow for it, and no test waits for it."""

import asyncio
from typing import Any

#: What a turn of the loop takes: who asks again and again sees time pass.
TURN_S = 1e-6


class SimulatedTime(asyncio.SelectorEventLoop):
    """An event loop whose clock goes on to the next timer when nothing else is left to do.

    For what lives in this loop alone: a thread, a process or the other end of a real socket
    knows nothing of its time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._events_within = self._selector.select
        self._selector.select = self._select

    def time(self) -> float:
        return self._now_s

    def _select(self, timeout: float | None = None) -> Any:
        events = self._events_within(None if timeout is None else 0)
        if not events and timeout:
            self._now_s += timeout
        self._now_s += TURN_S
        return events
