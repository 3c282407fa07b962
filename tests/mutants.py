"""Hand-made mutants of the engine: each is a fault somebody could make, and a test must notice it.

``python -m tests.mutants``: a copy of the project per mutant, one change in it, the timelines and the
state machine run; exit code 1 when one lives.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TESTS = (
    "tests/unit/test_alert_lifecycle.py",
    "tests/unit/test_alert_held.py",
    "tests/unit/test_alert_duty.py",
    "tests/unit/test_alert_journal.py",
    "tests/unit/test_live_rules.py",
    "tests/unit/test_alert_episodes.py",
)
MACHINE = "tests/property/test_alert_machine.py"
COPIED = ("alerts", "tests", "pyproject.toml")
LINKED = ("analytics", "devices", "flows", "ingest")


class Mutant(NamedTuple):
    """A text of a file, and what stands there instead."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        "quiet hours hold back critical alerts",
        "alerts/engine/apply.py",
        'one.severity in ("low", "medium")',
        'one.severity in ("low", "medium", "critical")',
    ),
    Mutant(
        "no hysteresis",
        "alerts/engine/evaluate.py",
        "bands = np.where(parse_bound(leave).holds_in(values), Band.CLEAR, Band.BETWEEN)",
        "bands = np.full(values.shape, Band.CLEAR)",
    ),
    Mutant(
        "a gap does not start the duration anew",
        "alerts/engine/evaluate.py",
        'return replace(state, phase="idle", since=None)',
        "return state",
    ),
    Mutant(
        "no inhibition",
        "alerts/engine/holds.py",
        'return f"inhibited by {rule}"',
        "return None",
    ),
    Mutant(
        "an acknowledgement calls nothing off",
        "alerts/engine/lifecycle.py",
        'return Change(after, "acknowledge", cancel="acknowledged")',
        'return Change(after, "acknowledge")',
    ),
    Mutant(
        "no check at the time of sending",
        "alerts/engine/outbox.py",
        "verdict = why_not(row, now)",
        "verdict = None",
    ),
    Mutant(
        "no lease",
        "alerts/engine/outbox.py",
        "lease_until_utc=now + LEASE,",
        "lease_until_utc=now,",
    ),
    Mutant(
        "a further night opens what was acknowledged",
        "alerts/engine/night.py",
        "        self.night.kept += 1\n        if one.held_by == RETROSPECTIVE",
        "        self.night.kept += 1\n"
        '        if one.status == "acked":\n'
        '            again = lifecycle.reopen(one, way, self._now, "again")\n'
        "            write(self._con, again, way.route, self._now)\n"
        "        if one.held_by == RETROSPECTIVE",
    ),
    Mutant(
        "the end is told to nobody",
        "alerts/engine/lifecycle.py",
        'cancel="resolved", tells_end=True',
        'cancel="resolved", tells_end=False',
    ),
    Mutant(
        "a snooze arms a held alert",
        "alerts/engine/lifecycle.py",
        "    if alert.held_by is not None:\n        return Change(_disarmed(alert)",
        "    if alert.held_by is not None and alert.round == 1:\n        return Change(_disarmed(alert)",
    ),
    Mutant(
        "escalation to nobody",
        "alerts/engine/lifecycle.py",
        "        if not recipients:\n            uncovered.append(step.to)\n            continue\n",
        "",
    ),
    Mutant(
        "a second active alert of the same rule",
        "alerts/store/schema.py",
        "    unique=True,\n    sqlite_where",
        "    unique=False,\n    sqlite_where",
    ),
    Mutant(
        "after downtime every missed step at once",
        "alerts/engine/tick.py",
        "                    uncovered += change.uncovered\n                    break\n",
        "                    uncovered += change.uncovered\n"
        "                    later = lifecycle.escalate(change.alert, way, now + 10**12)\n"
        "                    write(con, later, way.route, now)\n"
        "                    break\n",
    ),
    Mutant(
        "an answer is judged each time it comes",
        "alerts/engine/events.py",
        "        return False\n    is_positive",
        "        con.execute(judged_event.delete().where(*is_row))\n    is_positive",
    ),
    Mutant(
        "who was perhaps told is not told the end",
        "alerts/engine/letters.py",
        'sa.or_(outbox.c.status == "sent", outbox.c.is_perhaps_sent)',
        'outbox.c.status == "sent"',
    ),
    Mutant(
        "on call is who was when it was queued",
        "alerts/engine/outbox.py",
        "elif not relieve(con, row, now) and not",
        "elif not",
    ),
    Mutant(
        "a snooze that has run out is told once more",
        "alerts/engine/lifecycle.py",
        "restart(replace(changed, snooze_until_utc=None, snoozed_by=None), way",
        "restart(changed, way",
    ),
    Mutant(
        "a live value that comes again counts again",
        "alerts/engine/live.py",
        "            if state.last_at is not None and one.at <= state.last_at:\n                continue\n",
        "            if state.last_at is not None and one.at <= state.last_at:\n"
        "                state = replace(state, last_at=None)\n",
    ),
    Mutant(
        "a live report is ended by the night before it",
        "alerts/engine/night.py",
        " and (one.night is None or one.night <= known_until):",
        ":",
    ),
    Mutant(
        "another side of an episode asks again",
        "alerts/engine/night.py",
        "if not self._is_asked(rule, patient)]",
        "]",
    ),
    Mutant(
        "an episode ends with the side that opened it",
        "alerts/engine/night.py",
        "if one.alert in kept:",
        "if False:",
    ),
    Mutant(
        "an edited audit row does not show",
        "alerts/store/audit.py",
        " or row.hash != _hash(tuple(row[:-1]))",
        "",
    ),
)


def run(mutant: Mutant) -> bool:
    """Whether a test notices the mutant."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        for name in LINKED:
            (copy / name).symlink_to(ROOT / name)
        path = copy / mutant.file
        text = path.read_text("utf-8")
        if text.count(mutant.old) != 1:
            raise SystemExit(f"mutant {mutant.name!r}: its text stands {text.count(mutant.old)} times")
        path.write_text(text.replace(mutant.old, mutant.new), "utf-8")
        return any(_fails(copy, tests) for tests in (TESTS, (MACHINE,)))


def _fails(copy: Path, tests: tuple[str, ...]) -> bool:
    # a mutant is the same one on either store
    quick = ("-n", "0", "-x", "-q", "-p", "no:cacheprovider", "-k", "not postgresql")
    words = [sys.executable, "-m", "pytest", *quick, *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "ALERT_EXAMPLES": "60"}
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stdout + done.stderr)
    return done.returncode == 1


def main() -> int:
    """Run every mutant, say which live."""
    wanted = sys.argv[1:]
    if not wanted and _fails(ROOT, TESTS):
        raise SystemExit("the tests fail without any mutant")
    living = 0
    for mutant in MUTANTS:
        if wanted and not any(word in mutant.name for word in wanted):
            continue
        is_killed = run(mutant)
        living += not is_killed
        print(f"{'killed' if is_killed else 'LIVES '}  {mutant.name}", flush=True)
    return 1 if living else 0


if __name__ == "__main__":
    raise SystemExit(main())
