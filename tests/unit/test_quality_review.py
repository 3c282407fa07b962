"""The monthly page: what is counted, that nobody can be told from it, and that it is a page."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alerts.engine.journal import Journal
from analytics.store import publish
from analytics.tables import FLARE_RISK, NIGHT, PATIENT_DAY, RHYTHM
from devices.observations import ProAnswer
from devices.tables import ENROLMENT
from flows.cli import main
from flows.clinic import Clinic
from flows.shift.quality_figures import LEAST, OTHERS, month_of, people_of, share, together
from flows.shift.quality_review import month_before, review
from ingest.lake.columns import Arrived, to_table
from tests.fixtures_alerts import NIGHT as ALERT_NIGHT
from tests.fixtures_alerts import open_alert
from tests.fixtures_browser import browser
from tests.fixtures_night import ARRIVED, now, patient

#: Month of the alerts of the fixtures.
MONTH = "2026-11"
FIRST, LAST = month_of(MONTH)
BEGUN = FIRST - timedelta(days=40)
PEOPLE = 12


def day_row(number: int, day: date) -> dict[str, Any]:
    """The first six have less pain than at first, the first two of the south are silent."""
    is_silent = number in (6, 7)
    is_late = day >= FIRST
    row: dict[str, Any] = {"patient": patient(number), "local_date": day, "zone": "Europe/Berlin"}
    if is_silent:
        return row | {"is_valid_day": False, "quality": "worn 0 min of 600"}
    nrs = 3.0 if is_late and number < 6 else 6.0
    return row | {"is_valid_day": True, "wear_min": 720.0, "steps": 5000.0, "nrs": nrs, "tst_min": 400.0}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    home = tmp_path_factory.mktemp("home")
    made = Clinic(home)
    (home / "lake").mkdir()
    (home / "SYNTHETIC").touch()
    dates = [BEGUN + timedelta(days=n) for n in range((LAST - BEGUN).days + 1)]
    days = [day_row(number, day) for number in range(PEOPLE) for day in dates]
    flares = [
        {"patient": patient(number), "local_date": LAST, "status": "ok", "last_onset_date": FIRST}
        | {"model_version": "m"}
        for number in range(5)
    ]
    sites = ["north"] * 9 + ["south"] * 3
    enrolled = [
        {"patient": patient(n), "site": sites[n], "zone": "Europe/Berlin", "gateway": f"gw-{n}"}
        | {"device": f"band-{n}", "valid_from_utc": 0, "valid_to_utc": None}
        for n in range(PEOPLE)
    ]
    answers = [
        ProAnswer(
            device=f"band-{n}",
            source="test/1",
            start_utc=ARRIVED + 160 * 86_400_000_000,
            answer_id=f"a-{n}",
            instrument="pgic",
            item="change",
            value=2.0 if n < 5 else 5.0,
            form_version="1",
            language="de",
            mode="app",
            respondent="patient",
        )
        for n in range(10)
    ]
    file = home / "answers.parquet"
    rows = [Arrived(one, f"gw-{number}", 1) for number, one in enumerate(answers)]
    pq.write_table(to_table("pro_answer", rows, ARRIVED), file)
    empty = {"night": NIGHT.empty_table(), "rhythm": RHYTHM.empty_table()}
    tables = {
        "patient_day": pa.Table.from_pylist(days, schema=PATIENT_DAY),
        "flare_risk": pa.Table.from_pylist([_whole(row) for row in flares], schema=FLARE_RISK),
    }
    publish.publish(
        made.published,
        tables | empty,
        {"pro_answer": [file]},
        clock=now,
        enrolment=pa.Table.from_pylist(enrolled, schema=ENROLMENT),
        is_synthetic=True,
    )
    with Journal(made.journal_path, now) as journal:
        for number in range(7):
            open_alert(journal, patient(number), rule=0)
        open_alert(journal, patient(0), rule=1)
        open_alert(journal, patient(1), rule=1)
    return made


def _whole(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: row.get(name, "" if not FLARE_RISK.field(name).nullable else None) for name in FLARE_RISK.names
    }


def page_of(clinic: Clinic) -> str:
    return review(clinic, MONTH, clock=now).read_text()


def lines(html: str) -> dict[str, str]:
    """First value of every line of the page."""
    found = re.findall(r'<th scope="row">([^<]+)</th>\s*<td class="n">([^<]+)</td>', html)
    return {what: value.strip() for what, value in found}


def test_what_is_counted(clinic: Clinic) -> None:
    assert FIRST <= ALERT_NIGHT <= LAST
    said = lines(page_of(clinic))
    assert said["patients enrolled"] == "12"
    assert said["with data on 16 days or more"] == "all but fewer than 5 of 12"
    assert said["days worn 10 h or more"] == "83 % of 360 days"
    assert said["hours worn on such a day"] == "median 12.0 h"
    assert said["pain lower by 30 % or more than in the first four weeks"] == "all but fewer than 5 of 10"
    assert said["steps against the first four weeks"] == "median +0 %"
    assert said["flares that began, per 100 patients and week"] == f"{100 * 5 / (360 / 7):.1f}"
    much = said["global impression of change: much or very much improved"]
    assert much.startswith("50 % (5 of 10, 95 % 24 to 76)")
    assert said["right by outcome (PPV)"] == "nobody"
    assert said["patients with an alert"] == "58 % (7 of 12)"
    assert said["alerts per 100 patients and week (budget 15)"].startswith("17.5")


def test_nobody_stands_in_it_and_nothing_is_said_of_few(clinic: Clinic) -> None:
    html = page_of(clinic)
    assert "SYNTHETIC" in html
    for number in range(PEOPLE):
        assert patient(number) not in html
        assert f"band-{number}" not in html
        assert f"gw-{number}" not in html
    # two silent people, three people of the south, two with a flare reported: none alone
    assert "worn 0 min" not in html
    assert "worn … min" not in html, "of two patients"
    assert "south" not in html
    assert "flare-reported" not in html
    assert lines(html)[OTHERS] == "9 alerts", "with the next larger rule: a sum tells nobody"
    assert (clinic.home / "reviews" / f"{MONTH}.html").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (0, 0, "nobody"),
        (2, 4, "fewer than 5"),
        (0, 40, "fewer than 5 of 40"),
        (4, 40, "fewer than 5 of 40"),
        (36, 40, "all but fewer than 5 of 40"),
        (40, 40, "all but fewer than 5 of 40"),
        (10, 40, "25 % (10 of 40)"),
    ],
)
def test_a_share_of_few_has_no_number(part: int, whole: int, said: str) -> None:
    assert share(part, whole) == said


def test_small_groups_are_put_together_so_that_no_sum_tells_them() -> None:
    def people(*numbers: int) -> set[str]:
        return {str(number) for number in numbers}

    large, middle = people(*range(20)), people(*range(20, 27))
    assert together({"a": large, "b": middle}) == {"a": large, "b": middle}
    merged = together({"a": large, "b": middle, "c": people(90, 91)})
    assert merged == {"a": large, OTHERS: middle | people(90, 91)}
    several = {name: people(90 + n) for n, name in enumerate("cdefg")}
    assert together({"a": large, **several}) == {"a": large, OTHERS: people(90, 91, 92, 93, 94)}
    assert together({"c": people(1), "d": people(2)}) == {}
    for groups in ({"a": large, "b": middle, "c": people(90)}, {"a": large, **several}):
        assert all(len(patients) >= LEAST for patients in together(groups).values())


def test_a_month_without_anything_and_a_word_that_is_none(clinic: Clinic, capsys: Any) -> None:
    home = ["--home", str(clinic.home)]
    assert main(["review", "--month", "2025-01", *home]) == 2
    assert "nothing of 2025-01 is published" in capsys.readouterr().err
    assert main(["review", "--month", "October", *home]) == 2
    assert main(["review", "--month", MONTH, *home]) == 0
    assert capsys.readouterr().out.strip().endswith(f"{MONTH}.html")
    assert month_before(date(2026, 12, 1)) == MONTH
    assert month_before(date(2027, 1, 31)) == "2026-12"
    assert not people_of(clinic.current, date(2025, 1, 1), date(2025, 1, 31))


@contextmanager
def opened(clinic: Clinic, folder: Path, width: int) -> Iterator[Any]:
    path = review(clinic, MONTH, clock=now)
    with browser(folder / "profile") as page:
        page.open(path.as_uri(), width)
        yield page


def test_it_is_read_in_a_browser_and_asks_nobody(clinic: Clinic, tmp_path: Path) -> None:
    with opened(clinic, tmp_path, 390) as page:
        assert page.complaints() == []
        assert [url for url in page.requests() if not url.startswith("file:")] == []
        assert page.evaluate("document.querySelectorAll('section').length") == 6
        wide = "document.documentElement.scrollWidth <= window.innerWidth"
        assert page.evaluate(wide), "nothing is out of sight on a small screen"
