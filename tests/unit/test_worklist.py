"""The worklist: order, words, charts that do not lie about gaps."""

from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree

import pytest

from alerts.console import words
from alerts.console.row import ranked
from alerts.console.sparkline import HEIGHT, Z_HIGH, Z_LOW, sparkline
from alerts.console.terminal import in_words
from alerts.console.worklist import DayPoint, PageFacts, render
from tests.fixtures_alerts import NIGHT, Hands, alert, invented_row, invented_rows, series


def html(rows, *, is_synthetic=True):
    return render(rows, facts=PageFacts(NIGHT, Hands()()), is_synthetic=is_synthetic)


def chart(z_values):
    return ElementTree.fromstring(str(sparkline(series("steps", z_values), "Steps & more")))


def test_unseen_alerts_come_first_then_severity_then_deviation():
    rows = [
        invented_row(1, deviation=-9.0),
        invented_row(2, deviation=-1.0, alerts=(alert(2),)),
        invented_row(3, deviation=-2.0, alerts=(alert(3),)),
        invented_row(4, deviation=-0.5, alerts=(alert(4, "high"),)),
        invented_row(5, deviation=-3.0, alerts=(alert(5, "high", "acked"),)),
        invented_row(6, deviation=0.1, alerts=(alert(6, "low"), alert(66, "critical"))),
        invented_row(7, deviation=None),
    ]
    assert [row.patient[-1] for row in ranked(rows)] == ["6", "4", "3", "2", "1", "7", "5"]


def test_three_lists_and_their_counts():
    page = html(invented_rows())
    text = " ".join(page.split())
    for section, size in (("Active alerts", 4), ("No alert", 5), ("No data", 2)):
        assert f'<h2>{section} <span class="size">{size}</span></h2>' in text
    assert "High <strong>1</strong>" in text
    assert "Medium <strong>3</strong>" in text
    assert "11 patients" in text
    assert text.index("p-0011") < text.index("p-0014") < text.index("p-0021") < text.index("p-0031")


def terminal(rows):
    return in_words(rows, facts=PageFacts(NIGHT, Hands()()), is_synthetic=True)


def test_in_a_terminal_the_same_people_stand_in_the_same_order():
    lines = terminal(invented_rows())
    page, shown = html(invented_rows()), "\n".join(lines)
    assert "SYNTHETIC" in lines[0]
    for row in invented_rows():
        assert shown.count(row.patient) == 1
    people = sorted((row.patient for row in invented_rows()), key=shown.index)
    assert people == sorted(people, key=lambda name: page.index(f">{name}<"))
    at = next(number for number, line in enumerate(lines) if "p-0012" in line)
    assert lines[at].startswith("◆ medium   p-0012  open, began ")
    assert lines[at + 1].strip().endswith("; not yet delivered")
    assert "Steps per day" in lines[at + 3]
    assert "BELOW (usual" in lines[at + 3]


def test_of_many_without_an_alert_the_lowest_are_named_and_the_rest_counted():
    rows = [invented_row(100 + number, deviation=-number / 10) for number in range(30)]
    lines = terminal(rows)
    assert [line.split()[0] for line in lines if line.startswith("  p-0")][:2] == ["p-0129", "p-0128"]
    assert "  and 20 more: see the page (--html)" in lines
    assert lines.count("  nobody") == 2


def test_who_has_it_or_why_it_is_silent_is_said_on_the_page():
    asleep = replace(alert(1, is_delivered=False), standing="silent: inhibited by no-data")
    page, shown = (
        html([invented_row(1, alerts=(asleep,))]),
        "\n".join(terminal([invented_row(1, alerts=(asleep,))])),
    )
    for text in (page, shown):
        assert "silent: inhibited by no-data" in text
        assert "not yet delivered" not in text


def test_invented_people_are_called_so_and_patients_are_not():
    assert "SYNTHETIC" in html(invented_rows())
    assert "SYNTHETIC" not in html(invented_rows(), is_synthetic=False)


def test_an_uncalibrated_risk_is_no_number():
    page = html([invented_row(1)])
    assert "Not calibrated" in page
    assert "%" not in page[page.index("<body>") :]


def test_what_comes_from_outside_is_text():
    page = html([invented_row(1, sentence="<script>alert(1)</script>", zone='"><img src=x>')])
    assert "<script" not in page
    assert "<img" not in page


def test_an_empty_clinic_has_a_page():
    assert html([]).count("Nobody.") == 3


def test_each_state_of_the_risk_has_words():
    for status, (title, _) in words.RISK_WORDS.items():
        assert title in html([invented_row(1, status=status)])


def test_a_gap_stays_a_gap():
    root = chart([0.0, 0.5, None, 1.0, 1.2, None, None, -0.3])
    assert [len(line.get("points").split()) for line in root.iter("polyline")] == [2, 2]
    assert len(list(root.iter("circle"))) == 2, "a lone day is a point; the last day has its dot"


def test_the_last_day_has_its_dot_only_when_it_has_a_value():
    assert not list(chart([0.0, 0.5, None]).iter("circle"))


def test_days_below_the_band_have_a_triangle():
    assert len(list(chart([-2.1, -2.0, -1.9, 3.0, -3.9]).iter("path"))) == 2


def test_the_band_has_the_same_height_in_every_chart():
    heights = {rect.get("height") for z in ([0.0], [-4.0, 4.0], [None]) for rect in chart(z).iter("rect")}
    assert heights == {f"{HEIGHT * 4 / (Z_HIGH - Z_LOW):.1f}"}


def test_a_chart_is_said_in_words():
    label = words.chart_label(series("steps", [0.0, None, -2.5, -3.0]))
    assert label == "Steps per day, 4 days: last 2,677; 2 below the usual range, 1 without data"


@pytest.mark.parametrize(
    ("metric", "value", "said"),
    [
        ("steps", 12345.4, "12,345"),
        ("tst_min", 384.0, "6.4 h"),
        ("rmssd_ms", 23.6, "24 ms"),
        ("steps", None, "no data"),
        ("steps", 0.0, "0"),
    ],
)
def test_native_units(metric, value, said):
    assert words.native(metric, value) == said


def test_an_old_value_says_its_age():
    row = invented_row(1)
    old = replace(row.metrics[0], points=(*row.metrics[0].points[:-2], *blank(2)))
    assert words.last_age(old) == "2 days ago"
    assert words.last_age(replace(old, points=blank(3))) == "no value in these weeks"


def blank(count):
    return tuple(DayPoint(NIGHT - timedelta(days=count - 1 - n), None, None) for n in range(count))


def test_silence_names_its_last_day_and_its_reason():
    row = invented_row(31, silent_days=5, no_data_reason="The battery was empty.")
    assert row.is_silent
    assert words.silence(row).endswith(". The battery was empty.")
    assert words.silence(row).startswith("Nothing measured since ")
    assert not invented_row(31).is_silent


@pytest.mark.parametrize(
    ("z", "said"), [(-1.26, "−1.3 SD"), (0.04, "0.0 SD"), (-0.04, "0.0 SD"), (1.0, "+1.0 SD"), (None, "")]
)
def test_deviations_have_a_sign_and_no_minus_nothing(z, said):
    assert words.deviation(z) == said


def test_what_is_silenced_stands_above_the_list():
    facts = PageFacts(NIGHT, Hands()(), silences=["S-1 silences site <north>"])
    page = render([invented_row(1)], facts=facts, is_synthetic=False)
    assert "S-1 silences site &lt;north&gt;" in page
    assert "S-1 silences site <north>" in in_words([invented_row(1)], facts=facts, is_synthetic=False)


def test_why_somebody_was_told_stands_before_how_the_patient_is():
    row = invented_row(
        1, alerts=(alert(1, title="Flare reported by the patient"),), sentence="Close to usual."
    )
    page = html([row])
    assert page.index(">Flare reported by the patient<") < page.index("Close to usual.")
