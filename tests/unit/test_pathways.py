"""Pathways: nothing offered against what is known, nothing assumed of what is not, every fault named."""

from datetime import date
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.errors import RuleError
from alerts.rules.pathway import answers_of, suggest
from alerts.rules.pathway_lint import faults, load_pathways, read_pathways, structural_faults, typed_pathways

SITE = load_pathways()
TEXT = (files("alerts.rules") / "pathways" / "placeholder.toml").read_text("utf-8")
TODAY = date(2026, 11, 26)
RULES = {"deviation-3d": "medium", "pain-above-usual": "medium", "flare-reported": "medium"}
ROLES = ("nurse", "clinician")
ANSWERS = st.dictionaries(
    st.sampled_from([one.code for one in SITE.contraindication]), st.sampled_from(["yes", "no", "unknown"])
)


def steps(answers, rule="deviation-3d", severity="medium", readings=None, site=SITE):
    found = suggest(site, rule=rule, severity=severity, readings=readings or {}, answers=answers)
    return {one.step: one for one in found}


@given(ANSWERS)
def test_one_yes_holds_one_unknown_asks_and_only_all_no_suggests(answers):
    found = steps(answers)
    for step in SITE.pathway[0].step:
        known = [answers.get(code, "unknown") for code in step.hold_if]
        want = "held" if "yes" in known else "ask" if "unknown" in known else "suggested"
        assert found[step.id].standing == want
        assert bool(found[step.id].ask) == (want == "ask")


def test_what_to_ask_is_said_and_what_holds_is_named():
    found = steps({"red-flag": "no", "recent-fracture": "yes"})
    assert "NOT NOW, because of recent-fracture" in found["graded-activity"].in_words
    assert "first ask:" in found["cbt-i"].in_words
    assert "Epilepsy" in found["cbt-i"].in_words
    assert found["call"].in_words.endswith(
        "nurse, within 24 h: Call: what changed, what is needed, what the patient wants"
    )


def test_a_placeholder_says_so_in_every_step():
    assert all("not signed by a clinician" in one.text for one in steps({}).values())
    signed = TEXT.replace("is_placeholder = true", 'signed_by = "Dr A. Example"\nsigned_on = 2026-11-01')
    site = read_pathways(signed, "mine.toml")
    assert not any("placeholder" in one.text for one in steps({}, site=site).values())


def test_other_alerts_get_nothing():
    assert steps({}, rule="nodata-wearable") == {}


@pytest.mark.parametrize(("nrs", "is_for"), [(7.0, True), (6.9, False), (None, False)])
def test_a_condition_on_what_the_rule_read(nrs, is_for):
    narrowed = TEXT.replace(
        '"flare-reported"] }', '"flare-reported"], all = [{ column = "patient_day.nrs", bound = ">= 7" }] }'
    )
    site = read_pathways(narrowed, "mine.toml")
    assert bool(steps({}, readings={"patient_day.nrs": nrs}, site=site)) == is_for


def test_a_severity_below_the_wanted_one_is_not_for_it():
    site = read_pathways(
        TEXT.replace('"flare-reported"] }', '"flare-reported"], min_severity = "high" }'), "m"
    )
    assert steps({}, severity="medium", site=site) == {}
    assert steps({}, severity="critical", site=site)


def test_of_two_records_the_more_careful_one_counts():
    assert answers_of([("a", "no"), ("a", "unknown"), ("b", "yes"), ("b", "no")]) == {
        "a": "unknown",
        "b": "yes",
    }


def test_the_placeholder_has_no_fault_but_will_be_due():
    assert faults(SITE, as_of=TODAY, rules=RULES, roles=ROLES) == []
    assert faults(SITE, as_of=date(2027, 6, 2), rules=RULES, roles=ROLES) == [
        "pathway 'flare-placeholder': review_by: was due on 2027-06-01"
    ]


BOUNDS = '"x"], all = [{column="patient_day.nrs", bound="%s"}, {column="patient_day.nrs", bound="%s"}] }'
IMPOSSIBLE = BOUNDS % (">= 7", "< 7")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"unstable-cardiac"]', '"bad-heart"]', "step 'graded-activity': hold_if: 'bad-heart' is not"),
        ('step = "call", outcome = "done"', 'step = "visit", outcome = "done"', "never reached"),
        ('step = "call", outcome = "done"', 'step = "cal", outcome = "done"', "there is no step 'cal'"),
        ('step = "call", outcome = "done"', 'step = "call", outcome = "declined"', "never ends as declined"),
        ('id = "visit"', 'id = "call"', "step 'call': id: stands more than once"),
        ('hold_if = ["red-flag", ', "hold_if = [", "contraindication 'red-flag': held by no step"),
        ('"flare-reported"] }', IMPOSSIBLE, "can never satisfy >= 7 and < 7"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_pathway_is_said(old, new, words):
    assert old in TEXT
    found = structural_faults(read_pathways(TEXT.replace(old, new), "mine.toml"))
    assert any(words in fault for fault in found), found


def test_two_bounds_with_something_between_them_are_no_contradiction():
    possible = TEXT.replace('"flare-reported"] }', BOUNDS % ("> 7", "< 8"))
    assert structural_faults(read_pathways(possible, "mine.toml")) == []


@pytest.mark.parametrize(
    ("rules", "roles", "old", "new", "words"),
    [
        ({"deviation-3d": "medium"}, ROLES, "", "", "rule 'flare-reported' is not in force"),
        (RULES, ("nurse",), "", "", "step 'visit': role: nobody is 'clinician'"),
        (RULES, ROLES, '"flare-reported"] }', '"flare-reported"], min_severity = "high" }', "never used"),
    ],
)
def test_what_is_wrong_here_and_now_is_said(rules, roles, old, new, words):
    site = read_pathways(TEXT.replace(old, new) if old else TEXT, "mine.toml")
    assert any(words in fault for fault in faults(site, as_of=TODAY, rules=rules, roles=roles))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("is_placeholder = true", "", "signed_by and signed_on"),
        ('owner = "unassigned"', 'owner = " "', "owner"),
        ("review_by = 2027-06-01", "", "review_by"),
        ("due_h = 24", "due_h = 0", "due_h"),
        ('kind = "offer"', 'kind = "order"', "order"),
        ("version = 2", "version = 0", "version"),
        ("[[pathway]]", "[[pathwey]]", "pathwey"),
        ('rules = ["deviation-3d", "pain-above-usual", "flare-reported"]', "rules = []", "rules"),
        ('id = "flare-placeholder"', 'id = "flare placeholder"', "pathway id"),
    ],
)
def test_a_file_that_is_none_is_one_line_with_file_and_field(old, new, words):
    assert old in TEXT
    with pytest.raises(RuleError) as fault:
        read_pathways(TEXT.replace(old, new), "mine.toml")
    assert str(fault.value).startswith("mine.toml: ")
    assert words in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_sites_folder_replaces_the_placeholder(tmp_path):
    (tmp_path / "flare.toml").write_text(TEXT.replace("flare-placeholder", "flare-ours"))
    assert [one.id for one in load_pathways(tmp_path).pathway] == ["flare-ours"]
    (tmp_path / "again.toml").write_text(TEXT.replace("flare-placeholder", "flare-ours"))
    with pytest.raises(RuleError, match="more than once"):
        load_pathways(tmp_path)


WORDS = st.sampled_from(["pathway", "contraindication", "id", "step", "when", "rules", "after", "kind"])
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
)


@given(st.dictionaries(WORDS, NONSENSE, max_size=3))
def test_nothing_but_a_named_fault_comes_of_nonsense(document):
    if document.keys() <= {"pathway", "contraindication"} and not any(document.values()):
        # empty lists are a site without pathways; nothing else of the kind is taken
        document = {"pathway": [None]}
    with pytest.raises(RuleError, match=r"^mine\.toml: "):
        typed_pathways(document, "mine.toml")
