"""Reads pathways and finds what is wrong with them: file, pathway, step and field of every fault."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from alerts.errors import RuleError
from alerts.rules.pathway import Condition, Contraindication, Pathway, Pathways, Step, TaskStep, outcomes
from alerts.rules.rule import Severity, parse_bound
from devices.errors import IdError
from devices.ids import check_id

DEFAULT_NAME = "placeholder.toml"
_RANK = {"low": 0, "medium": 1, "high": 2, "critical": 3}


def load_pathways(folder: Path | None = None) -> Pathways:
    """Pathways of a site's folder; without one the placeholder that comes with flarecast.

    Raises
    ------
    RuleError
        When a file cannot be read or a pathway has a fault that is one on any day.
    """
    if folder is None or not folder.is_dir():
        texts = {DEFAULT_NAME: (files("alerts.rules") / "pathways" / DEFAULT_NAME).read_text("utf-8")}
    else:
        texts = {path.name: _read(path) for path in sorted(folder.glob("*.toml"))}
    read = [read_pathways(text, name) for name, text in texts.items()]
    site = Pathways(
        tuple(pathway for one in read for pathway in one.pathway),
        tuple(
            {entry.code: entry for one in read for entry in one.contraindication}.values(),
        ),
    )
    faults = [*_repeated((one.id for one in site.pathway), "pathway"), *structural_faults(site)]
    if faults:
        raise RuleError(f"pathways: {faults[0]}")
    return site


def read_pathways(text: str, name: str) -> Pathways:
    """Typed pathways of one file; `name` stands in the errors."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise RuleError(f"{name}: not valid TOML: {fault}") from None
    return typed_pathways(document, name)


def typed_pathways(document: dict[str, Any], name: str) -> Pathways:
    """Typed pathways of a parsed document."""
    unknown = sorted(set(document) - {"pathway", "contraindication"})
    if unknown:
        raise RuleError(f"{name}: unknown section {unknown[0]!r}")
    return Pathways(
        tuple(_typed(entry, Pathway, "pathway", "id", name) for entry in _entries(document, "pathway", name)),
        tuple(
            _typed(entry, Contraindication, "contraindication", "code", name)
            for entry in _entries(document, "contraindication", name)
        ),
    )


def structural_faults(site: Pathways) -> list[str]:
    """What is wrong whatever the day, the rules and the staff."""
    known = {one.code for one in site.contraindication}
    used = {code for pathway in site.pathway for step in pathway.step for code in step.hold_if}
    faults = [fault for pathway in site.pathway for fault in _pathway_faults(pathway, known)]
    return faults + [f"contraindication {code!r}: held by no step" for code in sorted(known - used)]


def faults(
    site: Pathways,
    *,
    as_of: date,
    rules: Mapping[str, Severity],
    roles: Iterable[str] | None = None,
) -> list[str]:
    """Everything that is wrong on a day, with the rules in force and the roles somebody has.

    Parameters
    ----------
    site : Pathways
        Those of the site.
    as_of : date
        Today.
    rules : mapping
        Rule -> severity of its alerts.
    roles : iterable of str, optional
        Roles that are staffed; without it they are not judged.
    """
    staffed = None if roles is None else set(roles)
    found = structural_faults(site)
    for one in site.pathway:
        where = f"pathway {one.id!r}"
        if one.review_by < as_of:
            found.append(f"{where}: review_by: was due on {one.review_by}")
        found += [
            f"{where}: when: rule {rule!r} is not in force" for rule in one.when.rules if rule not in rules
        ]
        worst = max((_RANK[rules[rule]] for rule in one.when.rules if rule in rules), default=None)
        if worst is not None and worst < _RANK[one.when.min_severity]:
            found.append(f"{where}: when: no alert of its rules is {one.when.min_severity}: never used")
        for step in one.step:
            if staffed is not None and isinstance(step, TaskStep) and step.role not in staffed:
                found.append(f"{where}: step {step.id!r}: role: nobody is {step.role!r}")
    return found


def _pathway_faults(pathway: Pathway, known: set[str]) -> Iterator[str]:
    where = f"pathway {pathway.id!r}"
    yield from (f"{where}: {fault}" for fault in _repeated((one.id for one in pathway.step), "step"))
    steps = {step.id: step for step in pathway.step}
    for step in pathway.step:
        for code in step.hold_if:
            if code not in known:
                yield f"{where}: step {step.id!r}: hold_if: {code!r} is not a [[contraindication]]"
        for after in step.after:
            before = steps.get(after.step)
            if before is None:
                yield f"{where}: step {step.id!r}: after: there is no step {after.step!r}"
            elif after.outcome not in outcomes(before):
                yield f"{where}: step {step.id!r}: after: {after.step!r} never ends as {after.outcome}"
    for name in _unreached(pathway.step):
        yield f"{where}: step {name!r}: after: never reached, the steps before it wait for each other"
    for column, bounds in _contradictions(pathway.when.all):
        yield f"{where}: when: {column} can never satisfy {bounds}"


def _unreached(steps: tuple[Step, ...]) -> list[str]:
    """Steps that nothing leads to: those of a cycle, and those behind one."""
    reached: set[str] = set()
    while True:
        more = {
            step.id
            for step in steps
            if step.id not in reached
            and (not step.after or any(after.step in reached for after in step.after))
        }
        if not more:
            break
        reached |= more
    known = {step.id for step in steps}
    # a step behind one that does not exist is named for that already
    return [
        step.id
        for step in steps
        if step.id not in reached and all(after.step in known for after in step.after)
    ]


def _contradictions(conditions: tuple[Condition, ...]) -> Iterator[tuple[str, str]]:
    by_column: dict[str, list[str]] = {}
    for one in conditions:
        by_column.setdefault(one.column, []).append(one.bound)
    for column, texts in by_column.items():
        bounds = [parse_bound(text) for text in texts]
        # between two bounds that point at each other lies their middle, if anything does
        values = {one.value for one in bounds}
        probes = values | {(low + high) / 2 for low in values for high in values}
        probes |= {min(values) - 1, max(values) + 1}
        if not any(all(bound.holds(probe) for bound in bounds) for probe in probes):
            yield column, " and ".join(texts)


def _repeated(ids: Iterable[str], what: str) -> list[str]:
    seen: set[str] = set()
    return [f"{what} {one!r}: id: stands more than once" for one in ids if one in seen or seen.add(one)]


def _entries(document: dict[str, Any], section: str, name: str) -> list[Any]:
    entries = document.get(section, [])
    if not isinstance(entries, list):
        raise RuleError(f"{name}: {section} is not [[{section}]]")
    return list(entries)


def _typed(entry: Any, kind: Any, section: str, key: str, name: str) -> Any:
    label = entry.get(key, f"without {key}") if isinstance(entry, dict) else entry
    try:
        typed = msgspec.convert(entry, kind)
        check_id(getattr(typed, key), f"{section} {key}")
    except (msgspec.ValidationError, ValueError, IdError) as fault:
        raise RuleError(f"{name}: {section} {label!r}: {fault}") from None
    return typed


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise RuleError(f"{path}: cannot be read: {fault}") from None
