"""Reads a rule pack: TOML -> frozen types, every fault named by file, rule and field."""

import hashlib
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import holidays
import msgspec
import pyarrow as pa

from alerts.errors import RuleError
from alerts.rules.bounds import parse_duration
from alerts.rules.live import live_faults
from alerts.rules.route import Route, Service
from alerts.rules.rule import ItemRule, NoDataRule, Override, ReportedRule, Rule, TechnicalRule, ThresholdRule
from analytics.metrics import METRICS
from analytics.tables import TABLES
from devices.errors import IdError
from devices.ids import check_id

#: Tables a rule may read; the nightly run hands over exactly these.
READABLE: Final = ("flare_risk", "patient_day", "baseline", "trend")
#: Of them, with one row per metric: columns are named `table.column.metric`.
BY_METRIC: Final = ("baseline", "trend")
DEFAULT_NAME: Final = "default.toml"
_SECTIONS: Final[dict[str, Any]] = {"service": Service, "route": Route, "rule": Rule, "override": Override}


@dataclass(frozen=True, slots=True)
class RulePack:
    """Rules, routes and service hours of a site, checked against each other.

    Parameters
    ----------
    digest : str
        SHA-256 of the text: what two people activated.
    is_staffed : bool
        Whether somebody answers a self-harm item; without it the rules that need it are not loaded.
    """

    rule: tuple[Rule, ...]
    route: tuple[Route, ...]
    service: tuple[Service, ...] = ()
    override: tuple[Override, ...] = ()
    digest: str = ""
    is_staffed: bool = False

    def route_of(self, rule: Rule) -> Route:
        """The route of a rule."""
        return self.route_named(rule.route)

    def route_named(self, name: str) -> Route:
        """A route by its id; the first one for an alert whose route is gone, so that it reaches somebody."""
        return next((route for route in self.route if route.id == name), self.route[0])

    def service_of(self, route: Route) -> Service | None:
        """Service hours of a route; None when the clock on the wall counts."""
        return next((service for service in self.service if service.id == route.service), None)

    def rule_named(self, name: str) -> Rule | None:
        """A rule by its id; None when it is not in the pack any more."""
        return next((rule for rule in self.rule if rule.id == name), None)

    def columns(self) -> frozenset[str]:
        """Every column some rule reads."""
        return frozenset(name for rule in self.rule for name in rule.columns)

    def episode_of(self, rule: Rule) -> tuple[str, ...]:
        """Rules that see the same episode, the rule itself among them."""
        if rule.episode is None:
            return (rule.id,)
        return tuple(one.id for one in self.rule if one.episode == rule.episode)

    def overrides(self, rule: str) -> dict[str, Override]:
        """Patient -> what holds for that patient instead."""
        return {one.patient: one for one in self.override if one.rule == rule}


def load_pack(path: Path | None = None, *, is_staffed: bool = False) -> RulePack:
    """Read a rule pack.

    Parameters
    ----------
    path : Path, optional
        TOML file of the site; without one the pack that comes with flarecast.
    is_staffed : bool
        Whether the site has said that somebody answers a self-harm item at all hours.

    Raises
    ------
    RuleError
        Unreadable file, or a rule with a fault; one line that names the file,
        the rule and the field.
    """
    name, text = read_text(path)
    return read_pack_text(text, name, is_staffed=is_staffed)


def read_text(path: Path | None) -> tuple[str, str]:
    """Name and text of a pack.

    Raises
    ------
    RuleError
        When it cannot be read.
    """
    name = str(path) if path else DEFAULT_NAME
    try:
        text = path.read_text("utf-8") if path else (files("alerts.rules") / DEFAULT_NAME).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise RuleError(f"{name}: cannot be read: {fault}") from None
    return name, text


def read_pack_text(text: str, name: str, *, is_staffed: bool = False) -> RulePack:
    """Typed pack of a text; `name` stands in the errors."""
    found, faults = lint(text, name, is_staffed=is_staffed)
    if found is None:
        raise RuleError(faults[0])
    return found


def read_pack(document: dict[str, Any], name: str) -> RulePack:
    """Typed pack of a parsed document; `name` stands in the errors."""
    found, faults = _read(document, name)
    if found is None:
        raise RuleError(faults[0])
    return found


def lint(text: str, name: str, *, is_staffed: bool = False) -> tuple[RulePack | None, list[str]]:
    """The pack and every fault in it, one line each by file, rule and field; no pack when there is any."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as fault:
        return None, [f"{name}: not valid TOML: {fault}"]
    return _read(document, name, digest=digest_of(text), is_staffed=is_staffed)


def digest_of(text: str) -> str:
    """SHA-256 of a pack's text: what two people agree on."""
    return hashlib.sha256(text.encode()).hexdigest()


def _read(
    document: dict[str, Any], name: str, *, digest: str = "", is_staffed: bool = False
) -> tuple[RulePack | None, list[str]]:
    faults = [
        f"{name}: unknown section {section!r}; a pack has {', '.join(f'[[{one}]]' for one in _SECTIONS)}"
        for section in sorted(set(document) - set(_SECTIONS))
    ]
    parts: dict[str, list[Any]] = {section: [] for section in _SECTIONS}
    for section, kind in _SECTIONS.items():
        entries = document.get(section, [])
        if not isinstance(entries, list) or (not entries and section in ("rule", "route")):
            faults.append(f"{name}: has no [[{section}]]")
            continue
        for entry in cast(list[Any], entries):
            typed, fault = _typed(entry, kind, section, name)
            if fault:
                faults.append(fault)
            else:
                parts[section].append(typed)
    for section in ("service", "route", "rule"):
        ids = [one.id for one in parts[section]]
        faults += [
            f"{name}: {section} {one!r}: id: stands {ids.count(one)} times"
            for one in sorted(set(ids))
            if ids.count(one) > 1
        ]
    rules = [rule for rule in parts["rule"] if is_staffed or not _needs_staff(rule)]
    pack = RulePack(
        *(tuple(rules), tuple(parts["route"]), tuple(parts["service"]), tuple(parts["override"])),
        digest=digest,
        is_staffed=is_staffed,
    )
    if not faults:
        faults = [f"{name}: {fault}" for fault in _cross_faults(pack, parts["rule"])]
    return (None if faults else pack), faults


def _needs_staff(rule: Rule) -> bool:
    return isinstance(rule, ItemRule) and rule.needs_staffed_response


def _typed(entry: Any, kind: Any, section: str, name: str) -> tuple[Any, str | None]:
    known = cast(dict[str, Any], entry) if isinstance(entry, dict) else {}
    label = known.get("id") or known.get("rule") or "without id"
    try:
        typed = msgspec.convert(entry, kind)
        if section != "override":
            check_id(typed.id, f"{section} id")
    except (msgspec.ValidationError, IdError) as fault:
        return None, f"{name}: {section} {label!r}: {fault}"
    return typed, None


def _cross_faults(pack: RulePack, rules: list[Rule]) -> list[str]:
    """What is wrong between parts that are right by themselves."""
    faults: list[str] = []
    routes = {route.id for route in pack.route}
    services = {service.id for service in pack.service}
    by_id = {rule.id: rule for rule in rules}
    for service in pack.service:
        try:
            ZoneInfo(service.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            faults.append(f"service {service.id!r}: zone {service.zone!r} is not an IANA zone")
        if service.holidays is not None and not _has_holidays(service.holidays):
            words = "is no country, or no part of one, whose public holidays are known: DE, DE-BE"
            faults.append(f"service {service.id!r}: holidays: {service.holidays!r} {words}")
    for route in pack.route:
        if route.service is not None and route.service not in services:
            faults.append(f"route {route.id!r}: service {route.service!r} is not in the pack")
    for rule in rules:
        faults += [f"rule {rule.id!r}: {fault}" for fault in _rule_faults(rule, routes, by_id)]
    faults += _watch_faults(rules)
    for one in pack.override:
        if not isinstance(by_id.get(one.rule), ThresholdRule):
            faults.append(f"override {one.rule!r}: rule {one.rule!r} is not a threshold rule of the pack")
    return faults


def _has_holidays(place: str) -> bool:
    country, _, part = place.partition("-")
    known = holidays.list_supported_countries(include_aliases=True)
    return country in known and (not part or part in known[country])


def _watch_faults(rules: list[Rule]) -> list[str]:
    """Silence that would be told at once, or of each gateway before its site."""
    watched = ("gateway", "site")
    found = {rule.watch: rule for rule in rules if isinstance(rule, TechnicalRule) and rule.watch in watched}
    after = {watch: parse_duration(rule.after) for watch, rule in found.items()}
    faults = [
        f"rule {rule.id!r}: after: how long may it be silent?"
        for watch, rule in found.items()
        if not after[watch]
    ]
    if len(found) == 2 and after["site"] >= after["gateway"]:
        words = "not shorter than that of a gateway: each of them would be told before their site"
        faults.append(f"rule {found['site'].id!r}: after: {words}")
    return faults


def _rule_faults(rule: Rule, routes: set[str], by_id: dict[str, Rule]) -> list[str]:
    faults: list[str] = []
    if rule.route not in routes:
        faults.append(f"route {rule.route!r} is not in the pack")
    if not rule.example and not isinstance(rule, ItemRule | TechnicalRule):
        faults.append("example: a rule carries at least one")
    faults += live_faults(rule)
    if isinstance(rule, NoDataRule | ItemRule | TechnicalRule):
        faults += [
            f"{name}: a rule of this kind looks at nothing else"
            for name, bounds in (("requires", rule.requires), ("unless", rule.unless))
            if bounds
        ]
    if rule.episode is not None and sum(one.episode == rule.episode for one in by_id.values()) == 1:
        faults.append(f"episode {rule.episode!r}: no other rule of the pack sees it")
    for other in rule.inhibited_by:
        if not isinstance(by_id.get(other), NoDataRule):
            faults.append(f"inhibited_by {other!r} is not a no-data rule of the pack")
    is_live = rule.cadence == "live" and not isinstance(rule, ReportedRule)
    for column in () if is_live else rule.columns:
        is_flag = isinstance(rule, ReportedRule) and column == rule.column
        is_any = isinstance(rule, NoDataRule) and column in rule.present
        fault = _column_fault(column, is_flag=is_flag, is_any=is_any)
        if fault:
            faults.append(f"column {column!r} {fault}")
    if isinstance(rule, ThresholdRule):
        is_personal = rule.column.startswith("baseline.z") or rule.column == "flare_risk.deviation"
        if is_personal != (rule.against == "personal"):
            faults.append(f"against: column {rule.column!r} is not a {rule.against} one")
    return faults


def _column_fault(column: str, *, is_flag: bool, is_any: bool) -> str | None:
    """Why a column cannot be read; None when it can."""
    table, _, rest = column.partition(".")
    if table not in READABLE:
        return f"is not in one of the tables {', '.join(READABLE)}"
    name, _, metric = rest.partition(".")
    if bool(metric) != (table in BY_METRIC):
        return f"must be {table}.column.metric" if table in BY_METRIC else "must be table.column"
    if metric and metric not in METRICS:
        return f"names no metric; there are {', '.join(METRICS)}"
    schema = TABLES[table]
    if name not in schema.names:
        return f"is not in the table; it has {', '.join(schema.names)}"
    kind = schema.field(name).type
    if is_any:
        return None
    if is_flag and not pa.types.is_boolean(kind):
        return "is not a yes/no column"
    if not is_flag and not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return "is not a number"
    return None
