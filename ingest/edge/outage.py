"""A time without a wearable: since when, and why, until it is heard again or the gateway ends."""

from typing import Final

from devices.drivers.session import Gap

NOT_YET: Final = "not yet connected"
NOT_RUNNING: Final = "gateway was not running"
STOPPED: Final = "gateway stopped"


class Outage:
    """What is put on record when it ends, each time once.

    Parameters
    ----------
    since_utc : int
        Beginning, microseconds UTC.
    reason : str
        Why nothing is heard so far.
    """

    def __init__(self, since_utc: int, reason: str) -> None:
        self._since_utc = since_utc
        self._reasons = [reason]
        self._is_open = True

    @property
    def reason(self) -> str | None:
        """Why nothing is heard, in words; ``None`` while the wearable is heard."""
        return "; ".join(self._reasons) if self._is_open else None

    def note(self, reason: str) -> None:
        """Add a reason, once."""
        # what became known says more than that it has just begun
        self._reasons = [each for each in self._reasons if each not in (NOT_YET, reason)]
        self._reasons.append(reason)

    def begin(self, since_utc: int, reason: str) -> None:
        """The wearable was heard until `since_utc`, and is no more; one that goes on only gets the reason."""
        if not self._is_open:
            self._since_utc, self._reasons, self._is_open = since_utc, [], True
        self.note(reason)

    def end(self, at_utc: int) -> Gap | None:
        """Heard again, or given up: the gap it was; ``None`` when there was none."""
        if not self._is_open:
            return None
        gap = Gap(min(self._since_utc, at_utc), at_utc, "; ".join(self._reasons))
        self._is_open = False
        return gap
