"""The rule pack: typed, versioned TOML; every fault named by file, rule and field."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from alerts.errors import AlertsError

Slug = Annotated[str, msgspec.Meta(pattern="^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]
Severity = Literal["low", "medium", "high", "critical"]
#: Ascending: a list is ranked by it.
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A case inside a rule that runs as a test: was it firing, what came, is it firing after."""

    was_firing: bool
    is_firing: bool
    value: float | bool | None = None
    cell_count: int | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule of a pack.

    A ``threshold`` rule fires when its column is at or below `enter` and stays
    until it is above `exit` (hysteresis); with fewer than `min_cells` cells it
    does not judge. A ``flag`` rule fires while its column is true.
    """

    id: Slug
    version: Annotated[int, msgspec.Meta(ge=1)]
    kind: Literal["threshold", "flag"]
    table: Literal["flare_risk", "patient_day"]
    column: str
    severity: Severity
    title: str
    enter: float | None = None
    exit: float | None = None
    min_cells: int | None = None
    example: tuple[Example, ...] = ()


@dataclass(frozen=True)
class RulePack:
    """Rules by id."""

    rules: dict[str, Rule]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[dict[str, Any], ...]


def load_pack(path: Path | None = None) -> RulePack:
    """Rules of a TOML file; the default pack when no path is given.

    Raises
    ------
    AlertsError
        Naming file, rule and field of the first fault.
    """
    name = str(path) if path else "default.toml"
    try:
        text = path.read_text() if path else files("alerts.rules").joinpath("default.toml").read_text()
        tables = msgspec.convert(tomllib.loads(text), _File).rule
    except OSError as error:
        raise AlertsError(f"{name}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise AlertsError(f"{name}: {error}") from None
    rules: dict[str, Rule] = {}
    for table in tables:
        rule = _read(name, table)
        if rule.id in rules:
            raise AlertsError(f"{name}: rule {rule.id}: field id: given twice")
        rules[rule.id] = rule
    return RulePack(rules)


def _read(name: str, table: dict[str, Any]) -> Rule:
    where = f"{name}: rule {table.get('id', '(no id)')}"
    try:
        rule = msgspec.convert(table, Rule)
    except msgspec.ValidationError as error:
        raise AlertsError(f"{where}: {error}") from None
    if rule.kind == "threshold":
        if rule.enter is None or rule.exit is None:
            raise AlertsError(f"{where}: field enter and field exit are needed by a threshold")
        if rule.exit <= rule.enter:
            raise AlertsError(f"{where}: field exit: {rule.exit} is not above enter {rule.enter}")
    elif rule.enter is not None or rule.exit is not None:
        raise AlertsError(f"{where}: field enter: a flag has no threshold")
    return rule
