"""Jobs of single nights, each taking over from the one before, give the files of one job over all of them."""

from dataclasses import replace

import pyarrow.compute as pc
import pytest

from analytics.risk.model import SHIPPED
from analytics.risk.past import RAW_DAYS
from analytics.store.partitions import Partition
from analytics.store.parts import PartFiles
from flows.night.jobs import ScoreJob, compute_scores
from tests.unit.test_risk import day, flares_of_all_ages

FIRST, LAST = 70, 84
#: One share holds everybody of its number; some of each age and kind of flare are in it.
SHARE = Partition(3, 8)


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Folder and files of the patient-days of everybody."""
    root = tmp_path_factory.mktemp("derived")
    rows = SHARE.of(flares_of_all_ages())
    assert len(set(rows["patient"].to_pylist())) > 3
    return root, PartFiles(root).write({"patient_day": rows}, day(0), day(LAST), SHARE)


def job(days, first, last, since, before=()):
    root, parts = days
    history = tuple(part for part in parts if day(since) <= part.day <= day(last))
    return ScoreJob(root, day(first), day(last), SHARE, history, before=before)


def risks(parts):
    return [part for part in parts if part.table == "flare_risk"]


def test_no_night_needs_more_than_52_days_and_the_night_before_whatever_flares_there_were(days):
    whole = {part.day: part for part in risks(compute_scores(job(days, FIRST - 1, LAST, 0)).parts)}
    before = (whole[day(FIRST - 1)],)
    for number in range(FIRST, LAST + 1):
        (own,) = risks(compute_scores(job(days, number, number, number - RAW_DAYS, before)).parts)
        # files are named by their content
        assert own == whole[day(number)], number
        before = (own,)
    alone = risks(compute_scores(job(days, LAST, LAST, LAST - RAW_DAYS)).parts)
    assert alone != [whole[day(LAST)]], "52 days alone are not enough"


def test_a_night_takes_over_from_no_other_model(days):
    root, _ = days
    (before,) = risks(compute_scores(job(days, LAST - 1, LAST - 1, 0)).parts)
    other = replace(SHIPPED, version="site-1", rate_prior=8.0)
    taken, anew = (
        PartFiles(root).read("flare_risk", risks(compute_scores(replace(own, model=other)).parts))
        for own in (job(days, LAST, LAST, 0, (before,)), job(days, LAST, LAST, 0))
    )
    assert taken.equals(anew)
    assert pc.unique(taken["model_version"]).to_pylist() == ["site-1"]
