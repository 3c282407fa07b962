"""A site's own rules: checked, proposed by one person, put in force by another.

In force is what two people last agreed on, as the store has it; without any such, the default pack.
HOME/rules.toml is a copy for reading: an edit of it by one person changes nothing, and is said.
"""

import logging
import secrets
import tomllib
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from alerts.engine.examples import failures
from alerts.engine.journal import Journal
from alerts.errors import AlertsError, RuleError
from alerts.rules.pack import RulePack, digest_of, lint, load_pack, read_pack_text, read_text
from alerts.store import audit
from alerts.store.schema import rule_change
from devices.clock import system_clock
from devices.durable import replace_file
from flows.care.site_rules import own_text, staffed
from flows.clinic import Clinic

LOG = logging.getLogger(__name__)
STRAY = "rules.toml is not what two people approved, and is not in force: see flarecast alerts rules"


class RulesInForce:
    """The rules by which a site judges, ticks and acts; asked each time, read anew when they change.

    Parameters
    ----------
    clinic : Clinic
        Whose rules; its channels.toml says whether somebody answers at all hours.
    """

    def __init__(self, clinic: Clinic) -> None:
        self._clinic = clinic
        self._known: tuple[str | None, bool, RulePack] | None = None
        self._said: str | None = None

    def __call__(self, journal: Journal) -> RulePack:
        """Rules in force now; those read last, when a file has got a fault since.

        Raises
        ------
        RuleError, ChannelError
            At the first call: they cannot be read by this version, or channels.toml has a fault.
        """
        try:
            self._known = self._read(journal)
        except AlertsError as fault:
            if self._known is None:
                raise
            # a wrong file must not silence what pages, nor stop what delivers
            LOG.error("rules_unreadable fault=%s", fault)
        self._say_stray(self._known[2])
        return self._known[2]

    def _read(self, journal: Journal) -> tuple[str | None, bool, RulePack]:
        with journal.transaction() as con:
            row = con.execute(_last_approved()).first()
        digest, is_staffed = row.digest if row else None, staffed(self._clinic)
        if self._known is not None and self._known[:2] == (digest, is_staffed):
            return self._known
        if row is None:
            return digest, is_staffed, load_pack(is_staffed=is_staffed)
        return digest, is_staffed, read_pack_text(row.pack, f"rules {row.change}", is_staffed=is_staffed)

    def _say_stray(self, pack: RulePack) -> None:
        try:
            text = own_text(self._clinic)
        except RuleError:
            text = ""
        if text is not None and text != self._said and digest_of(text) != pack.digest:
            LOG.error("rules_not_approved %s", STRAY)
        self._said = text


def rules_in_force(clinic: Clinic, journal: Journal) -> RulePack:
    """The rules in force now, for what is done once; see :class:`RulesInForce`."""
    return RulesInForce(clinic)(journal)


def rules_now(clinic: Clinic) -> RulePack:
    """The rules in force now, for what only asks: a store that has not begun is not begun by it.

    Raises
    ------
    RuleError, ChannelError, JournalError
        They, channels.toml or the store cannot be read.
    """
    if not clinic.has_alert_store():
        return load_pack(is_staffed=staffed(clinic))
    with Journal(clinic.alert_store, system_clock) as journal:
        return rules_in_force(clinic, journal)


def in_force_text(journal: Journal) -> str:
    """Text of the rules in force now."""
    with journal.transaction() as con:
        row = con.execute(_last_approved()).first()
    return row.pack if row else read_text(None)[1]


def _last_approved() -> sa.Select[Any]:
    is_approved = rule_change.c.approved_utc.is_not(None)
    # of two in one instant any, but always the same
    latest = (rule_change.c.approved_utc.desc(), rule_change.c.change)
    return sa.select(rule_change).where(is_approved).order_by(*latest).limit(1)


def faults_of(text: str, name: str, before: str | None = None) -> list[str]:
    """Every fault of a pack, examples that do not hold, and changed rules that kept their version."""
    pack, faults = lint(text, name, is_staffed=True)
    if pack is None:
        return faults
    return failures(pack, name) + (_unversioned(before, text, name) if before else [])


def _unversioned(before: str, after: str, name: str) -> list[str]:
    old = {rule["id"]: rule for rule in tomllib.loads(before).get("rule", [])}
    return [
        f"{name}: rule {rule['id']!r}: version: the rule has changed, its version {rule['version']} has not"
        for rule in tomllib.loads(after).get("rule", [])
        if rule["id"] in old and rule != old[rule["id"]] and rule["version"] <= old[rule["id"]]["version"]
    ]


def propose(journal: Journal, text: str, name: str, by: str, before: str) -> str:
    """Propose a pack; another person has to approve it.

    Raises
    ------
    RuleError
        When it has a fault.
    """
    faults = faults_of(text, name, before)
    if faults:
        raise RuleError(faults[0])
    change, now = "R-" + secrets.token_hex(4), journal.now()
    pack = read_pack_text(text, name, is_staffed=True)
    with journal.transaction() as con:
        con.execute(
            rule_change.insert().values(
                change=change,
                digest=pack.digest,
                pack=text,
                summary=", ".join(f"{rule.id} v{rule.version}" for rule in pack.rule),
                proposed_utc=now,
                proposed_by=by,
            )
        )
        audit.append(con, now, by, "propose rules", change=change, digest=pack.digest)
    return change


def approve(journal: Journal, change: str, by: str, path: Path) -> None:
    """Approve what somebody else proposed, and put it in force as `path`.

    Raises
    ------
    RuleError
        When there is no such proposal, or it is one's own.
    """
    with journal.transaction() as con:
        row = con.execute(sa.select(rule_change).where(rule_change.c.change == change)).first()
        if row is None or row.approved_utc is not None:
            raise RuleError(f"there is no rule change {change!r} to approve")
        if row.proposed_by == by:
            raise RuleError("a changed rule takes two people: who proposed it cannot approve it")
        now = journal.now()
        values = {"approved_utc": now, "approved_by": by}
        con.execute(rule_change.update().where(rule_change.c.change == change).values(**values))
        audit.append(con, now, by, "approve rules", change=change, digest=row.digest)
        replace_file(path, row.pack)
