"""What the worker asks of a channel."""

from typing import Protocol

from alerts.engine.outbox import Message


class Channel(Protocol):
    """One way to tell somebody."""

    @property
    def name(self) -> str:
        """Name by which routes refer to it."""
        ...

    def send(self, message: Message, attempt_utc: int) -> None:
        """Deliver once; returns when the receiver has accepted it.

        Raises
        ------
        TransientFailure
            When another attempt may succeed.
        PermanentFailure
            When none will.
        """
        ...
