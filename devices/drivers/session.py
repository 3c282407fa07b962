"""What a driver needs from a connection, and what it gives back.

Drivers are written against :class:`Session` and know neither radio nor spool. A
driver yields a :class:`Harvest` whenever it has something worth keeping; the
gateway makes it durable before the driver goes on.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from devices.errors import DevicesError
from devices.ids import DeviceId
from devices.observations import Observation, Sensor

#: `live`: the link is held and the wearable streams. `history`: the wearable
#: remembers; it is visited now and then and what is new is pulled.
Plan = Literal["live", "history"]


class UnansweredError(DevicesError):
    """The wearable refused a request, or did not answer it; a driver may go on without."""


class Notification(NamedTuple):
    """One notification as it came: payload and arrival, microseconds UTC of the gateway."""

    payload: bytes
    arrival_utc: int


class Beats(NamedTuple):
    """RR intervals (ms) without a time of their own, as one notification brought them.

    The gateway's beat clock turns them into an observation. `payload` is the
    notification itself, kept where it has to be refused.
    """

    arrival_utc: int
    rr_ms: tuple[int, ...]
    sensor: Sensor
    source: str
    payload: bytes = b""


class Gap(NamedTuple):
    """A time (microseconds UTC, half-open) for which nothing is known, and why, in words."""

    start_utc: int
    end_utc: int
    reason: str


class Rejected(NamedTuple):
    """Bytes that are not what they should be, kept with the reason in words."""

    kind: str
    reason: str
    payload: bytes


Item = Observation | Beats | Rejected


@dataclass(frozen=True, slots=True)
class Harvest:
    """Something to keep, in the order it came.

    Attributes
    ----------
    items : tuple
        Observations, beats and rejected bytes.
    cursors : mapping
        How far the wearable's memory has been read, by log (microseconds UTC);
        advanced in the same transaction that stores the items.
    notifications : int
        Streamed notifications that these items account for.
    gaps : tuple
        Times for which the wearable has nothing (more).
    """

    items: tuple[Item, ...]
    cursors: Mapping[str, int] = field(default_factory=dict[str, int])
    notifications: int = 0
    gaps: tuple[Gap, ...] = ()


class Stream(Protocol):
    """Notifications of one characteristic, from subscription to the end of the link."""

    async def take(self, timeout_s: float | None = None, *, gather_s: float = 0.0) -> list[Notification]:
        """All notifications that wait, oldest first; at least one.

        After the first, `gather_s` seconds more are waited, so that what comes
        together is stored together.

        Raises
        ------
        TimeoutError
            When none came within `timeout_s` seconds.
        Exception
            The session's error once the link is gone and all have been taken.
        """
        ...


class Session(Protocol):
    """A connected wearable."""

    @property
    def device(self) -> DeviceId:
        """Pseudonymous id of the wearable."""
        ...

    def now(self) -> int:
        """The gateway's clock, microseconds UTC."""
        ...

    def cursor(self, log: str) -> int | None:
        """How far `log` of this wearable has been read and stored; ``None`` before the first pull."""
        ...

    def has(self, characteristic: str) -> bool:
        """Whether the wearable offers the characteristic (128-bit text)."""
        ...

    async def read(self, characteristic: str) -> bytes:
        """Value of a characteristic.

        Raises
        ------
        UnansweredError
            When it is refused, or does not come in time.
        """
        ...

    async def write(self, characteristic: str, value: bytes) -> None:
        """Write a characteristic, with response where the wearable offers it."""
        ...

    def notifications(self, characteristic: str) -> AbstractAsyncContextManager[Stream]:
        """Subscription to a characteristic, for the time of the context."""
        ...


class Driver(Protocol):
    """How to talk to one model of wearable."""

    @property
    def name(self) -> str:
        """Registry name."""
        ...

    @property
    def plan(self) -> Plan:
        """Whether the link is held or the wearable is visited."""
        ...

    @property
    def services(self) -> tuple[str, ...]:
        """Services by which an advertisement is recognised (128-bit text)."""
        ...

    async def read_battery(self, session: Session) -> Harvest:
        """Battery level, for who pairs it; empty where it does not tell."""
        ...

    def run(self, session: Session) -> AsyncGenerator[Harvest]:
        """Harvests of one connection; ends when a history has been read."""
        ...
