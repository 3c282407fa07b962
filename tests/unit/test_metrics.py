"""The registry: every number of the tables has its definition there, and codes only where verified."""

import math

import pyarrow as pa
import pytest

from analytics.features.instruments import INSTRUMENTS
from analytics.metrics import METRICS, REGISTRY
from analytics.tables import HRV_WINDOW, NIGHT, PATIENT_DAY, RHYTHM

#: Codes two public mappings agree on, with the unit each is told in.
VERIFIED = {
    **dict.fromkeys(("8867-4", "40443-4"), "/min"),
    **{
        "80404-7": "ms",
        "41950-7": "{steps}/d",
        "55423-8": "{steps}",
        "103211-9": "{#}",
        "72514-3": "{score}",
    },
    **dict.fromkeys(("93832-4", "93831-6", "93830-8", "93829-0"), "min"),
    **dict.fromkeys(("103215-0", "103212-7", "103213-5"), "min"),
}
#: Columns that say how much there is, not how somebody is.
COUNTS = {"day_minutes", "rr_count", "nn_count", "window_count", "coverage_pct", "ln_rmssd"}
COUNTS |= {"rhythm_day_count", "sleep_pair_count", "vendor_difference_steps"}


@pytest.mark.parametrize("schema", [PATIENT_DAY, NIGHT, HRV_WINDOW, RHYTHM])
def test_every_number_is_a_metric_with_the_columns_unit(schema):
    for column in schema:
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            continue
        if column.name in COUNTS:
            continue
        metric = REGISTRY[column.name]
        # UCUM's word for no unit is 1
        assert metric.unit == (column.metadata[b"unit"].decode() or "1"), column.name


def test_codes_are_verified_or_local():
    codes = [metric.loinc for metric in REGISTRY.values() if metric.loinc]
    assert all(metric.unit == VERIFIED[metric.loinc] for metric in REGISTRY.values() if metric.loinc)
    assert len(set(codes)) == len(codes)
    assert REGISTRY["rmssd_ms"].loinc is None
    assert REGISTRY["rmssd_ms"].code == "flarecast-rmssd-ms"
    assert REGISTRY["in_bed_min"].code == "103213-5"


def test_every_entry_is_whole():
    assert {metric.id for metric in METRICS.values()} <= set(REGISTRY)
    for key, metric in REGISTRY.items():
        assert key == metric.id
        assert metric.plausible[0] < metric.plausible[1]
        assert metric.name
        assert metric.minimum
        assert metric.source
        # a baseline needs a spread to shrink to
        assert math.isnan(metric.within_sd) == (key not in METRICS)
    assert set(INSTRUMENTS) <= set(REGISTRY)
    for name, one in INSTRUMENTS.items():
        times = len(one.items) if one.rule == "sum" else 1
        assert REGISTRY[name].plausible == (one.low * times, one.high * times)
