"""A site's own rules: checked, proposed by one person, put in force by another."""

import secrets
import tomllib
from pathlib import Path

import sqlalchemy as sa

from alerts.engine.examples import failures
from alerts.engine.journal import Journal
from alerts.errors import RuleError
from alerts.rules.pack import RulePack, lint, load_pack, read_pack_text
from alerts.store import audit
from alerts.store.schema import rule_change
from devices.durable import replace_file


def check_approved(journal: Journal, pack: RulePack) -> None:
    """A site's own pack holds once two people have said so.

    Raises
    ------
    RuleError
        When HOME/rules.toml was not activated by `flarecast alerts rules approve`.
    """
    if pack.digest == load_pack().digest:
        return
    is_approved = (rule_change.c.digest == pack.digest, rule_change.c.approved_utc.is_not(None))
    with journal.transaction() as con:
        if not con.scalar(sa.select(sa.exists().where(*is_approved))):
            raise RuleError("HOME/rules.toml is not what two people approved: see flarecast alerts rules")


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
