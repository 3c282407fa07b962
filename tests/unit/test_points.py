"""JSON data points of other clients: right units and times, refused in the schemas' own words."""

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.blobs import unpack_u16
from devices.clock import SECOND, from_utc
from devices.ids import DeviceId, GatewayId, SiteId
from devices.observations import DeviceHrv, HeartRate, PracticeLog, RrInterval, SleepEpisode, StepCount
from ingest.errors import MessageError
from ingest.lake.enrolment import read_enrolment
from ingest.lake.intake import Intake, Received
from ingest.wire import points, theengs
from ingest.wire.point_schemas import HRV, fault, known
from ingest.wire.topics import Topic, parse, points_topic
from tests.fixtures_ingest import write_enrolment

BAND = DeviceId("band-1")
NINE = "2026-11-24T09:00:00+01:00"
INTERVAL = {"time_interval": {"start_date_time": NINE, "end_date_time": "2026-11-24T09:05:00+01:00"}}
AT = {"date_time": NINE}
NIGHT = {
    "time_interval": {"start_date_time": "2026-10-24T23:30:00+02:00", "duration": {"value": 8, "unit": "h"}}
}


def header(schema, **more):
    namespace, name, version = schema.split(":")
    return {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, schema)),
        "schema_id": {"namespace": namespace, "name": name, "version": version},
        "source_creation_date_time": NINE,
        **more,
    }


def point(schema, **body):
    return {"header": header(schema), "body": body}


def quantity(value, unit):
    return {"value": value, "unit": unit}


def read(*given):
    return points.decode(json.dumps(given[0] if len(given) == 1 else list(given)).encode(), BAND)


def one(schema, **body):
    found = read(point(schema, **body))
    assert found.refused == []
    (observation,) = found.observations
    return observation


def test_heart_rate():
    found = one(
        "omh:heart-rate:2.0", heart_rate=quantity(72, "beats/min"), effective_time_frame={"date_time": NINE}
    )
    assert isinstance(found, HeartRate)
    assert (found.device, found.bpm, found.period_s, found.source) == (BAND, b"\x48", 1, "omh-heart-rate/2.0")
    assert from_utc(found.start_utc).isoformat() == "2026-11-24T08:00:00+00:00"


@pytest.mark.parametrize("schema", ["omh:step-count:3.0", "ieee:physical-activity:1.0"])
def test_steps(schema):
    """Open mHealth's own schema, and that of IEEE which has taken its place."""
    what = (
        {"step_count": quantity(431, "steps")}
        if schema.startswith("omh")
        else {"activity_name": "walking", "base_movement_quantity": quantity(431, "steps")}
    )
    found = one(schema, **what, effective_time_frame=INTERVAL)
    assert isinstance(found, StepCount)
    assert (list(unpack_u16(found.counts)), found.period_s) == ([431], 300)


def test_what_was_practised():
    found = one(
        "ieee:physical-activity:1.0",
        activity_name="Nordic walking!",
        reported_activity_intensity="light",
        effective_time_frame=INTERVAL,
    )
    assert isinstance(found, PracticeLog)
    assert (found.practice, found.duration_s, found.intensity) == ("nordic-walking", 300, "light")


def test_a_sleep_episode_over_the_change_of_clocks():
    """Eight hours are eight hours: it ends at 06:30 of winter time."""
    found = one(
        "ieee:sleep-episode:1.0",
        effective_time_frame=NIGHT,
        total_sleep_time=quantity(450, "min"),
        wake_after_sleep_onset=quantity(1800, "sec"),
        number_of_awakenings=2,
        is_main_sleep=True,
    )
    assert isinstance(found, SleepEpisode)
    assert (found.duration_s, found.total_sleep_s, found.wake_after_onset_s) == (28_800, 27_000, 1_800)
    assert from_utc(found.end_utc).isoformat() == "2026-10-25T05:30:00+00:00"


@pytest.mark.parametrize("method", ["rmssd", "sdnn", "vendor"])
def test_variability_keeps_its_method(method):
    found = one(HRV, heart_rate_variability=quantity(42, "ms"), method=method, effective_time_frame=INTERVAL)
    assert isinstance(found, DeviceHrv)
    assert (found.value_ms, found.method, found.period_s) == (42, method, 300)


def test_beats_that_follow_each_other_are_one_run():
    """The time of a data point is that of the beat at the end of its interval; a silence ends the run."""
    beats = [(800, "09:00:00.800"), (810, "09:00:01.610"), (790, "09:00:02.400"), (805, "09:00:09.000")]
    series = {
        "header": header("omh:rr-interval:1.0"),
        "body": [
            {
                "rr_interval": quantity(ms, "ms"),
                "effective_time_frame": {"date_time": f"2026-11-24T{at}+01:00"},
            }
            for ms, at in beats
        ],
    }
    first, second = read(series).observations
    assert isinstance(first, RrInterval)
    assert isinstance(second, RrInterval)
    assert (list(unpack_u16(first.rr_ms)), list(unpack_u16(second.rr_ms))) == ([800, 810, 790], [805])
    assert from_utc(first.start_utc).isoformat() == "2026-11-24T08:00:00+00:00"
    assert second.start_utc - first.end_utc == 5_795_000
    assert first.gap_before_ms is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (point("omh:heart-rate:2.0", heart_rate=quantity(72, "Hz"), effective_time_frame=INTERVAL),
         "heart_rate/unit: 'Hz' is not one of ['beats/min']"),
        (point("omh:heart-rate:2.0", effective_time_frame=INTERVAL), "'heart_rate' is a required property"),
        (point("omh:rr-interval:1.0", rr_interval=quantity(0.8, "sec")), "'sec' is not one of ['ms']"),
        (point("omh:rr-interval:1.0", rr_interval=quantity(800, "ms")), "'effective_time_frame' is needed"),
        (point("omh:step-count:3.0", step_count=quantity(1, "steps"), effective_time_frame=AT),
         "'time_interval' is a required property"),
        (point("omh:heart-rate:2.0", heart_rate=quantity(72, "beats/min"), descriptive_statistic="maximum",
               effective_time_frame=INTERVAL), "a maximum is no sample"),
        (point("omh:heart-rate:2.0", heart_rate=quantity(300, "beats/min"), effective_time_frame=INTERVAL),
         "300 beats/min is not within 0 to 255"),
        (point("omh:heart-rate:2.0", heart_rate=quantity(72, "beats/min"),
               effective_time_frame={"date_time": "2026-11-24T09:00:00"}), "has no offset from UTC"),
        (point("ieee:sleep-episode:1.0", effective_time_frame=NIGHT, total_sleep_time=quantity(1, "Mo")),
         "a duration in Mo has no exact length"),
        (point("ieee:sleep-episode:1.0", effective_time_frame=NIGHT, total_sleep_time=quantity(9, "h")),
         "total_sleep_s of 32400 s in 28800 s"),
        (point(HRV, heart_rate_variability=quantity(42, "ms"), method="pnn50", effective_time_frame=INTERVAL),
         "'pnn50' is not one of ['rmssd', 'sdnn', 'vendor']"),
        (point("omh:blood-glucose:4.0"), "are not taken"),
        ({"header": {"id": "x"}, "body": {}}, "is a required property"),
        ({"body": {}}, "without a header and a body"),
        (17, "without a header and a body"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
def test_refused_in_the_schemas_own_words(given, words):
    good = point("omh:heart-rate:2.0", heart_rate=quantity(60, "beats/min"), effective_time_frame=INTERVAL)
    found = read(given, good)
    ((reason, payload),) = found.refused
    assert words in reason
    assert json.loads(payload) == given or given == {"body": {}}
    assert len(found.observations) == 1


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[]", b"[" * 100_000])
def test_what_is_no_data_point_at_all(payload):
    with pytest.raises(MessageError, match="data point"):
        points.decode(payload, BAND)


def test_every_schema_we_read_is_published_or_ours():
    assert set(points._READERS) <= known()
    for schema in points._READERS:
        assert fault({}, schema) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def is_taken_or_refused(read, *arguments):
    """Whether nothing but a refusal in words leaves."""
    try:
        found = read(*arguments)
    except MessageError as error:
        return bool(str(error))
    return all(refusal.reason for refusal in found.refused)


@given(JSON, st.sampled_from(sorted(points._READERS)), st.binary(max_size=60))
def test_nothing_but_refusals_leaves(value, schema, noise):
    for body in (value, {"effective_time_frame": value, "heart_rate": value, "step_count": value}):
        for whole in ({"header": header(schema), "body": body}, value):
            assert is_taken_or_refused(points.decode, json.dumps(whole).encode(), BAND)
    for payload in (noise, json.dumps(value).encode()):
        assert is_taken_or_refused(theengs.decode, payload, BAND, 1_700_000_000 * SECOND)


VALID = [
    point("omh:heart-rate:2.0", heart_rate=quantity(72, "beats/min"), effective_time_frame=INTERVAL),
    point("omh:rr-interval:1.0", rr_interval=quantity(800, "ms"), effective_time_frame=AT),
    point("omh:step-count:3.0", step_count=quantity(431, "steps"), effective_time_frame=INTERVAL),
    point("omh:physical-activity:1.2", activity_name="walking", reported_activity_intensity="light",
          effective_time_frame=INTERVAL),
    point("ieee:physical-activity:1.0", activity_name="walking", duration=quantity(4, "min"),
          base_movement_quantity=quantity(3, "repetitions"), effective_time_frame=INTERVAL),
    point("omh:sleep-episode:1.1", total_sleep_time=quantity(7, "h"), number_of_awakenings=2,
          is_main_sleep=True, effective_time_frame=NIGHT),
    point("ieee:sleep-episode:1.0", total_sleep_time=quantity(7, "h"), number_of_awakenings=2,
          is_main_sleep=True, effective_time_frame=NIGHT),
    point(HRV, heart_rate_variability=quantity(42, "ms"), method="rmssd", effective_time_frame=INTERVAL),
]  # fmt: skip
#: What the schemas set no limit, know nothing of, or Python alone takes for JSON.
ODD = [
    None,
    True,
    7,
    -7,
    10**30,
    1e300,
    -1e300,
    0.4,
    "x",
    "",
    [],
    [1],
    {},
    {"value": 1},
    float("inf"),
    float("nan"),
]


def places(value, path=()):
    """Path of every value inside a value, itself included."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from places(inner, (*path, key))


def changed(value, path, odd, *, is_removed=False):
    if not path:
        return odd
    copy = dict(value)
    if len(path) == 1 and is_removed:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(value[path[0]], path[1:], odd, is_removed=is_removed)
    return copy


@pytest.mark.parametrize("valid", VALID, ids=lambda one: one["header"]["schema_id"]["name"])
def test_every_schema_is_taken_and_no_part_of_it_can_do_harm(valid):
    """Each value left out, or in its place something odd; a property that the schema does not know."""
    (taken,) = read(valid).observations
    assert taken.sample_count == 1
    for path in places(valid):
        for odd in ODD:
            assert is_taken_or_refused(points.decode, json.dumps(changed(valid, path, odd)).encode(), BAND)
        if path:
            rest = json.dumps(changed(valid, path, None, is_removed=True)).encode()
            assert is_taken_or_refused(points.decode, rest, BAND)
    for name in ("base_movement_quantity", "duration", "descriptive_statistic", "total_sleep_time"):
        for odd in ODD:
            body = {name: odd, **valid["body"]}
            assert is_taken_or_refused(points.decode, json.dumps({**valid, "body": body}).encode(), BAND)


def test_a_time_is_needed_where_a_schema_needs_none():
    ((reason, _),) = read(point("omh:physical-activity:1.2", activity_name="walking")).refused
    assert "'effective_time_frame' is needed" in reason


def test_a_fault_of_a_codec_ends_no_collector(tmp_path, monkeypatch, caplog):
    """Delivered again and again such a message would end one after the other."""
    intake = Intake(read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1"])))
    monkeypatch.setattr(points, "decode", lambda *_: {}["missing"])
    topic = "flarecast/v1/north/gw-1/points/strap-1"
    (refused,) = intake.sort([Received(topic, b"{}", None, 1_796_000_000 * SECOND)]).refused
    assert (refused.payload, "fault" in refused.reason) == (b"{}", True)
    assert "codec_failed" in caplog.text


def test_theengs():
    """A heart rate and a battery of the moment they came; the step counter has no beginning and is left."""
    at = 1_764_000_000 * SECOND + 1
    said = {
        "id": "AA:BB:CC:DD:EE:FF",
        "model_id": "MIBAND",
        "rssi": -61,
        "act_bpm": 93,
        "batt": 55,
        "steps": 4711,
    }
    rate, battery = theengs.decode(json.dumps(said).encode(), BAND, at).observations
    assert (rate.kind, rate.bpm, rate.start_utc) == ("heart_rate", b"\x5d", at // SECOND * SECOND)
    assert (battery.kind, battery.level_pct) == ("battery", 55)
    found = theengs.decode(b'{"act_bpm": "fast", "batt": 55}', BAND, at)
    assert [o.kind for o in found.observations] == ["battery"]
    assert found.refused[0].reason == "theengs: act_bpm: 'fast' is not a number from 0 to 255"


def test_topics_that_name_a_wearable():
    topic = points_topic(SiteId("north"), GatewayId("gw-1"), BAND)
    assert parse(str(topic)) == topic
    capitals = parse("flarecast/v1/north/gw-1/theengs/AABBCCDDEEFF")
    assert capitals == Topic(SiteId("north"), GatewayId("gw-1"), "theengs", DeviceId("aabbccddeeff"))


def test_intake_stores_and_quarantines(tmp_path):
    """Enrolled: stored once, however often it is sent. Not enrolled, or wrong: kept with its reason."""
    intake = Intake(read_enrolment(write_enrolment(tmp_path / "e.csv", ["gw-1"])))
    rate = point("omh:heart-rate:2.0", heart_rate=quantity(60, "beats/min"), effective_time_frame=INTERVAL)
    wrong = point("omh:heart-rate:2.0", heart_rate=quantity(60, "bpm"), effective_time_frame=INTERVAL)

    def sort(device, given, content_type="application/json"):
        topic = f"flarecast/v1/north/gw-1/points/{device}"
        flush = intake.sort(
            [Received(topic, json.dumps(given).encode(), content_type, 1_796_000_000 * SECOND)]
        )
        intake.remember(flush)
        return flush

    flush = sort("strap-1", [rate, wrong])
    assert (flush.stored(), flush.quarantined()) == ({"heart_rate": 1}, {"points": 1})
    assert flush.confirmed == flush.unreadable == {}
    assert flush.tables(1_764_000_001 * SECOND)["heart_rate"]["sequence"].to_pylist() == [1]
    assert sort("strap-1", [rate, wrong]).repeated == 1
    assert [one.reason for one in sort("lost-1", rate).refused] == ["device is not enrolled at that time"]
    assert "content type" in sort("strap-1", [rate], "text/plain").refused[0].reason
