"""The page the demo ends with, in a real browser: silent, alone, and about everybody."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_browser import CHROMIUM, browser

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def opened(demo: dict[str, Any], tmp_path_factory: pytest.TempPathFactory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        page.open(Path(demo["page"]).as_uri(), 1400)
        yield page


def test_it_is_silent_and_asks_nobody(demo: dict[str, Any], opened: Any) -> None:
    assert opened.complaints() == []
    first, *others = opened.requests()
    assert first == Path(demo["page"]).as_uri()
    assert [asked for asked in others if not asked.startswith("data:")] == []


def test_it_says_that_nobody_in_it_is_real(opened: Any) -> None:
    # innerText: what is displayed, not what merely stands in the file
    assert "SYNTHETIC" in opened.evaluate("document.body.innerText")


def test_everybody_stands_in_it_once(demo: dict[str, Any], opened: Any) -> None:
    with (demo["home"] / "enrolment.csv").open(newline="") as rows:
        enrolled = {row["patient"] for row in csv.DictReader(rows)}
    shown = opened.evaluate("[...document.querySelectorAll('tr.patient th')].map(e => e.firstChild.data)")
    assert len(shown) == len(enrolled) == demo["people"]
    assert set(shown) == enrolled
    assert opened.evaluate("document.querySelectorAll('tr.patient svg.spark').length") == 3 * len(shown)
