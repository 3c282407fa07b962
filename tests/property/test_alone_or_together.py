"""A patient's numbers are the same bits whoever else is computed, on which dates, by how many threads, from
which files.
"""

from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analytics.features import days, four_weeks
from analytics.metrics import METRICS
from analytics.risk import scores
from analytics.store import warehouse
from analytics.tables import DAY_CLOCK, NIGHT
from tests.fixtures_analytics import enrolment, patient_days, run, utc, write

FIRST, LAST = date(2026, 3, 28), date(2026, 3, 30)  # the clocks change on the 29th
START = utc("2026-03-27T08:00")
HOURS = 90
PEOPLE = ("p-1", "p-2", "p-3")
WEARABLES = ("band", "ring", "strap")


def seconds(count):
    return timedelta(seconds=int(count))


def slots(rng, device):
    """Steps in slots that overlap and share minutes: thirds and elevenths of a step to add up."""
    at, end = START + seconds(rng.integers(0, 50)), START + timedelta(hours=HOURS)
    while at < end:
        length = seconds(rng.choice([60, 420, 660, 900, 1100]))
        yield {"device": device, "start_utc": at, "end_utc": at + length, "steps": int(rng.integers(0, 40))}
        at += seconds(rng.choice([30, 60, 420, 7000], p=[0.2, 0.6, 0.19, 0.01]))


def epochs(rng, device):
    """Sleep and waking in epochs of any length, hours of waking between them."""
    for night in range(4):
        at = START + timedelta(hours=12 + 24 * night) + seconds(rng.integers(0, 9000))
        for stage in [1] * 60 + list(rng.integers(0, 5, 150)) + [1] * 40:
            length = timedelta(milliseconds=int(rng.integers(20_000, 300_000)))
            yield {"device": device, "start_utc": at, "end_utc": at + length, "stage": int(stage)}
            at += length


def beats(rng, device):
    """An hour and a half of beats per night in two runs that belong together."""
    for night in range(3):
        rr = np.round(850 + 40 * np.sin(np.arange(6000) / 9) + rng.normal(0, 25, 6000)).astype(int).tolist()
        cut = int(rng.integers(1, 6000))
        begin = START + timedelta(hours=14 + 24 * night)
        yield run(begin, rr[:cut], device=device)
        begin += timedelta(milliseconds=sum(rr[:cut]))
        yield run(begin, rr[cut:], device=device, first_beat=cut, gap_before_ms=0)


def pulses(rng, device):
    at = START
    while at < START + timedelta(hours=HOURS):
        yield {
            "device": device,
            "start_utc": at,
            "end_utc": at + seconds(1),
            "bpm": int(rng.integers(45, 99)),
        }
        at += seconds(rng.integers(60, 900))


def answers(rng, device):
    form = {"form_version": "1", "language": "en", "mode": "app", "item": "1"}
    for number in range(40):
        at = START + seconds(rng.integers(0, HOURS * 3600))
        said = {"value": float(rng.random() * 10), "instrument": ("nrs", "mood")[number % 2]}
        whose = {"device": device, "answer_id": f"a-{number}", "respondent": "patient"}
        yield form | said | whose | {"start_utc": at, "end_utc": at}


def lake(rng):
    """Rows by kind: two devices count steps, two tell sleep, two hear the heart."""
    makers = {
        "step_count": (slots, ("band", "ring")),
        "sleep_stage": (epochs, ("band", "ring")),
        "rr_interval": (beats, ("strap", "ring")),
        "heart_rate": (pulses, ("band", "ring")),
        "pro_answer": (answers, ("band", "ring")),
    }
    return {
        kind: [row for who in PEOPLE for what in devices for row in make(rng, f"{what}-{who}")]
        for kind, (make, devices) in makers.items()
    }


def everybody():
    return enrolment(*({"patient": who, "device": f"{what}-{who}"} for who in PEOPLE for what in WEARABLES))


def shuffled(rng, files, folder):
    """The same rows in another order, in three files."""
    found = {}
    for kind, (path,) in files.items():
        rows = pq.read_table(path)
        rows = rows.take(pa.array(rng.permutation(rows.num_rows)))
        cuts = [0, *sorted(rng.integers(0, rows.num_rows, 2).tolist()), rows.num_rows]
        found[kind] = [folder / f"{kind}-{number}.parquet" for number in range(3)]
        for piece, low, high in zip(found[kind], cuts[:-1], cuts[1:], strict=True):
            pq.write_table(rows.slice(low, high - low), piece)
    return found


def features(files, first, last, patients=None, threads=2):
    with warehouse.connect(files, everybody(), threads=threads) as con:
        return days.compute(con, first, last, patients=patients)


def part(tables, patients, first, last):
    """Rows of these patients on these dates, in the order of the tables."""
    found = {}
    for name, rows in tables.items():
        day = rows["local_date"]
        chosen = pc.and_(pc.greater_equal(day, first), pc.less_equal(day, last))
        chosen = pc.and_(chosen, pc.is_in(rows["patient"], pa.array(patients)))
        found[name] = rows.filter(chosen).combine_chunks()
    return found


def assert_same(got, wanted):
    for name, rows in wanted.items():
        other = got[name].combine_chunks()
        assert other.num_rows == rows.num_rows, name
        differing = [column for column in rows.column_names if not other[column].equals(rows[column])]
        assert not differing, (name, differing)


@pytest.mark.parametrize("seed", range(2))
def test_features(seed):
    rng = np.random.default_rng(seed)
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = {kind: write(folder, kind, rows) for kind, rows in lake(rng).items()}
        whole = features(files, FIRST, LAST)
        assert all(rows.num_rows for rows in whole.values())
        for who in PEOPLE:
            assert_same(features(files, FIRST, LAST, [who]), part(whole, [who], FIRST, LAST))
        for day in (FIRST, FIRST + timedelta(days=1), LAST):
            assert_same(features(files, day, day), part(whole, PEOPLE, day, day))
            assert_same(features(files, day, day, ["p-2"]), part(whole, ["p-2"], day, day))
        pieces = shuffled(rng, files, folder)
        for threads in (1, 4):
            assert_same(features(pieces, FIRST, LAST, threads=threads), part(whole, PEOPLE, FIRST, LAST))


def test_rhythm_of_four_weeks():
    rng = np.random.default_rng(4)
    dates = [FIRST + timedelta(days=day) for day in range(60)]
    work = {"p-1": [four_weeks.WorkDays(FIRST, None, frozenset(range(5)))]}
    keys = [{"patient": who, "local_date": day} for who in PEOPLE for day in dates if rng.random() < 0.9]
    clock = [
        key
        | {
            "hourly_steps": [None if rng.random() < 0.05 else float(rng.gamma(1, 300)) for _ in range(24)],
            "asleep_min": [int(minute) for minute in (rng.integers(0, 60), rng.integers(300, 500))],
            "awake_min": [500, int(rng.integers(1300, 1440))],
        }
        for key in keys
    ]
    nights = [dict.fromkeys(NIGHT.names) | key | {"midpoint_h": float(rng.normal(3, 1))} for key in keys]
    clock = pa.Table.from_pylist(clock, schema=DAY_CLOCK)
    nights = pa.Table.from_pylist(nights, schema=NIGHT)
    whole = {"rhythm": four_weeks.compute(clock, nights, work, dates[30], dates[-1])}
    assert whole["rhythm"].drop_null().num_rows == 0  # a value or its reason
    assert whole["rhythm"]["sleep_regularity"].null_count == 0
    for who in PEOPLE:
        own = clock.filter(pc.equal(clock["patient"], who))
        alone = {"rhythm": four_weeks.compute(own, nights, work, dates[30], dates[-1])}
        assert_same(alone, part(whole, [who], dates[30], dates[-1]))
    mixed = clock.take(pa.array(rng.permutation(clock.num_rows)))
    for day in (dates[30], dates[-1]):
        alone = {"rhythm": four_weeks.compute(mixed, nights, work, day, day)}
        assert_same(alone, part(whole, PEOPLE, day, day))


def history(rng, length):
    """Patient-days of a few people, a tenth of the values missing, a device changed on the way."""
    tables = []
    for who in (*PEOPLE, "p-4", "p-5"):
        columns = {}
        for metric in METRICS.values():
            low, high = metric.plausible
            values = rng.uniform(max(low, high / 100), high / 2, length)
            columns[metric.id] = [None if rng.random() < 0.1 else float(value) for value in values]
        columns["is_flare_reported"] = (rng.random(length) < 0.05).tolist()
        change = int(rng.integers(0, length))
        columns["device_segment"] = [f"steps=band-{int(day > change)} hrv=strap-1" for day in range(length)]
        tables.append(patient_days(FIRST, columns, patient=who))
    return pa.concat_tables(tables)


@pytest.mark.parametrize("seed", range(6))
def test_scores(seed):
    rng = np.random.default_rng(seed)
    length = int(rng.integers(30, 100))
    rows = history(rng, length)
    last = FIRST + timedelta(days=length - 1)
    first = last - timedelta(days=20)
    whole = scores.compute(rows, first, last)
    for who in (["p-1"], ["p-5"], ["p-2", "p-3"]):
        own = rows.filter(pc.is_in(rows["patient"], pa.array(who)))
        assert_same(scores.compute(own, first, last), part(whole, who, first, last))
        for day in (first, last - timedelta(days=3)):
            assert_same(scores.compute(own, day, day), part(whole, who, day, day))
    mixed = rows.take(pa.array(rng.permutation(rows.num_rows)))
    assert_same(
        scores.compute(mixed, first, last),
        part(whole, whole["trend"]["patient"].unique().to_pylist(), first, last),
    )
