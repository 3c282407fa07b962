"""Reads a rule pack: TOML -> frozen types, every fault named by file, rule and field."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow as pa

from alerts.errors import RuleError
from alerts.rules.rule import ReportedRule, Route, Rule, RulePack
from analytics.tables import TABLES
from devices.errors import IdError
from devices.ids import check_id

#: Tables a rule may read; the nightly run hands over exactly these.
READABLE = ("flare_risk", "patient_day", "baseline")
DEFAULT_NAME = "default.toml"


def load_pack(path: Path | None = None) -> RulePack:
    """Read a rule pack.

    Parameters
    ----------
    path : Path, optional
        TOML file of the site; without one the pack that comes with flarecast.

    Raises
    ------
    RuleError
        Unreadable file, or a rule with a fault; one line that names the file,
        the rule and the field.
    """
    name = str(path) if path else DEFAULT_NAME
    try:
        text = path.read_text("utf-8") if path else (files("alerts.rules") / DEFAULT_NAME).read_text("utf-8")
        document = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as fault:
        raise RuleError(f"{name}: cannot be read: {fault}") from None
    except tomllib.TOMLDecodeError as fault:
        raise RuleError(f"{name}: not valid TOML: {fault}") from None
    return read_pack(document, name)


def read_pack(document: dict[str, Any], name: str) -> RulePack:
    """Typed pack of a parsed document; `name` stands in the errors."""
    unknown = sorted(set(document) - {"rule", "route"})
    if unknown:
        raise RuleError(f"{name}: unknown section {unknown[0]!r}; a pack has [[rule]] and [[route]]")
    routes = tuple(_typed(entry, Route, "route", name) for entry in _entries(document, "route", name))
    rules = tuple(_typed(entry, Rule, "rule", name) for entry in _entries(document, "rule", name))
    _check_unique([route.id for route in routes], "route", name)
    _check_unique([rule.id for rule in rules], "rule", name)
    known = {route.id for route in routes}
    for rule in rules:
        if rule.route not in known:
            raise RuleError(f"{name}: rule {rule.id!r}: route {rule.route!r} is not in the pack")
        for column in (rule.column, *rule.requires):
            fault = _column_fault(column, is_flag=isinstance(rule, ReportedRule) and column == rule.column)
            if fault:
                raise RuleError(f"{name}: rule {rule.id!r}: column {column!r} {fault}")
    return RulePack(rules, routes)


def _entries(document: dict[str, Any], section: str, name: str) -> list[dict[str, Any]]:
    entries = document.get(section)
    if not isinstance(entries, list) or not entries:
        raise RuleError(f"{name}: has no [[{section}]]")
    return cast(list[dict[str, Any]], entries)


def _typed(entry: dict[str, Any], kind: Any, section: str, name: str) -> Any:
    label = entry.get("id", "without id") if isinstance(entry, dict) else entry  # pyright: ignore[reportUnnecessaryIsInstance]
    try:
        typed = msgspec.convert(entry, kind)
        check_id(typed.id, f"{section} id")
    except (msgspec.ValidationError, IdError) as fault:
        raise RuleError(f"{name}: {section} {label!r}: {fault}") from None
    return typed


def _check_unique(ids: list[str], section: str, name: str) -> None:
    for one in ids:
        if ids.count(one) > 1:
            raise RuleError(f"{name}: {section} {one!r}: id: stands {ids.count(one)} times")


def _column_fault(column: str, *, is_flag: bool) -> str | None:
    """Why a column cannot be read; None when it can."""
    table, _, rest = column.partition(".")
    if table not in READABLE:
        return f"is not in one of the tables {', '.join(READABLE)}"
    name, _, metric = rest.partition(".")
    if bool(metric) != (table == "baseline"):
        return "must be baseline.column.metric" if table == "baseline" else "must be table.column"
    schema = TABLES[table]
    if name not in schema.names:
        return f"is not in the table; it has {', '.join(schema.names)}"
    kind = schema.field(name).type
    if is_flag and not pa.types.is_boolean(kind):
        return "is not a yes/no column"
    if not is_flag and not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return "is not a number"
    return None
