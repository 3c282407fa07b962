"""JSON data points of Open mHealth and IEEE 1752.1: how a client that is not ours speaks.

A message is one data point ``{"header": ..., "body": ...}``, a data series (a body
that is a list), or a list of either. The header's `schema_id` says what the body is;
header and body are checked against the published schemas. The wearable is named by
the topic, because no field of the schemas names one. Units are converted exactly or
refused; a statistic other than an average is refused, for a maximum is no sample.

RR intervals that follow each other to the millisecond become one run, so that what
is published beat by beat is as good as what came over Bluetooth.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from devices.blobs import pack_u16, unpack_u16
from devices.clock import SECOND, to_utc
from devices.errors import ObservationError
from devices.ids import DeviceId
from devices.observations import (
    DeviceHrv,
    HeartRate,
    Observation,
    PracticeLog,
    RrInterval,
    SleepEpisode,
    StepCount,
)
from ingest.errors import MessageError
from ingest.wire import point_schemas
from ingest.wire.messages import decode_observation, encode_observation

CONTENT_TYPE: Final = "application/json"
#: Beats that end and begin within this follow each other; times of day are often rounded to it.
JOIN_US: Final = 2_000
_UNIT_US: Final = {
    "us": 1, "ms": 1_000, "sec": SECOND, "min": 60 * SECOND, "h": 3_600 * SECOND, "d": 86_400 * SECOND,
}  # fmt: skip
_U16_MOST: Final = 65_535

Body = Mapping[str, Any]


class Refusal(NamedTuple):
    """A data point that is not taken, and why; `payload` is the point alone, as JSON."""

    reason: str
    payload: bytes


class Points(NamedTuple):
    """What a message says: observations, and data points that were refused."""

    observations: list[Observation]
    refused: list[Refusal]


def decode(payload: bytes, device: DeviceId) -> Points:
    """Observations of `device` in a message; one bad data point costs only itself.

    Raises
    ------
    MessageError
        When it is not JSON, or no data point at all.
    """
    try:
        content = read_json(payload)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"data points: not JSON: {error}") from None
    given = content if isinstance(content, list) else [content]
    if not given:
        raise MessageError("data points: an empty list")
    found = Points([], [])
    for point in given:
        for header, body in _bodies(point):
            alone = json.dumps({"header": header, "body": body}).encode() if header else _as_json(point)
            try:
                found.observations.append(_observation(header, body, device))
            except (MessageError, ObservationError) as error:
                found.refused.append(Refusal(str(error), alone))
            except ArithmeticError as error:
                # the schemas set numbers no limit
                found.refused.append(Refusal(f"data points: a number is out of range: {error}", alone))
    return Points(_joined(found.observations), found.refused)


def read_json(payload: bytes) -> Any:
    """Content of JSON as RFC 8259 has it: Python also reads NaN and numbers without end.

    Raises
    ------
    ValueError
        When it is none.
    """
    return json.loads(payload, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is not a number that can be kept")
    return number


def _bodies(point: Any) -> Iterator[tuple[Any, Any]]:
    """Header and body of a data point, or of each member of a data series."""
    if not isinstance(point, dict):
        yield None, None
        return
    body = point.get("body")
    for one in body if isinstance(body, list) else [body]:
        yield point.get("header"), one


def _as_json(point: Any) -> bytes:
    return json.dumps(point).encode()


def _observation(header: Any, body: Any, device: DeviceId) -> Observation:
    if not isinstance(header, dict) or not isinstance(body, dict):
        raise MessageError("data point without a header and a body")
    if reason := point_schemas.fault(header, point_schemas.HEADER):
        raise MessageError(reason)
    name = header["schema_id"]
    schema = f"{name['namespace']}:{name['name']}:{name['version']}"
    read = _READERS.get(schema)
    if read is None:
        raise MessageError(f"data points of {schema[:80]} are not taken: {', '.join(_READERS)}")
    if reason := point_schemas.fault(body, schema):
        raise MessageError(reason)
    if (statistic := body.get("descriptive_statistic", "average")) != "average":
        raise MessageError(f"{schema}: a {statistic} is no sample")
    uuid = re.sub("[^a-z0-9-]", "-", str(header["uuid"]).lower())[:64].strip("-")
    observation = read(body, Named(device, schema.replace(":", "-", 1).replace(":", "/"), uuid))
    # what our own wire forbids is forbidden here
    return decode_observation(observation.kind, encode_observation(observation))


class Named(NamedTuple):
    """What a data point has beside its body."""

    device: DeviceId
    source: str
    uuid: str


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MessageError(f"date_time {text[:40]!r} is not RFC 3339") from None
    if moment.tzinfo is None:
        raise MessageError(f"date_time {text[:40]!r} has no offset from UTC")
    return to_utc(moment)


def _duration(quantity: Mapping[str, Any]) -> int:
    """Microseconds."""
    unit = quantity["unit"]
    if unit not in _UNIT_US:
        raise MessageError(f"a duration in {unit} has no exact length")
    return round(quantity["value"] * _UNIT_US[unit])


def _interval(body: Body) -> tuple[int, int]:
    """Start, and length in whole seconds, of the effective time frame; an instant is a second long."""
    frame = body.get("effective_time_frame")
    if frame is None:
        raise MessageError("'effective_time_frame' is needed: without it nobody knows when")
    if "date_time" in frame:
        return _moment(frame["date_time"]), 1
    interval = frame["time_interval"]
    if "start_date_time" in interval and "end_date_time" in interval:
        start, end = _moment(interval["start_date_time"]), _moment(interval["end_date_time"])
    elif "duration" in interval and "start_date_time" in interval:
        start = _moment(interval["start_date_time"])
        end = start + _duration(interval["duration"])
    elif "duration" in interval and "end_date_time" in interval:
        end = _moment(interval["end_date_time"])
        start = end - _duration(interval["duration"])
    else:
        raise MessageError("time_interval names no two of start, end and duration: a part of a day is none")
    if end <= start:
        raise MessageError("time_interval ends before it begins")
    return start, max(1, round((end - start) / SECOND))


def _whole(quantity: Mapping[str, Any], most: int) -> int:
    value = round(quantity["value"])
    if not 0 <= value <= most:
        raise MessageError(f"{quantity['value']} {quantity['unit']} is not within 0 to {most}")
    return value


def _seconds(body: Body, name: str) -> int | None:
    return None if name not in body else round(_duration(body[name]) / SECOND)


def _heart_rate(body: Body, named: Named) -> Observation:
    start, period_s = _interval(body)
    bpm = _whole(body["heart_rate"], 255)
    if not bpm:
        raise MessageError("a heart rate of 0 is no reading")
    return HeartRate(
        device=named.device, start_utc=start, source=named.source, period_s=period_s, bpm=bytes([bpm])
    )


def _rr_interval(body: Body, named: Named) -> Observation:
    """The time of an instant is that of the beat that ends the interval; without a time there is no place."""
    frame = body.get("effective_time_frame")
    if frame is None:
        raise MessageError("omh:rr-interval:1.0: 'effective_time_frame' is needed to place a beat")
    ms = _whole(body["rr_interval"], _U16_MOST)
    if "date_time" in frame:
        start = _moment(frame["date_time"]) - 1000 * ms
    else:
        start, _ = _interval(body)
    return RrInterval(
        device=named.device,
        start_utc=start,
        source=named.source,
        connection=named.uuid,
        first_beat=0,
        rr_ms=pack_u16([ms]),
    )


def _steps(quantity: Mapping[str, Any], body: Body, named: Named) -> Observation:
    start, period_s = _interval(body)
    return StepCount(
        device=named.device,
        start_utc=start,
        source=named.source,
        period_s=period_s,
        counts=pack_u16([_whole(quantity, _U16_MOST)]),
    )


def _step_count(body: Body, named: Named) -> Observation:
    return _steps(body["step_count"], body, named)


def _physical_activity(body: Body, named: Named) -> Observation:
    """Steps where it counts them, what was practised otherwise, for its net duration."""
    moved = body.get("base_movement_quantity")
    if moved is not None and moved["unit"] == "steps":
        return _steps(moved, body, named)
    return _practice(body, named, _seconds(body, "duration"))


def _practice(body: Body, named: Named, duration_s: int | None = None) -> Observation:
    """What was practised; the older schema checks neither a movement nor a duration beside the time frame."""
    start, period_s = _interval(body)
    practice = re.sub("[^a-z0-9]+", "-", str(body["activity_name"]).lower())[:64].strip("-")
    return PracticeLog(
        device=named.device,
        start_utc=start,
        source=named.source,
        log_id=named.uuid,
        practice=practice,
        duration_s=period_s if duration_s is None else duration_s,
        intensity=body.get("reported_activity_intensity"),
    )


def _sleep_episode(body: Body, named: Named) -> Observation:
    start, duration_s = _interval(body)
    return SleepEpisode(
        device=named.device,
        start_utc=start,
        source=named.source,
        duration_s=duration_s,
        total_sleep_s=_seconds(body, "total_sleep_time"),
        wake_after_onset_s=_seconds(body, "wake_after_sleep_onset"),
        awakening_count=body.get("number_of_awakenings"),
        is_main_sleep=body.get("is_main_sleep"),
    )


def _variability(body: Body, named: Named) -> Observation:
    start, period_s = _interval(body)
    return DeviceHrv(
        device=named.device,
        start_utc=start,
        source=named.source,
        period_s=period_s,
        value_ms=_whole(body["heart_rate_variability"], _U16_MOST),
        method=body["method"],
    )


_READERS: Final[dict[str, Callable[[Body, Named], Observation]]] = {
    "omh:heart-rate:2.0": _heart_rate,
    "omh:rr-interval:1.0": _rr_interval,
    "omh:step-count:3.0": _step_count,
    "omh:physical-activity:1.2": _practice,
    "ieee:physical-activity:1.0": _physical_activity,
    "omh:sleep-episode:1.1": _sleep_episode,
    "ieee:sleep-episode:1.0": _sleep_episode,
    point_schemas.HRV: _variability,
}


def _joined(observations: list[Observation]) -> list[Observation]:
    """RR intervals that follow each other as runs, in the place of their first; the rest as it is."""
    beats = [each for each in observations if isinstance(each, RrInterval)]
    if not beats:
        return observations
    others = [each for each in observations if not isinstance(each, RrInterval)]
    runs: list[RrInterval] = []
    for beat in sorted(beats, key=lambda one: one.start_utc):
        last = runs[-1] if runs else None
        if last is None or last.source != beat.source or abs(beat.start_utc - last.end_utc) > JOIN_US:
            runs.append(beat)
            continue
        together = [*unpack_u16(last.rr_ms), *unpack_u16(beat.rr_ms)]
        runs[-1] = RrInterval(
            device=last.device,
            start_utc=last.start_utc,
            source=last.source,
            connection=last.connection,
            first_beat=last.first_beat,
            rr_ms=pack_u16(together),
        )
    return [*others, *runs]
