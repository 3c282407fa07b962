"""Synthetic histories: deterministic, contiguous, valid, and within what is documented."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from devices.blobs import unpack_u16
from devices.clock import HOUR, MINUTE, SECOND, local_date, local_night
from devices.observations import (
    KINDS,
    FlareReport,
    Observation,
    ProAnswer,
    RrInterval,
    SleepStage,
    StepCount,
)
from devices.sim.cohort import PersonRecord, simulate
from devices.sim.cohort_days import answers
from devices.sim.cohort_path import Course
from devices.sim.made import Made
from devices.sim.people import make_people
from devices.sim.physiology import EARLY_RATE, EXTRA_RATE, MISSED_RATE

SEED = 11
FIRST, LAST = date(2026, 3, 1), date(2026, 4, 29)
SPRING_BERLIN = date(2026, 3, 29)
AUTUMN_BERLIN = date(2025, 10, 26)


@pytest.fixture(scope="module")
def people():
    return make_people(40, seed=SEED)


@pytest.fixture(scope="module")
def cohort(people) -> list[PersonRecord]:
    return [simulate(person, FIRST, LAST, seed=SEED) for person in people]


@pytest.fixture(scope="module")
def history(cohort) -> list[Observation]:
    """All observations of person 1 (Europe/Berlin, whose clocks change within the range)."""
    return list(cohort[0].observations())


def digest(observations: Iterable[Observation]) -> str:
    made = hashlib.sha256()
    for observation in observations:
        made.update(observation.kind.encode() + msgspec.msgpack.encode(observation))
    return made.hexdigest()


# --- determinism


def test_same_seed_same_bytes_in_any_order(people, history) -> None:
    simulate(people[5], FIRST, LAST, seed=SEED)
    again = simulate(people[0], FIRST, LAST, seed=SEED)
    assert digest(again.observations()) == digest(history)
    other = simulate(people[0], FIRST, LAST, seed=SEED + 1)
    assert digest(other.observations()) != digest(history)


def test_the_range_asked_for_changes_nothing(people, cohort) -> None:
    cut = date(2026, 3, 20)
    parts = [
        *simulate(people[0], FIRST, cut, seed=SEED).observations(),
        *simulate(people[0], cut + timedelta(days=1), LAST, seed=SEED).observations(),
    ]
    whole = list(cohort[0].observations())
    key = msgspec.msgpack.encode
    assert sorted(map(key, parts)) == sorted(map(key, whole))
    within = [*cohort[0].observations(FIRST, cut), *cohort[0].observations(cut + timedelta(days=1), LAST)]
    assert digest(within) == digest(parts)


def test_the_latent_course_does_not_depend_on_what_was_asked_before(people) -> None:
    far, near = date(2027, 6, 1), date(2026, 3, 1)
    forward, backward = Course(people[0], seed=SEED), Course(people[0], seed=SEED)
    assert [forward.day(near), forward.day(far)] == [backward.day(far), backward.day(near)][::-1]


def test_dates_outside_the_history_are_refused(people, cohort) -> None:
    with pytest.raises(ValueError, match="outside"):
        list(cohort[0].observations(FIRST - timedelta(days=1), LAST))
    with pytest.raises(ValueError, match="before"):
        simulate(people[0], LAST, FIRST, seed=SEED)


# --- form


def test_observations_are_valid_ordered_and_never_repeat(people) -> None:
    for person in people[:4]:
        observations = list(simulate(person, FIRST, FIRST + timedelta(days=13), seed=SEED).observations())
        starts = [observation.start_utc for observation in observations]
        assert starts == sorted(starts)
        identities = Counter((o.device, o.kind, o.start_utc) for o in observations)
        assert identities.most_common(1)[0][1] == 1
        for observation in observations:
            observation.check()
            decoded = msgspec.msgpack.decode(
                msgspec.msgpack.encode(observation), type=KINDS[observation.kind]
            )
            assert decoded == observation
            assert person.patient not in str(msgspec.structs.asdict(observation))


def test_nothing_is_observed_outside_the_dates(history) -> None:
    zone = ZoneInfo("Europe/Berlin")
    for observation in history:
        is_night = isinstance(observation, RrInterval | SleepStage)
        owner = local_night if is_night else local_date
        assert FIRST <= owner(observation.start_utc, zone) <= LAST


def test_rr_blocks_of_a_night_follow_each_other_without_a_gap(cohort, history) -> None:
    nights: defaultdict[str, list[RrInterval]] = defaultdict(list)
    for observation in history:
        if isinstance(observation, RrInterval):
            nights[observation.connection].append(observation)
    worn = [day for day, truth in cohort[0].truth.items() if truth.night.has_strap]
    assert len(nights) == len(worn) > 35
    for day, blocks in zip(worn, nights.values(), strict=True):
        start, rr = cohort[0].night_rr(day)
        assert blocks[0].start_utc == start
        assert blocks[0].gap_before_ms is None
        assert b"".join(block.rr_ms for block in blocks) == rr.astype("<u2").tobytes()
        beats = 0
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            assert block.first_beat == beats
            beats += block.sample_count
            assert block.end_utc - block.start_utc < HOUR + 4 * SECOND
            if following is not None:
                assert following.start_utc == block.end_utc
                assert following.gap_before_ms == 0


def test_worn_nights_carry_twenty_thousand_rr_and_the_others_none(cohort) -> None:
    counts = []
    for record in cohort[::2]:
        for day in list(record.truth)[::3]:
            night = record.night_rr(day)
            assert (night is not None) == record.truth[day].night.has_strap
            if night:
                counts.append(len(night[1]))
    assert min(counts) >= 20_000
    assert 25_000 < np.median(counts) < 33_000


# --- steps and sleep


def minutes_of(record: PersonRecord, day: date) -> dict[int, int]:
    found: dict[int, int] = {}
    for observation in record.observations(day, day):
        if isinstance(observation, StepCount):
            assert observation.period_s == 60
            assert observation.start_utc // HOUR == (observation.end_utc - 1) // HOUR
            for i, steps in enumerate(unpack_u16(observation.counts)):
                found[observation.start_utc + i * MINUTE] = steps
    return found


def test_absent_is_not_zero(cohort) -> None:
    full = partial = unworn = 0
    for record in cohort[:6]:
        for day in list(record.truth)[::2]:
            truth, minutes = record.truth[day], minutes_of(record, day)
            assert len(minutes) == truth.worn_minutes
            assert sum(minutes.values()) <= truth.steps
            full += truth.worn_h > 20
            partial += 0 < truth.worn_h < 20
            unworn += not minutes
    assert full > 60
    assert partial > 10
    assert unworn > 3


@pytest.mark.parametrize(("day", "hours"), [(SPRING_BERLIN, 23), (AUTUMN_BERLIN, 25), (FIRST, 24)])
def test_a_day_has_as_many_minutes_as_the_zone_says(people, day, hours) -> None:
    berliners = [person for person in people if person.zone == "Europe/Berlin"]
    records = [simulate(person, day, day + timedelta(days=1), seed=SEED) for person in berliners]
    assert {record.truth[day].minutes for record in records} == {hours * 60}
    whole = 0
    for record in records:
        (ring,) = record.ring_days(day, day)
        assert len(ring.slots) == hours * 4
        minutes, start = minutes_of(record, day), record.truth[day].day_start_utc
        nights = [truth.night for truth in record.truth.values()]
        if record.truth[day].worn_h > 16 and all(night.has_band for night in nights):
            whole += 1
            # every minute of the day but those on the charger
            assert hours * 60 - 81 <= len(minutes) <= hours * 60
            assert (min(minutes), max(minutes)) == (start, start + (hours * 60 - 1) * MINUTE)
    assert whole


def test_no_steps_while_asleep(cohort) -> None:
    record, seen = cohort[0], 0
    for day in list(record.truth)[:20]:
        night = record.truth[day].night
        for start, steps in minutes_of(record, day).items():
            if night.start_utc <= start < night.end_utc:
                assert steps == 0
                seen += 1
    assert seen > 2000


def test_the_band_counts_through_the_nights_it_is_worn_and_no_others(cohort) -> None:
    seen: Counter[bool] = Counter()
    for record in cohort[:6]:
        for day in list(record.truth)[:20]:
            truth, minutes = record.truth[day], minutes_of(record, day)
            start = max(truth.night.start_utc, truth.day_start_utc)
            asleep = range(start, truth.night.end_utc, MINUTE)
            assert {minute in minutes for minute in asleep} == {truth.night.has_band}
            seen[truth.night.has_band] += 1
    assert min(seen[True], seen[False]) > 10


def test_sleep_is_one_block_with_the_stages_of_the_truth(cohort, history) -> None:
    blocks = [o for o in history if isinstance(o, SleepStage)]
    nights = [truth.night for truth in cohort[0].truth.values() if truth.night.has_band]
    assert len(blocks) == len(nights) > 30
    for block, night in zip(blocks, nights, strict=True):
        assert (block.start_utc, block.end_utc) == (night.start_utc, night.end_utc)
        assert block.epoch_s == 30
        assert block.stages.count(1) == 2 * night.waso_min
        assert {1, 2, 3, 4} == set(block.stages)
        assert block.stages[0] != 1 != block.stages[-1]


# --- ring


def test_ring_observations_say_what_the_ring_holds(cohort) -> None:
    record = cohort[2]
    slots: dict[int, int] = {}
    sleeps: dict[int, bytes] = {}
    for observation in record.observations(band="ring"):
        if isinstance(observation, StepCount):
            assert observation.period_s == 900
            for i, steps in enumerate(unpack_u16(observation.counts)):
                slots[observation.start_utc + i * 900 * SECOND] = steps
        elif isinstance(observation, SleepStage):
            assert observation.epoch_s == 60
            sleeps[observation.start_utc] = observation.stages
    held_slots: dict[int, int] = {}
    held_sleeps: dict[int, bytes] = {}
    for ring in record.ring_days():
        for i, count in enumerate(ring.slots):
            if count is not None:
                held_slots[ring.start_utc + i * 900 * SECOND] = count
        if ring.sleep:
            start, bouts = ring.sleep
            held_sleeps[start] = b"".join(bytes([stage]) * minutes for stage, minutes in bouts)
            assert max(minutes for _, minutes in bouts) <= 255  # the ring keeps them in a byte
    assert slots == held_slots
    assert sleeps == held_sleeps
    for ring in record.ring_days(FIRST, FIRST + timedelta(days=13)):
        assert sum(slot or 0 for slot in ring.slots) == sum(minutes_of(record, ring.day).values())


def test_all_but_steps_and_sleep_are_the_same_with_a_ring(cohort) -> None:
    def rest(band):
        return digest(
            o
            for o in cohort[2].observations(FIRST, FIRST + timedelta(days=6), band=band)
            if not isinstance(o, StepCount | SleepStage)
        )

    assert rest("ring") == rest("band")


# --- what is documented


def mad_sd(values: list[float]) -> float:
    return float(1.4826 * np.median(np.abs(np.array(values) - np.median(values))))


def test_scatter_within_a_person_is_near_the_published_scales(cohort) -> None:
    def scatter(of) -> float:
        return float(np.median([mad_sd([of(t) for t in record.truth.values()]) for record in cohort]))

    assert 0.32 < scatter(lambda t: np.log(t.steps)) < 0.52
    assert 40 < scatter(lambda t: t.night.tst_min) < 65
    assert 9 < scatter(lambda t: t.night.waso_min) < 20
    assert 20 < scatter(lambda t: t.night.rr_ms) < 36
    assert 0.12 < scatter(lambda t: np.log(t.night.rmssd_ms)) < 0.22


def test_wear_answers_and_taps_are_as_imperfect_as_documented(cohort) -> None:
    truths = [truth for record in cohort for truth in record.truth.values()]
    assert 0.12 < np.mean([t.worn_h < 10 for t in truths]) < 0.25
    assert 0.75 < np.mean([t.night.has_strap for t in truths]) < 0.92
    missed = np.array([t.answers.nrs is None for t in truths])
    flare = np.array([t.is_flare for t in truths])
    tapped = np.array([t.answers.has_tapped for t in truths])
    assert 0.08 < missed.mean() < 0.22
    assert 0.45 < tapped[flare].mean() < 0.75
    assert 0.65 < flare[tapped].mean() < 0.92
    assert 0.04 < flare.mean() < 0.16


def test_people_in_a_flare_answer_less(cohort) -> None:
    def missed(flare: str) -> list[bool]:
        latents = [truth.latent for record in cohort for truth in record.truth.values()]
        people = [record.person for record in cohort for _ in record.truth]
        return [
            answers(person, replace(latent, flare=flare), replace(latent, flare=""), seed=SEED).nrs is None
            for person, latent in zip(people, latents, strict=True)
        ]

    calm, flaring = np.array(missed("")), np.array(missed("ordinary"))
    assert flaring[calm].all(), "whoever is silent on a calm day is silent in a flare too"
    assert 0.03 < flaring.mean() - calm.mean() < 0.09


def test_steps_fall_in_flares_about_as_published_and_pain_rises(cohort) -> None:
    log_ratios, rises = [], []
    for record in cohort:
        truths = [truth for truth in record.truth.values() if not truth.latent.is_ill]
        inside = [truth for truth in truths if truth.is_flare]
        outside = [truth for truth in truths if not truth.is_flare]
        usual = np.mean([np.log(truth.steps) for truth in outside])
        log_ratios += [np.log(truth.steps) - usual for truth in inside]
        pains = [truth.answers.nrs for truth in outside if truth.answers.nrs is not None]
        rises += [t.answers.nrs - np.mean(pains) for t in inside if t.answers.nrs is not None]
    assert -0.28 < np.exp(np.mean(log_ratios)) - 1 < -0.08
    assert 1.4 < np.mean(rises) < 3.4


def test_beats_have_the_rmssd_of_the_truth(cohort) -> None:
    ratios = []
    for record in cohort[::5]:
        for day in list(record.truth)[:6]:
            night = record.night_rr(day)
            if night is None:
                continue
            steps = np.abs(np.diff(night[1].astype(float)))
            clean = steps[steps < 200]  # artifacts make larger ones
            ratios.append(np.sqrt(np.mean(clean**2)) / record.truth[day].night.rmssd_ms)
            assert 0.001 < np.mean(steps >= 200) < 0.02
    assert 0.93 < np.median(ratios) < 1.07
    assert min(ratios) > 0.85
    assert max(ratios) < 1.15


def test_artifacts_come_at_their_rate_and_keep_the_clock(cohort) -> None:
    early = missed = extra = total = 0
    for record in cohort[:12]:
        for day in list(record.truth)[:10]:
            night = record.night_rr(day)
            if night is None:
                continue
            rr = night[1] / np.median(night[1])
            is_short = rr[1:-2] < 0.75
            early += np.sum(is_short & (rr[2:-1] > 1.2) & (rr[:-3] > 0.75))
            missed += np.sum(rr > 1.6)
            extra += np.sum(is_short & (rr[2:-1] < 0.75) & (np.abs(rr[1:-2] + rr[2:-1] - 1) < 0.25))
            total += len(rr)
            plan = record.truth[day].night
            assert abs(night[1].sum() / 60_000 - plan.strap_minutes) < 5
    assert 0.8 * EARLY_RATE < early / total < 1.1 * EARLY_RATE
    assert 0.8 * MISSED_RATE < missed / total < 1.1 * MISSED_RATE
    assert 0.8 * EXTRA_RATE < extra / total < 1.2 * EXTRA_RATE


def test_some_people_deviate_clearly_for_three_days_and_most_do_not(cohort) -> None:
    """Steps, sleep and HRV together, in SD of the person's own record, mean of three days."""
    deviating = 0
    for record in cohort:
        streams = []
        for of, scale in (
            (lambda t: np.log(t.steps), 0.46),
            (lambda t: t.night.tst_min, 55),
            (lambda t: np.log(t.night.rmssd_ms), 0.18),
        ):
            values = np.array([of(truth) for truth in record.truth.values()])
            streams.append((values - np.median(values)) / scale)
        three_days = np.convolve(np.mean(streams, axis=0), np.full(3, 1 / 3), mode="valid")
        deviating += bool(three_days.min() < -1.25)
    assert 2 <= deviating <= 20


def test_the_traveller_sleeps_earlier_by_the_clock_at_home(cohort) -> None:
    (record,) = [record for record in cohort if record.person.is_traveller]
    away = [t for t in record.truth.values() if t.latent.is_travelling]
    home = [t for t in record.truth.values() if not t.latent.is_travelling]

    def onset_min(truths) -> float:
        return float(np.median([(t.night.start_utc - t.day_start_utc) / MINUTE for t in truths]))

    assert len(away) >= 5
    assert -360 < onset_min(away) - onset_min(home) < -240


# --- counting


def test_made_counts_every_sample(cohort) -> None:
    made, record = Made(), cohort[1]
    last = FIRST + timedelta(days=9)
    for observation in record.observations(FIRST, last):
        made.add(observation)
    truths = [truth for day, truth in record.truth.items() if day <= last]
    nights = [night for day in record.truth if day <= last and (night := record.night_rr(day))]
    expected = {
        "rr_interval": sum(len(rr) for _, rr in nights),
        "step_count": sum(truth.worn_minutes for truth in truths),
        "sleep_stage": sum(2 * t.night.minutes for t in truths if t.night.has_band),
        "pro_answer": sum((t.answers.nrs is not None) + (t.answers.mood is not None) for t in truths),
        "flare_report": sum(t.answers.has_tapped for t in truths),
        "battery": sum((not t.latent.is_outage) + t.night.has_strap for t in truths),
    }
    counted = made.by_kind()
    assert {kind: count for kind, count in counted.items() if count} == {
        k: n for k, n in expected.items() if n
    }
    assert made.total() == sum(expected.values())


def test_answers_are_whole_numbers_from_nought_to_ten(history) -> None:
    answered = [o for o in history if isinstance(o, ProAnswer)]
    assert {(o.instrument, o.item) for o in answered} == {("nrs", "pain"), ("mood", "low-mood")}
    assert all(o.value == int(o.value) and 0 <= o.value <= 10 for o in answered)
    names = [o.answer_id for o in answered] + [o.report_id for o in history if isinstance(o, FlareReport)]
    assert len(set(names)) == len(names)
