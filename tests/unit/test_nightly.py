"""The night shift: what fails is named and the rest go on; a rerun does nothing; shares change no number."""

import errno
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analytics.features import days as features
from analytics.risk import scores
from analytics.risk.panel import COLUMNS
from analytics.store import parts, publish, query
from analytics.store.partitions import Partition
from analytics.tables import TABLES
from devices.blobs import pack_u16
from devices.clock import DAY, to_utc
from devices.observations import StepCount
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night import jobs as night_jobs
from flows.night import nightly
from flows.night.command import in_words
from flows.night.nightly import run
from flows.night.report import NightReport
from flows.night.runner import Threads
from tests.fixtures_ingest import ENROLMENT_HEADER
from tests.fixtures_night import (
    ARRIVED,
    DAYS,
    FIRST,
    LAST,
    PEOPLE,
    enrolment_row,
    land,
    make_clinic,
    now,
    observations,
    patient,
    shown,
)


def last_nights(clinic: Clinic, **more: Any) -> NightReport:
    return run(clinic, LAST - timedelta(days=1), LAST, clock=now, **more)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic before its first night."""
    return make_clinic(tmp_path_factory.mktemp("lake")).home


@pytest.fixture(scope="module")
def computed(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after its last nights, undisturbed."""
    clinic = copy_of(lake, tmp_path_factory.mktemp("computed"))
    report = last_nights(clinic)
    assert not report.problems
    assert report.alerts_opened
    return clinic.home


@pytest.fixture(scope="module")
def undisturbed(computed: Path) -> dict[str, Any]:
    return shown(Clinic(computed))


@pytest.fixture
def clinic(lake: Path, tmp_path: Path) -> Clinic:
    return copy_of(lake, tmp_path)


@pytest.fixture
def done(computed: Path, tmp_path: Path) -> Clinic:
    return copy_of(computed, tmp_path)


def copy_of(home: Path, folder: Path, partitions: int = 8) -> Clinic:
    return Clinic(Path(shutil.copytree(home, folder, dirs_exist_ok=True, symlinks=True)), None, partitions)


@pytest.mark.parametrize(("partitions", "workers"), [(8, 1), (32, 3)])
def test_shares_and_threads_change_no_number(
    lake: Path, tmp_path: Path, undisturbed: dict[str, Any], partitions: int, workers: int
) -> None:
    clinic = copy_of(lake, tmp_path, partitions)
    last_nights(clinic, runner=Threads(workers))
    assert shown(clinic) == undisturbed


def test_night_by_night_gives_the_numbers_of_a_range(lake: Path, tmp_path: Path) -> None:
    ranged, nightly_ = copy_of(lake, tmp_path / "range"), copy_of(lake, tmp_path / "nights")
    first = LAST - timedelta(days=4)
    run(ranged, first, LAST, clock=now)
    for day in range(5):
        run(nightly_, first + timedelta(days=day), first + timedelta(days=day), clock=now)
    assert shown(nightly_) == shown(ranged)


def test_scores_need_no_more_columns_than_they_are_given(undisturbed: dict[str, Any]) -> None:
    rows = pa.Table.from_pylist(undisturbed["patient_day"], schema=TABLES["patient_day"])
    whole, narrow = (scores.compute(own, LAST, LAST) for own in (rows, rows.select(COLUMNS)))
    assert whole == narrow
    assert whole["flare_risk"].num_rows == PEOPLE


def test_the_same_night_again_computes_writes_and_tells_nothing(done: Clinic) -> None:
    last_nights(done)  # a snapshot of this folder: the copied one names the files it was made of
    again = last_nights(done)
    assert (again.feature_days, again.score_days, again.written, again.alerts_opened) == (0, 0, 0, 0)
    assert len(list((done.published / "snapshots").iterdir())) == 2


def test_late_data_reopen_the_dates_they_touch_and_what_looks_back_on_them(clinic: Clinic) -> None:
    whole = run(clinic, FIRST + timedelta(days=10), LAST, clock=now)
    assert whole.feature_days > DAYS - 1
    before = shown(clinic)
    land(clinic, observations(1, DAYS - 6, scale=0.2), ARRIVED + DAY)
    report = run(clinic, LAST, LAST, clock=now)
    # a date, the night that ends on the next one, and the zones of the world
    assert 1 <= report.feature_days <= 4
    assert report.score_days == 6
    after = shown(clinic)
    differ = {
        (row["patient"], row["local_date"])
        for row, other in zip(after["patient_day"], before["patient_day"], strict=True)
        if row != other
    }
    assert differ == {(patient(1), LAST - timedelta(days=5))}


def test_a_patient_whose_zone_is_unknown_is_set_aside_and_named(
    clinic: Clinic, undisturbed: dict[str, Any]
) -> None:
    rows = [enrolment_row(n, "Europe/Berlin" if n != 3 else "Mars/Base") for n in range(PEOPLE)]
    clinic.enrolment_path.write_text(ENROLMENT_HEADER + "".join(rows))
    report = last_nights(clinic)
    (problem,) = report.problems
    assert problem.patients == (patient(3),)
    assert "Mars/Base" in problem.what
    assert patient(3) not in problem.what
    assert shown(clinic) == without(undisturbed, {patient(3)})
    # corrected, the next run brings what was missing
    clinic.enrolment_path.write_text(ENROLMENT_HEADER + "".join(map(enrolment_row, range(PEOPLE))))
    assert not last_nights(clinic).problems
    assert shown(clinic) == undisturbed


def test_a_zone_that_goes_wrong_later_takes_no_history(done: Clinic, undisturbed: dict[str, Any]) -> None:
    rows = [enrolment_row(n, "Europe/Berlin" if n != 3 else "Mars/Base") for n in range(PEOPLE)]
    done.enrolment_path.write_text(ENROLMENT_HEADER + "".join(rows))
    assert len(last_nights(done).problems) == 1
    assert shown(done) == undisturbed


def test_a_lake_file_that_cannot_be_read_is_named_and_the_rest_published(
    clinic: Clinic, undisturbed: dict[str, Any]
) -> None:
    victim = clinic.lake.files("step_count")[-1]
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) // 2])
    report = last_nights(clinic)
    (problem,) = report.problems
    assert victim.name in problem.where
    assert Path(report.snapshot or "").exists()
    assert query.run(clinic.current, "select count(*) n from observations_step_count").to_pylist()[0]["n"]
    found = shown(clinic)
    assert all(row["steps"] is None for row in found["patient_day"] if row["local_date"] == LAST)
    # restored, its dates are reopened
    victim.write_bytes(content)
    assert not last_nights(clinic).problems
    assert shown(clinic) == undisturbed


def test_a_lake_file_that_breaks_inside_is_found_when_it_is_read(clinic: Clinic) -> None:
    victim = clinic.lake.files("step_count")[-1]
    content = bytearray(victim.read_bytes())
    content[8:400] = bytes(392)
    victim.write_bytes(bytes(content))
    report = last_nights(clinic)
    assert {problem.where.split("/")[-1] for problem in report.problems} == {victim.name}
    assert len(shown(clinic)["flare_risk"]) == 2 * PEOPLE
    again = last_nights(clinic)
    assert [problem.where for problem in again.problems] == [problem.where for problem in report.problems]
    assert (again.feature_days, again.written) == (0, 0), "known and said, not found anew"


def test_values_of_one_patient_that_cannot_be_computed_stop_nobody_else(
    clinic: Clinic, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = features.compute

    def compute(con: Any, first: Any, last: Any, *, patients: Any = None) -> Any:
        if patient(5) in patients:
            raise ValueError("values do not belong together")
        return whole(con, first, last, patients=patients)

    monkeypatch.setattr(night_jobs.features, "compute", compute)
    report = last_nights(clinic)
    assert {problem.patients for problem in report.problems} == {(patient(5),)}
    assert shown(clinic) == without(undisturbed, {patient(5)})
    monkeypatch.undo()
    assert not last_nights(clinic).problems, "it is tried again"
    assert shown(clinic)["flare_risk"] == undisturbed["flare_risk"]


def failing(share: Partition, error: Exception, times: int = 99) -> Callable[[Any], Any]:
    """Scores that fail for one share, so many times."""
    count = [0]
    whole = night_jobs.compute_scores

    def compute(job: Any) -> Any:
        if job.partition == share and count[0] < times:
            count[0] += 1
            raise error
        return whole(job)

    return compute


def test_a_share_that_fails_is_named_and_retried_and_the_rest_published(
    clinic: Clinic, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    share = next(Partition(n, 8) for n in range(8) if Partition(n, 8).holds(patient(5)))
    own = {patient(n) for n in range(PEOPLE) if share.holds(patient(n))}
    monkeypatch.setattr(nightly, "compute_scores", failing(share, RuntimeError("out of luck")))
    report = last_nights(clinic)
    assert [str(share) in problem.where for problem in report.problems] == [True]
    assert "out of luck" in report.problems[0].what
    rows = query.run(clinic.current, "select distinct patient from flare_risk").to_pylist()
    assert {row["patient"] for row in rows} == {patient(n) for n in range(PEOPLE)} - own
    monkeypatch.undo()
    mended = last_nights(clinic)
    assert not mended.problems
    assert mended.feature_days == 0
    assert shown(clinic) == undisturbed


def test_a_full_disk_is_named_and_what_was_finished_is_published(
    done: Clinic, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    share = next(Partition(n, 8) for n in range(8) if Partition(n, 8).holds(patient(1)))
    whole = parts._store

    def store(path: Path, content: pa.Buffer) -> None:
        if f"part-{share}." in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(path, content)

    monkeypatch.setattr(parts, "_store", store)
    other = next(number for number in range(PEOPLE) if not share.holds(patient(number)))
    for number in (other, 1):
        land(done, observations(number, DAYS - 1, scale=0.5), ARRIVED + DAY + number)
    report = last_nights(done)
    assert report.problems
    assert all("disk is full" in one.what and str(share) in one.where for one in report.problems)
    assert not (done.home / ".reserve").exists(), "its room went to the end of the run"
    now_there, before = shown(done)["patient_day"], undisturbed["patient_day"]
    differ = {row["patient"] for row, old in zip(now_there, before, strict=True) if row != old}
    assert differ == {patient(other)}
    monkeypatch.undo()
    assert not last_nights(done).problems
    assert (done.home / ".reserve").stat().st_size > 2**20


def test_an_error_that_passes_is_tried_again_at_once(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    share = next(Partition(n, 8) for n in range(8) if Partition(n, 8).holds(patient(5)))
    monkeypatch.setattr(nightly, "compute_scores", failing(share, RuntimeError("once"), times=1))
    assert not last_nights(clinic).problems


def test_a_derived_file_that_is_damaged_is_made_again(done: Clinic, undisturbed: dict[str, Any]) -> None:
    share = next(Partition(n, 8) for n in range(8) if Partition(n, 8).holds(patient(1)))
    victims = sorted((done.derived.root / "patient_day").rglob(f"part-{share}.*.parquet"))[::5]
    for victim in victims:
        content = bytearray(victim.read_bytes())
        content[4:60] = bytes(56)
        victim.write_bytes(bytes(content[: len(content) if victim != victims[0] else 50]))
    land(done, observations(1, DAYS - 1, scale=0.5), ARRIVED + DAY)
    report = last_nights(done)
    assert report.problems
    assert all("computed again" in problem.what for problem in report.problems)
    assert not last_nights(done).problems
    found = shown(done)["patient_day"]
    assert len(found) == len(undisturbed["patient_day"])
    assert [r for r in found if r["patient"] != patient(1)] == [
        r for r in undisturbed["patient_day"] if r["patient"] != patient(1)
    ]


def test_two_runs_at_once_do_not_meet(clinic: Clinic) -> None:
    with clinic.alone("a test"), pytest.raises(UserError, match="another process is busy"):
        last_nights(clinic)


def test_a_report_and_a_mark_are_left(clinic: Clinic) -> None:
    report = last_nights(clinic)
    (path,) = clinic.reports.iterdir()
    assert json.loads(path.read_text()) == report.to_json()
    assert path.stat().st_mode & 0o077 == 0, "it may name patients"
    mark = json.loads(clinic.watermark_path.read_text())
    assert mark == {"utc": now(), "night": str(LAST), "snapshot": Path(report.snapshot or "").stem}


def test_daily_totals_that_are_not_the_sum_of_minutes_are_counted(clinic: Clinic) -> None:
    assert "in doubt" not in in_words(last_nights(clinic).to_json() | {"seconds": 1})
    # (person, days back): local midnight in Berlin is 22:00 UTC
    for number, back in ((1, 0), (1, 1), (2, 0), (3, 5)):
        midnight = to_utc(datetime.combine(LAST - timedelta(days=back + 1), time(22), UTC))
        whole: dict[str, Any] = {"device": f"band-{number}", "source": "test/1", "start_utc": midnight}
        land(clinic, [StepCount(**whole, period_s=86_400, counts=pack_u16([60_000]))], ARRIVED + DAY + number)
    report = last_nights(clinic)
    assert (report.vendor_difference_days, report.vendor_difference_patients) == (3, 2)
    (line,) = [one for one in in_words(report.to_json() | {"seconds": 1}).splitlines() if "in doubt" in one]
    assert "3 days of 2 patients" in line
    one = last_nights(clinic, patients=[patient(2)])
    assert (one.vendor_difference_days, one.vendor_difference_patients) == (1, 1)


def test_a_snapshot_names_its_files_and_they_stay(done: Clinic) -> None:
    first = done.current.resolve()
    before = query.run(first, "select * from patient_day order by patient, local_date")
    land(done, observations(1, DAYS - 1, scale=0.5), ARRIVED + DAY)
    last_nights(done)
    assert done.current.resolve() != first
    assert query.run(first, "select * from patient_day order by patient, local_date").equals(before)
    named = publish.files_of(done.published, first.stem)
    assert len(named) > DAYS
    assert all(path.exists() for path in named)


def without(tables: dict[str, Any], patients: set[str]) -> dict[str, Any]:
    return {name: [row for row in rows if row["patient"] not in patients] for name, rows in tables.items()}


def test_t_scores_of_the_site_are_published_and_a_wrong_table_is_named(clinic: Clinic):
    table = "form,raw_sum,t_score,standard_error\n" + "".join(f"made-up-1,{n},{n},1\n" for n in range(1, 6))
    clinic.t_scores_path.write_text(table)
    assert not last_nights(clinic).problems
    assert query.run(clinic.current, "select count(*) as n from t_score").to_pylist() == [{"n": 5}]
    clinic.t_scores_path.write_text(table + "made-up-1,9,9,1\n")
    report = last_nights(clinic)
    assert [(one.where, "lacks raw sums" in one.what) for one in report.problems] == [("T-scores", True)]
    tables = query.run(clinic.current, "select table_name from duckdb_tables()")["table_name"].to_pylist()
    assert "t_score" not in tables
