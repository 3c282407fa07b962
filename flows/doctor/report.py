"""Findings as they are printed: those that are alike but for a name and figures stand in one line."""

import json
import re
from collections.abc import Sequence
from typing import Final

#: So many alike are told as one.
ALIKE: Final = 3
#: Names in such a line.
NAMED: Final = 8
#: What tells two findings apart that say the same: ids, dates, figures.
_OWN: Final = re.compile(r"[\w./:-]*\d[\w./:-]*")


def report(found: Sequence[tuple[str, str]], *, as_json: bool, has_each: bool = False) -> int:
    """Print findings as (where, words); exit code 1 when there is one."""
    if as_json:
        print(json.dumps([{"where": where, "finding": words} for where, words in found]))
    else:
        lines = [f"{where}: {words}" for where, words in found]
        print("\n".join(lines if has_each else joined(found)) or "nothing is wrong")
    return 1 if found else 0


def joined(found: Sequence[tuple[str, str]]) -> list[str]:
    """A line per finding; of `ALIKE` or more that are alike the first, and what the others are about."""
    groups: dict[tuple[str, str], list[str]] = {}
    for where, words in found:
        groups.setdefault((where, _OWN.sub("#", words)), []).append(words)
    lines: list[str] = []
    for (where, _), own in groups.items():
        if len(own) < ALIKE:
            lines += [f"{where}: {words}" for words in own]
            continue
        first, *others = own
        names = [_other(first, words) for words in others]
        more = ", ..." if len(names) > NAMED else ""
        lines.append(
            f"{where}: {first} (and {len(names)} alike: {', '.join(names[:NAMED])}{more}; --all says each)"
        )
    return lines


def _other(first: str, words: str) -> str:
    """The first name or figure in which a finding differs."""
    pairs = zip(_OWN.findall(first), _OWN.findall(words), strict=True)
    return next((theirs for ours, theirs in pairs if ours != theirs), words)
