"""Findings of `flarecast doctor` about who may connect, and which gateways are there."""

from collections.abc import Iterator
from typing import Final

from devices.clock import DAY, HOUR, MINUTE, from_utc
from flows.clinic import Clinic
from flows.errors import UserError
from ingest.edge.certificate import expires_utc
from ingest.errors import IngestError, SecurityError
from ingest.lake.presence import Heard, read_presence
from ingest.lake.security import Issued, read_issued

Findings = Iterator[tuple[str, str]]

#: A gateway asks for its next certificate from here on: one that has not is not heard.
SOON: Final = 30 * DAY
#: A box may be unplugged for a room to be cleaned.
SILENCE: Final = 6 * HOUR
#: No clock that is set over the network is off by more.
CLOCK_OFF: Final = 5 * MINUTE
#: A broker that has read its files knows a revocation after so long at the latest.
REVOKED_KNOWN: Final = 5 * MINUTE


def certificates(clinic: Clinic, now: int) -> Findings:
    """Certificates that end, keys that others can read, revocations that do not hold."""
    folder = clinic.home / "ca"
    if not folder.is_dir():
        return
    for path in sorted([*folder.rglob("*.key"), *folder.glob("invitations/*.json")]):
        if path.stat().st_mode & 0o077:
            yield "certificates", f"{path} can be read by others than its owner: chmod 600 {path}"
    try:
        issued = read_issued(folder)
        ends = expires_utc(folder / "ca.crt")
    except SecurityError as error:
        yield "certificates", f"{error}: restore it from a backup"
        return
    if ends - now < SOON:
        yield (
            "certificates",
            f"the authority ends on {_date(ends)}: make another in a new folder and invite every gateway",
        )
    heard = read_presence(clinic.lake.root)
    enrolled = _enrolled(clinic, now)
    for name in sorted({one.name for one in issued if one.role != "invitation"}):
        mine = [one for one in issued if one.name == name]
        valid = [one for one in mine if one.revoked_utc is None]
        if valid:
            yield from _ends(max(valid, key=lambda one: one.expires_utc), now)
        else:
            yield from _revoked(name, mine, heard.get(name), name in enrolled)


def _ends(one: Issued, now: int) -> Findings:
    if one.expires_utc - now >= SOON:
        return
    when = (
        f"ended on {_date(one.expires_utc)}"
        if one.expires_utc <= now
        else f"ends on {_date(one.expires_utc)}"
    )
    if one.role == "gateway" and one.expires_utc <= now:
        advice = f"it is shut out: `flarecast ca invite {one.name}`"
    elif one.role == "gateway":
        advice = "is it on line, does `flarecast ca serve` run? A key made here: `flarecast ca issue gateway`"
    elif one.role == "collector":
        advice = f"`flarecast ca issue collector {one.name}`, and restart it"
    elif one.role == "registrar":
        advice = "restart `flarecast ca serve`: it makes itself another"
    else:
        advice = "make an authority in a new folder and invite every gateway"
    yield "certificates", f"the certificate of {one.name} {when}: {advice}"


def _revoked(name: str, mine: list[Issued], heard: Heard | None, is_enrolled: bool) -> Findings:
    since = max(one.revoked_utc or 0 for one in mine)
    if heard is not None and (heard.heard_utc or 0) > since + REVOKED_KNOWN:
        yield (
            "certificates",
            f"{name} was revoked on {_date(since)} and is still let in: run deploy/mosquitto/install.sh",
        )
    elif is_enrolled:
        yield (
            "certificates",
            f"{name} is revoked and enrolled today: end its enrolment, or `flarecast ca invite {name}`",
        )


def gateways(clinic: Clinic, now: int) -> Findings:
    """Gateways of enrolled patients that are silent, fill up, or go by a wrong clock."""
    if not (clinic.lake.root / "gateways").is_dir():
        return  # no collector has heard any: its own findings say so
    heard = read_presence(clinic.lake.root)
    for name in sorted(_enrolled(clinic, now)):
        one = heard.get(name)
        if one is None or one.heard_utc is None:
            yield "gateway", f"nothing has ever come from {name}: is it plugged in and joined?"
            continue
        if now - one.heard_utc > SILENCE:
            gone = "it said good-bye or lost its connection" if not one.is_online else "its connection stands"
            yield (
                "gateway",
                f"{name} is silent since {from_utc(one.heard_utc):%Y-%m-%d %H:%M} UTC ({gone}): "
                "is it plugged in and on line?",
            )
        if one.spool != "ok":
            yield (
                "gateway",
                f"the spool of {name} is in {one.spool}: {one.word}; "
                "see that a collector runs and the gateway is on line, before it keeps nothing more",
            )
        error = one.clock_error()
        if error is not None and abs(error) > CLOCK_OFF:
            where = "ahead" if error > 0 else "behind"
            yield (
                "gateway",
                f"the clock of {name} is {abs(error) / HOUR:.1f} h {where}: "
                "see that it sets its clock over the network (and that ours is right)",
            )


def _enrolled(clinic: Clinic, now: int) -> set[str]:
    try:
        return {row.gateway for row in clinic.enrolment().rows if row.holds(now)}
    except (UserError, IngestError):
        return set()  # said by the enrolment's own findings


def _date(utc: int) -> str:
    return from_utc(utc).date().isoformat()
