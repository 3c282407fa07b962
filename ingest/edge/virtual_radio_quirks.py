"""What BlueZ does and the plain virtual radio does not: options of the simulated backend."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Quirks:
    """What BlueZ (5.66, with bleak 3.1) does and the plain virtual radio does not; all off by default.

    Attributes
    ----------
    echoes_reads : bool
        A read value is delivered as a notification too where one is subscribed
        with StartNotify, bleak's default.
    leaks_duplicate : bool
        A client that lost its link and was not disconnected makes every later
        notification of the wearable come once more (hbldh/bleak#2002).
    has_small_mtu : bool
        ``mtu_size`` stays 23.
    hides_generic_access : bool
        Service 0x1800 is not shown.
    has_bluez_errors : bool
        Refusals and losses come as BlueZ's kinds of exception.
    needs_agent : bool
        Pairing fails until somebody has registered an agent.
    sticks_in_progress : bool
        After a connection attempt that failed every later one fails, until the
        device is removed.
    holds_link_s : float
        So long BlueZ holds a link after ``disconnect()``, seconds, in case somebody
        wants it again; two in fact, and no part of `BLUEZ`, where tests would wait.
    loses_sockets : bool
        The link ends where notifications are asked for with AcquireNotify: some
        wearables under every BlueZ (hbldh/bleak#1885), so no part of `BLUEZ`.
    """

    echoes_reads: bool = False
    leaks_duplicate: bool = False
    has_small_mtu: bool = False
    hides_generic_access: bool = False
    has_bluez_errors: bool = False
    needs_agent: bool = False
    sticks_in_progress: bool = False
    loses_sockets: bool = False
    holds_link_s: float = 0.0


BLUEZ = Quirks(*[True] * 7)
