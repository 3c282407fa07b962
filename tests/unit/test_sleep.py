"""Sleep episodes in closed form, day sleepers, circular clock times, social jetlag."""

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from analytics.features import days
from analytics.features.episodes import find_episodes
from analytics.features.sleep import circular_hours, social_jetlag
from analytics.store import warehouse
from tests.fixtures_analytics import enrolment, minutes, run, utc, write

MINUTE = 60_000_000
DAY = date(2026, 5, 20)


def found(stages, at=0, group=None):
    """Episodes of a hypnogram of one-minute epochs that begins at a minute."""
    start = (at + np.arange(len(stages))) * MINUTE
    return find_episodes(
        np.zeros(len(stages), np.int64) if group is None else group, start, start + MINUTE, np.array(stages)
    )


def night_of(tmp_path, rows, day=DAY, more=None, strap="strap-2"):
    files = {"sleep_stage": write(tmp_path, "sleep_stage", rows)} | (more or {})
    with warehouse.connect(files, enrolment({}, {"device": "ring-1"}, {"device": strap})) as con:
        return days.compute(con, day, day)["night"].to_pylist()[0]


@pytest.mark.parametrize("stages", [[], [0], [1], [1] * 500, [0] * 500])
def test_no_sleep_is_no_episode(stages):
    assert found(stages).count == 0


def test_one_epoch_is_an_episode():
    one = found([3])
    assert (one.count, one.tst_min[0], one.in_bed_min[0], one.awakening_count[0]) == (1, 1, 1, 0)
    assert np.isnan(one.latency_min[0])


@pytest.mark.parametrize(("awake", "count"), [(59, 1), (60, 2)])
def test_less_than_an_hour_apart_is_one_episode(awake, count):
    assert found([2] * 100 + [1] * awake + [2] * 100).count == count


def test_awake_time_between_two_episodes_is_latency_of_the_second():
    two = found([1] * 10 + [2] * 100 + [1] * 70 + [2] * 200 + [1] * 5)
    assert two.latency_min.tolist() == [10, 70]
    assert two.in_bed_min.tolist() == [110, 275]


@pytest.mark.parametrize(("awake", "is_told"), [(240, True), (241, False)])
def test_four_hours_awake_are_no_time_in_bed(awake, is_told):
    one = found([1] * awake + [2] * 300)
    assert np.isnan(one.in_bed_min[0]) != is_told
    assert np.isnan(one.latency_min[0]) != is_told


def test_awakenings_are_counted_once_and_unknown_stages_wake_nobody():
    one = found([2] * 60 + [1] * 3 + [2] * 60 + [0] * 3 + [3] * 60 + [0, 1, 0] + [4] * 60)
    assert (one.awakening_count[0], one.unknown_min[0], one.tst_min[0]) == (2, 5, 240)


def test_yasa_statistics_of_a_hypnogram():
    # by the definitions of yasa (epochs of 30 s): TIB 20, SPT 16, WASO 2, TST 14, SOL 1.5, SE 70
    hypnogram = [1] * 3 + [2] * 4 + [3] * 10 + [1] * 4 + [2] * 6 + [4] * 8 + [1] * 5
    start = np.arange(40) * MINUTE // 2
    one = find_episodes(np.zeros(40, np.int64), start, start + MINUTE // 2, np.array(hypnogram))
    episode = (one.final_us[0] - one.onset_us[0]) / MINUTE
    assert (one.in_bed_min[0], episode, one.tst_min[0], one.latency_min[0]) == (20, 16, 14, 1.5)
    assert episode - one.tst_min[0] == 2
    assert 100 * one.tst_min[0] / one.in_bed_min[0] == 70


def test_epochs_in_any_cut_and_twice_are_the_same_episodes():
    rng = np.random.default_rng(5)
    stages = rng.choice([0, 1, 2, 3, 4], 2000, p=[0.05, 0.3, 0.4, 0.15, 0.1])
    whole = found(stages)
    # plain reading, minute by minute
    asleep = [i for i, stage in enumerate(stages) if stage >= 2]
    pieces = [[asleep[0]]]
    for minute in asleep[1:]:
        if minute - pieces[-1][-1] - 1 >= 60:
            pieces.append([])
        pieces[-1].append(minute)
    assert whole.tst_min.tolist() == [len(piece) for piece in pieces]
    assert whole.onset_us.tolist() == [piece[0] * MINUTE for piece in pieces]
    for piece, count in zip(pieces, whole.awakening_count, strict=True):
        gaps = [stages[a + 1 : b] for a, b in pairwise(piece) if b > a + 1]
        assert count == sum(1 in gap for gap in gaps)
    # a device whose epochs reach into the next one
    start = np.arange(2000) * MINUTE
    longer = find_episodes(np.zeros(2000, np.int64), start, start + 3 * MINUTE // 2, stages)
    assert longer.tst_min[:-1].tolist() == whole.tst_min[:-1].tolist()


def test_sleep_past_noon_is_one_and_belongs_to_the_date_it_ends_on(tmp_path):
    # 08:00 to 15:30 in Berlin
    rows = minutes(utc("2026-05-20T06:00"), [2] * 450, "stage")
    pulse = minutes(utc("2026-05-20T06:00"), [70] * 300 + [48] * 60 + [70] * 90, "bpm")
    more = {
        "heart_rate": write(tmp_path, "heart_rate", pulse),
        "rr_interval": write(tmp_path, "rr_interval", [run(utc("2026-05-20T05:00"), [1000] * 32_000)]),
    }
    with_beats = night_of(tmp_path, rows, more=more, strap="strap-1")
    assert (with_beats["rr_count"], with_beats["window_count"]) == (450 * 60, 90)
    night = night_of(tmp_path, rows, more={"heart_rate": more["heart_rate"]})
    assert (night["tst_min"], night["sleep_end_utc"]) == (450, utc("2026-05-20T13:30"))
    assert night["midpoint_h"] == pytest.approx(11.75)
    assert night["resting_hr_bpm"] == 48  # reached after noon
    for other in (DAY - timedelta(days=1), DAY + timedelta(days=1)):
        assert night_of(tmp_path, rows, other)["tst_min"] is None


@pytest.mark.parametrize(
    ("chances", "longest"),
    [
        ((0.3, 0.7), 90),
        # somebody asleep at all hours, somebody awake in bed for hours before and after
        ((0.02, 0.98), 90),
        ((0.7, 0.3), 240),
    ],
)
def test_a_date_does_not_depend_on_which_dates_are_computed_with_it(tmp_path, chances, longest):
    rng = np.random.default_rng(8)
    awake, asleep = chances
    stages = np.repeat(
        rng.choice([1, 2, 3, 4], 600, p=[awake, *[asleep / 3] * 3]), rng.integers(20, longest, 600)
    )
    files = {
        "sleep_stage": write(
            tmp_path, "sleep_stage", minutes(utc("2026-05-08T00:00"), stages.tolist(), "stage")
        )
    }
    with warehouse.connect(files, enrolment({})) as con:
        together = days.compute(con, DAY - timedelta(days=5), DAY + timedelta(days=1))["night"].to_pylist()
        for row in together:
            alone = days.compute(con, row["local_date"], row["local_date"])["night"].to_pylist()
            assert alone == [row]


def test_the_longest_night_with_the_longest_wait_for_it_is_seen_whole(tmp_path):
    # Berlin: in bed from 03:30, asleep from 07:00 to half past midnight, awake until 04:00
    rows = minutes(utc("2026-05-19T01:30"), [1] * 210 + [2] * 1050 + [1] * 210, "stage")
    night = night_of(tmp_path, rows)
    assert (night["latency_min"], night["tst_min"], night["in_bed_min"]) == (210, 1050, 1470)


def test_naps_are_the_other_episodes_of_the_date(tmp_path):
    rows = minutes(utc("2026-05-19T22:00"), [2] * 300, "stage")
    rows += minutes(utc("2026-05-20T11:00"), [2] * 30, "stage")
    rows += minutes(utc("2026-05-20T15:00"), [2] * 25, "stage")
    # the ring saw less of the night: its naps are not added to those of the band
    rows += minutes(utc("2026-05-19T23:00"), [2] * 200, "stage", device="ring-1")
    rows += minutes(utc("2026-05-20T11:00"), [2] * 60, "stage", device="ring-1")
    night = night_of(tmp_path, rows)
    assert (night["tst_min"], night["nap_count"], night["nap_min"]) == (300, 2, 55)


@pytest.mark.parametrize(
    ("length", "reason"), [(1080, None), (1081, "sleep of more than 18 h is not believed")]
)
def test_a_device_that_sleeps_for_days_is_not_believed(tmp_path, length, reason):
    night = night_of(tmp_path, minutes(utc("2026-05-19T12:00"), [2] * length, "stage"))
    assert night["sleep_quality"] == reason
    assert night["sleep_source"] == (None if reason else "recorded")


def test_a_device_that_sleeps_for_days_takes_nothing_from_another(tmp_path):
    rows = minutes(utc("2026-05-19T08:00"), [2] * 1200, "stage")
    rows += minutes(utc("2026-05-19T22:00"), [2] * 400, "stage", device="ring-1")
    assert night_of(tmp_path, rows)["tst_min"] == 400
    beats = [run(utc("2026-05-19T20:00"), [1000] * 30_000)]
    more = {"rr_interval": write(tmp_path, "rr_interval", beats)}
    night = night_of(tmp_path, rows[:1200], more=more, strap="strap-1")
    assert (night["sleep_source"], night["tst_min"]) == ("assumed_night", None)
    assert (night["mean_nn_ms"], night["hrv_quality"]) == (1000, None)


def test_clock_times_on_the_circle():
    mean, spread = circular_hours(np.array([-1.0, 1.0, np.nan]))
    assert mean == pytest.approx(0, abs=1e-12)
    assert spread == pytest.approx(np.sqrt(-2 * np.log(np.cos(np.pi / 12))) * 12 / np.pi)
    assert circular_hours(np.array([11.0, -11.0]))[0] in (pytest.approx(12), pytest.approx(-12))
    assert circular_hours(np.array([4.0, 4.0])) == pytest.approx((4, 0))
    for nothing in ([], [np.nan], [0.0, 12.0]):
        assert np.isnan(circular_hours(np.array(nothing))[0])


def test_social_jetlag_needs_the_patients_own_work_days():
    week = [DAY + timedelta(days=i) for i in range(6)]
    middle = np.array([11.0, 11.0, 11.0, -11.0, -11.0, -11.0])
    assert social_jetlag(week, middle, week[:3]) == (pytest.approx(2), None)
    assert social_jetlag(week, middle, None)[1] == "work days not known"
    value, reason = social_jetlag(week, middle, week[:1])
    assert np.isnan(value)
    assert reason == "1 nights before work and 5 free ones, at least 2 of each needed"
    assert "4 free" in social_jetlag(week, np.append(middle[:5], np.nan), week[:1])[1]
