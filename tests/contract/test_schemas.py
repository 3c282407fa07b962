"""The tables are a promise to every file already written."""

import copy

import pyarrow as pa
import pytest

import devices.tables
from devices.observations import KINDS
from tests.contract.schemas import FAMILIES, breaking_changes, current, frozen

SCHEMAS = {name: schema for _, tables in FAMILIES.values() for name, schema in tables.items()}


def test_schemas_are_the_frozen_ones():
    assert current() == frozen(), (
        "a schema changed: `python -m tests.contract.schemas` freezes it, docs/adr/0004-schemas.md has "
        "the rule and CHANGELOG.md the section"
    )


def test_appending_a_nullable_column_breaks_nothing():
    now = copy.deepcopy(frozen())
    now["raw"]["tables"]["battery"].append(
        {"name": "is_charging", "type": "bool", "nullable": True, "unit": ""}
    )
    now["wire"]["battery"].append("is_charging")
    assert breaking_changes(frozen(), now) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda now: now["raw"]["tables"]["battery"].pop(), "battery.level_pct: gone"),
        (lambda now: now["raw"]["tables"]["wear"][0].update(type="int32"), "wear.device"),
        (lambda now: now["raw"]["tables"]["step_count"][-1].update(unit="{km}"), "step_count.steps"),
        (lambda now: now["derived"]["tables"]["night"][2].update(nullable=False), "night.sleep_source"),
        (lambda now: now["alerts"]["tables"]["alerts"][1].update(name="person"), "alerts.patient"),
        (lambda now: now["raw"]["tables"]["wear"].reverse(), "wear."),
        (lambda now: now["raw"]["tables"].pop("wear"), "wear: table gone"),
        (
            lambda now: now["raw"]["tables"]["wear"].append(
                {"name": "extra", "type": "bool", "nullable": False, "unit": ""}
            ),
            "wear.extra: new but not nullable",
        ),
        (lambda now: now["wire"]["rr_interval"].insert(1, "extra"), "rr_interval: wire fields"),
    ],
)
def test_every_other_change_is_named(change, named):
    now = copy.deepcopy(frozen())
    change(now)
    breaks = breaking_changes(frozen(), now)
    assert any(line.startswith(named) for line in breaks), breaks


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_has_a_unit_and_a_meaning(name):
    for column in SCHEMAS[name]:
        assert column.metadata is not None, column.name
        assert set(column.metadata) == {b"unit", b"doc"}, column.name
        assert column.metadata[b"doc"].strip(), f"{column.name} says nothing"


def test_one_table_per_kind():
    assert list(devices.tables.TABLES) == list(KINDS)
    for kind, schema in devices.tables.TABLES.items():
        assert schema.metadata[b"flarecast.kind"] == kind.encode()
        assert schema.metadata[b"flarecast.schema_version"] == str(devices.tables.SCHEMA_VERSION).encode()


def test_patients_are_known_at_the_clinic_only():
    for kind, schema in devices.tables.TABLES.items():
        assert not [name for name in schema.names if "patient" in name], kind
    for kind, cls in KINDS.items():
        assert not [name for name in cls.__struct_fields__ if "patient" in name], kind


@pytest.mark.parametrize("name", SCHEMAS)
def test_instants_are_microseconds_utc_and_say_so(name):
    for column in SCHEMAS[name]:
        if pa.types.is_timestamp(column.type):
            assert column.type == devices.tables.UTC, column.name
            assert column.name.endswith("_utc"), column.name
