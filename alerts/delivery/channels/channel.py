"""What the worker asks of a channel."""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, Literal, Protocol

from alerts.delivery.notice import Notice
from devices.clock import SECOND, to_utc

#: No attempt takes longer; well below the outbox's lease, so that no two workers hold one message.
LONGEST_ATTEMPT_S: Final = 45.0
#: Of a single answer within an attempt.
TIMEOUT_S: Final = 8.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt.

    Parameters
    ----------
    kind : str
        sent; transient: another attempt may succeed; permanent: none by this channel will.
    reason : str
        Short, without body, address or secret: it is stored and logged.
    retry_after_s : float, optional
        What the receiver asked for, in seconds.
    is_unsure : bool
        Whether the message may have arrived all the same: it was sent, and no answer came.
    """

    kind: Literal["sent", "transient", "permanent"]
    reason: str = ""
    retry_after_s: float | None = None
    is_unsure: bool = False


SENT: Final = Outcome("sent")


def transient(reason: str, retry_after_s: float | None = None) -> Outcome:
    """Another attempt may succeed."""
    return Outcome("transient", reason, retry_after_s)


def unsure(reason: str) -> Outcome:
    """Another attempt may succeed, and this one perhaps has."""
    return Outcome("transient", reason, is_unsure=True)


def permanent(reason: str) -> Outcome:
    """The same message will never be accepted by this channel."""
    return Outcome("permanent", reason)


class Channel(Protocol):
    """One way to tell somebody."""

    @property
    def name(self) -> str:
        """Name by which routes refer to it."""
        ...

    @property
    def is_clinical(self) -> bool:
        """Whether it may be told who and why; of the others nobody asks."""
        ...

    @property
    def recipients(self) -> tuple[str, ...]:
        """Those it has an address of; empty when one address serves all."""
        ...

    def send(self, notice: Notice, attempt_utc: int) -> Outcome:
        """Make one attempt; sent means that the receiver has accepted it."""
        ...


def retry_after_s(value: str | None, attempt_utc: int) -> float | None:
    """Seconds of a Retry-After header, whether it is a number or a date; None when it is neither."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    # "-0000" gives a date without a zone: HTTP has no other than GMT, anything else is not one
    return max(0.0, (to_utc(moment) - attempt_utc) / SECOND) if moment.tzinfo else None
