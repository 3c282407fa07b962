"""Invented rows for the tests of the alert room. Nothing here is a patient."""

import math
import random
from dataclasses import replace
from datetime import date, timedelta

import msgspec
import pyarrow as pa

from alerts.console.worklist import DayPoint, MetricSeries, RowAlert, WorklistRow
from alerts.engine import alert as alerts
from alerts.engine import lifecycle, people
from alerts.engine.alert import Alert
from alerts.engine.apply import way_of, write, write_new
from alerts.engine.desk import Actor, Desk
from alerts.engine.journal import new_reference
from alerts.engine.night import CONDITION_ENDED
from alerts.rules.pack import load_pack
from analytics.tables import BASELINE, FLARE_RISK, PATIENT_DAY

NIGHT = date(2026, 11, 24)
DAYS = 42
#: Metric -> (usual value, relative spread, whether its baseline is on the log scale).
USUAL = {"steps": (6200.0, 0.28, True), "tst_min": (405.0, 50.0, False), "rmssd_ms": (31.0, 0.19, True)}


def series(metric, z_values):
    center, spread, is_log = USUAL[metric]
    points = []
    for index, z in enumerate(z_values):
        day = NIGHT - timedelta(days=len(z_values) - 1 - index)
        if z is None:
            points.append(DayPoint(day, None, None))
        else:
            value = center * math.exp(spread * z) if is_log else center + spread * z
            points.append(DayPoint(day, value, max(-4.0, min(4.0, z))))
    return MetricSeries(metric, tuple(points), usual=center)


def invented_z(chance, *, fall=0.0, silent_days=0, missing=0.12):
    values = []
    for index in range(DAYS):
        late = max(0, index - (DAYS - 5)) / 4
        z = 0.95 * chance.gauss(0, 1) + fall * late
        values.append(None if chance.random() < missing or index >= DAYS - silent_days else z)
    if not silent_days:
        values[-1] = values[-1] if values[-1] is not None else fall
    return values


def invented_row(number, *, falls=(0.0, 0.0, 0.0), silent_days=0, alerts=(), zone="Europe/Berlin", **more):
    chance = random.Random(number)
    metrics = tuple(
        series(metric, invented_z(chance, fall=fall, silent_days=silent_days))
        for metric, fall in zip(USUAL, falls, strict=True)
    )
    deviation = None if silent_days else round(sum(falls) / 3 * 0.8 + chance.gauss(0, 0.15), 2)
    values = {
        "status": "uncalibrated",
        "sentence": "Steps, sleep and HRV over the last three days lie within the own usual range.",
        "deviation": deviation,
        "nrs": float(chance.randint(2, 6)),
        "wear_min": None if silent_days else chance.uniform(840, 1320),
    }
    return WorklistRow(
        patient=f"p-{number:04d}", zone=zone, metrics=metrics, alerts=alerts, **{**values, **more}
    )


def alert(number, severity="medium", status="open", *, age=1, is_delivered=True, title=None):
    return RowAlert(
        reference=f"A-{number:04d}K7QWTZ",
        title=title or "Three days below the own usual range",
        severity=severity,
        status=status,
        local_date=NIGHT - timedelta(days=age),
        is_delivered=is_delivered,
    )


def invented_rows():
    """A worklist with every state the page can show."""
    fell = "Steps {} SD and sleep {} SD below the own usual over three days (7 of 9 values present)."
    return [
        invented_row(
            11,
            falls=(-3.4, -2.6, -1.9),
            alerts=(alert(11, "high"),),
            sentence=fell.format("2.9", "2.2"),
            nrs=8.0,
        ),
        invented_row(
            12,
            falls=(-2.6, -0.7, -2.4),
            alerts=(alert(12, is_delivered=False),),
            sentence=fell.format("2.1", "0.6"),
        ),
        invented_row(
            13,
            falls=(-1.2, -2.9, -0.6),
            alerts=(alert(13, age=0), alert(63, age=0, title="Flare reported by the patient")),
            sentence="The patient reported a flare.",
            status="in_flare",
            nrs=9.0,
        ),
        invented_row(
            14,
            falls=(-2.2, -1.4, -1.1),
            alerts=(alert(14, status="acked", age=4),),
            sentence=fell.format("1.8", "1.2"),
        ),
        invented_row(21, status="possible_flare", falls=(-0.8, -0.4, -0.2)),
        invented_row(22),
        invented_row(23, falls=(0.4, 0.2, 0.1), zone="Asia/Tokyo"),
        invented_row(
            24, status="learning", sentence="Day 9 of the first 14: the own usual range is being learned."
        ),
        invented_row(25, falls=(-0.3, 0.5, 0.2)),
        invented_row(
            31,
            silent_days=5,
            status="insufficient_data",
            no_data_reason="The ring's battery was at 4 %.",
            nrs=None,
        ),
        invented_row(32, silent_days=42, status="insufficient_data", nrs=None),
    ]


def _plain(name, **bounds):
    """A rule that comes along, by itself and with bounds that stay while a site's are tuned."""
    return msgspec.structs.replace(load_pack().rule_named(name), episode=None, example=(), **bounds)


#: The two rules most tests go by; the pack that comes with flarecast has more.
PACK = replace(
    load_pack(),
    rule=(
        _plain("deviation-3d", version=2, enter="<= -1.0", exit="> -0.5", for_="0m", max_gap=None),
        _plain("flare-reported", version=1, quiet_days=3, silent_days=7, again=None),
    ),
)
NURSE = Actor("nurse-1", frozenset({"nurse"}))


def open_alert(journal, patient="p-1", *, rule=0, **more):
    """Open an alert as the night would; returns its reference."""
    of = PACK.rule[rule]
    values = {"scope": "patient", "subject": patient, "severity": of.severity, "night": NIGHT}
    values |= {"zone": "Europe/Berlin", "sentence": "Because.", "opened_utc": journal.now()}
    one = Alert(alert=new_reference(), rule=of.id, rule_version=1, route=of.route, **values | more)
    with journal.transaction() as con:
        way = way_of(PACK, people.load(con), one)
        write_new(con, lifecycle.start(one, way, journal.now()), way.route, journal.now())
    return one.alert


def acknowledge(journal, name, by="nurse-1", version=1):
    return Desk(journal, PACK, Actor(by, frozenset({"nurse"}))).acknowledge(name, version)


def resolve(journal, name, why=CONDITION_ENDED, night=NIGHT):
    with journal.transaction() as con:
        one = alerts.find(con, name)
        change = lifecycle.condition_ended(one, why, journal.now(), night)
        return write(con, change, PACK.route_named(one.route), journal.now())


class Hands:
    """A clock that moves only when told to."""

    def __init__(self, utc=1_795_500_000_000_000):
        self.utc = utc

    def __call__(self):
        return self.utc

    def forward(self, microseconds):
        self.utc += microseconds


def tables(day, *patients):
    """Derived tables of one night; a patient is (id, deviation, cell_count, is_flare_reported)."""
    risk = [
        {
            "patient": patient,
            "local_date": day,
            "status": "uncalibrated",
            "deviation": deviation,
            "cell_count": cells,
            "model_version": "prior-1",
            "sentence": f"Deviation {deviation} on {day}.",
        }
        for patient, deviation, cells, _ in patients
    ]
    days = [
        {"patient": patient, "local_date": day, "zone": "Europe/Berlin", "is_flare_reported": reported}
        for patient, _, _, reported in patients
    ]
    return {
        "flare_risk": pa.Table.from_pylist(risk, schema=FLARE_RISK),
        "patient_day": pa.Table.from_pylist(days, schema=PATIENT_DAY),
        "baseline": BASELINE.empty_table(),
    }
