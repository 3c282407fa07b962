"""Rules: the examples inside them, the bounds, and errors that say where to look."""

import tomllib
from importlib.resources import files

import pytest

from alerts.engine.evaluate import IDLE, Band, band_of, step
from alerts.engine.examples import failures
from alerts.engine.service import add_service_time
from alerts.errors import RuleError
from alerts.rules.pack import load_pack, read_pack
from devices.clock import DAY, HOUR

PACK = load_pack()
RULES = {rule.id: rule for rule in PACK.rule}
DEVIATION, CELLS = "flare_risk.deviation", "flare_risk.cell_count"


def test_every_example_holds():
    assert not failures(PACK, "default.toml")
    assert sum(len(rule.example) for rule in PACK.rule) >= 12


def test_an_example_that_does_not_hold_is_named():
    document = parsed()
    deviation(document)["example"][0]["want"] = ["stay", "stay", "stay"]
    (line,) = failures(read_pack(document, "site.toml"), "site.toml")
    assert line.startswith("site.toml: rule 'deviation-3d': example 'enters at the bound on the second night")


@pytest.mark.parametrize(
    ("value", "band"),
    [
        (-1.51, "breach"),
        (-1.5, "breach"),
        (-1.499, "between"),
        (-0.75, "between"),
        (-0.749, "clear"),
        (0.0, "clear"),
    ],
)
def test_both_sides_of_each_bound(value, band):
    assert band_of(RULES["deviation-3d"], {DEVIATION: value, CELLS: 9}) == (Band[band.upper()], value)


@pytest.mark.parametrize(
    "readings", [{}, {DEVIATION: None, CELLS: 9}, {DEVIATION: float("nan"), CELLS: 9}, {DEVIATION: -3.0}]
)
def test_what_is_missing_is_no_data(readings):
    assert band_of(RULES["deviation-3d"], readings)[0] is Band.ABSENT


@pytest.mark.parametrize(
    ("pain", "band"),
    [(-2.0, "between"), (0.999, "between"), (1.0, "breach"), (3.0, "breach"), (None, "breach")],
)
def test_a_pain_score_as_usual_outranks_the_sensors(pain, band):
    readings = {DEVIATION: -2.0, CELLS: 9, "baseline.z.nrs": pain}
    assert band_of(RULES["deviation-3d"], readings) == (Band[band.upper()], -2.0)


def test_a_pain_score_as_usual_ends_nothing_and_makes_no_silence_a_value():
    usual = {"baseline.z.nrs": 0.0}
    assert band_of(RULES["deviation-3d"], {DEVIATION: -0.7, CELLS: 9, **usual})[0] is Band.CLEAR
    assert band_of(RULES["deviation-3d"], {DEVIATION: -2.0, CELLS: 4, **usual})[0] is Band.ABSENT


@pytest.mark.parametrize("field", ["requires", "unless"])
def test_a_bound_that_a_rule_would_not_read_is_a_fault(field):
    document = parsed()
    silence = next(rule for rule in document["rule"] if rule["id"] == "no-data")
    silence[field] = {"flare_risk.cell_count": ">= 5"}
    with pytest.raises(
        RuleError, match=f"rule 'no-data': {field}: a rule of this kind looks at nothing else"
    ):
        read_pack(document, "site.toml")


def test_a_night_is_never_judged_after_a_later_one():
    state = step(RULES["deviation-3d"], Band.CLEAR, DAY, IDLE)[1]
    with pytest.raises(ValueError, match="not after"):
        step(RULES["deviation-3d"], Band.CLEAR, DAY, state)


def test_a_baseline_column_names_its_metric():
    document = parsed()
    deviation(document).update({"column": "baseline.z.steps", "requires": {}})
    assert "baseline.z.steps" in read_pack(document, "site.toml").columns()


def parsed():
    return tomllib.loads((files("alerts.rules") / "default.toml").read_text("utf-8"))


def deviation(document):
    return next(rule for rule in document["rule"] if rule["id"] == "deviation-3d")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"entr": 1}, "entr"),
        ({"version": 0}, "version is at least 1"),
        ({"version": "1"}, "version"),
        ({"severity": "urgent"}, "severity"),
        ({"enter": "below -1"}, "enter"),
        ({"exit": "< -0.5"}, "points the same way"),
        ({"exit": "> -1.5"}, "strictly inside"),
        ({"episode": "own"}, "no other rule of the pack sees it"),
        ({"requires": {"flare_risk.cell_count": "five"}}, "requires flare_risk.cell_count"),
        ({"unless": {"baseline.z.nrs": "usual"}}, "unless baseline.z.nrs"),
        ({"unless": {"baseline.z.pain_score": "< 1"}}, "'baseline.z.pain_score' names no metric"),
        ({"column": "flare_risk.devation"}, "not in the table"),
        ({"column": "night.rmssd_ms"}, "not in one of the tables"),
        ({"column": "flare_risk.sentence"}, "not a number"),
        ({"column": "baseline.z"}, "baseline.column.metric"),
        ({"column": "flare_risk.deviation.steps"}, "table.column"),
        ({"against": "population"}, "not a population one"),
        ({"for": "1 day"}, "for: "),
        ({"inhibited_by": ["flare-reported"]}, "not a no-data rule"),
        ({"route": "nobody"}, "route 'nobody'"),
        ({"kind": "trnd"}, "kind"),
        ({"kind": "trend"}, "against"),
        ({"example": []}, "example"),
    ],
)
def test_a_fault_is_named_by_file_rule_and_field(change, words):
    document = parsed()
    deviation(document).update(change)
    with pytest.raises(RuleError) as fault:
        read_pack(document, "site.toml")
    message = str(fault.value)
    assert message.startswith("site.toml: rule 'deviation-3d': ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("place", ["DE", "DE-BY", "GB-SCT", "DEU"])
def test_public_holidays_are_of_a_place_that_is_known(place):
    document = parsed()
    document["service"][0]["holidays"] = place
    (service,) = read_pack(document, "site.toml").service
    assert add_service_time(0, HOUR, service) > 0


@pytest.mark.parametrize("place", ["XX", "DE-ZZ", "Germany", "de", ""])
def test_holidays_of_nowhere_are_a_fault_and_not_the_end_of_a_night(place):
    document = parsed()
    document["service"][0]["holidays"] = place
    with pytest.raises(RuleError, match=f"service 'office': holidays: '{place}' is no country"):
        read_pack(document, "site.toml")


def test_two_rules_may_not_share_an_id():
    document = parsed()
    document["rule"][0]["id"] = "deviation-3d"
    with pytest.raises(RuleError, match="stands 2 times"):
        read_pack(document, "site.toml")


@pytest.mark.parametrize(
    ("text", "words"), [("rule = [", "not valid TOML"), ("", "no [[route]]"), ("[other]", "other")]
)
def test_a_file_that_is_no_pack(tmp_path, text, words):
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(RuleError) as fault:
        load_pack(path)
    assert str(path) in str(fault.value)
    assert words in str(fault.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(RuleError, match="cannot be read"):
        load_pack(tmp_path / "none.toml")
