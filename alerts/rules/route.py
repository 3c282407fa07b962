"""Whom a rule tells, in which order, in whose working hours."""

from typing import Final, Literal

import msgspec

from alerts.rules.bounds import parse_duration, parse_wall_clock

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: How a step names whom it tells: everybody of a role, the one on call for it, a person, a shared inbox.
WHOM: Final = ("role", "oncall", "staff", "inbox")


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Service hours: when the team answers. Service levels are counted in them."""

    id: str
    zone: str
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...]
    from_: str = msgspec.field(name="from")
    to: str
    #: Public holidays: a country, or a country and its part (`DE-BE`).
    holidays: str | None = None

    def __post_init__(self) -> None:
        if not self.days:
            raise ValueError("days: a service without one never answers")
        if parse_wall_clock(self.from_) >= parse_wall_clock(self.to):
            raise ValueError("to is not later than from")


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step of an escalation chain: `to` whom, and `after` how much service time unanswered."""

    to: str
    after: str = "0m"

    def __post_init__(self) -> None:
        kind, _, name = self.to.partition(":")
        if kind not in WHOM or not name:
            raise ValueError(f"to {self.to!r} is not one of role:, oncall:, staff:, inbox: and a name")
        parse_duration(self.after)

    @property
    def kind(self) -> str:
        """role, oncall, staff or inbox."""
        return self.to.partition(":")[0]

    @property
    def name(self) -> str:
        """Which one."""
        return self.to.partition(":")[2]


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Escalation chain of a rule.

    Parameters
    ----------
    channels : tuple of str
        To try in this order; a person's own order goes before it.
    ack_within : str
        Service level: until then somebody should have acknowledged. Twice as long after the
        acknowledgement an outcome is due.
    repeat : str, optional
        Told again after so long without an answer.
    service : str, optional
        Service hours in which times are counted; without them the clock on the wall counts.
    group_wait : str
        A live alert waits so long for others of the same patient; a critical one never.
    is_high_deferred : bool
        Whether quiet hours hold back `high` too.
    """

    id: str
    channels: tuple[str, ...]
    step: tuple[Step, ...]
    ack_within: str = "24h"
    repeat: str | None = None
    service: str | None = None
    group_wait: str = "60s"
    is_high_deferred: bool = False

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError("channels: a route without one tells nobody")
        if not self.step:
            raise ValueError("step: a route without one tells nobody")
        waits = [parse_duration(step.after) for step in self.step]
        if waits[0] != 0:
            raise ValueError("step: the first one is told at once")
        if waits != sorted(waits):
            raise ValueError("step: each is told later than the one before it")
        for name, text in (("ack_within", self.ack_within), ("group_wait", self.group_wait)):
            if parse_duration(text) == 0 and name == "ack_within":
                raise ValueError("ack_within is more than 0")
        if self.repeat is not None and parse_duration(self.repeat) == 0:
            raise ValueError("repeat is more than 0")
