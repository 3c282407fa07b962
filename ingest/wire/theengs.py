"""What Theengs Gateway publishes of the wearables whose advertisements it decodes.

It sends a flat JSON object per advertisement (``"id"``, ``"model_id"``, ``"rssi"``
and what was decoded) and no time, so that an observation is of the moment it
arrived. Taken are a heart rate (``act_bpm``, ``bpm``) and the battery (``batt``).
A step counter (``steps``) is left out: an advertisement does not say since when it
counts, and nobody can tell a reset from a loss.
"""

from typing import Any, Final

from devices.clock import SECOND
from devices.ids import DeviceId
from devices.observations import Battery, HeartRate, Observation
from ingest.errors import MessageError
from ingest.wire.messages import decode_observation, encode_observation
from ingest.wire.points import Points, Refusal, read_json

SOURCE: Final = "theengs/1"
_RATES: Final = ("act_bpm", "bpm")


def decode(payload: bytes, device: DeviceId, arrived_utc: int) -> Points:
    """Observations of `device` in what was decoded of one advertisement.

    Parameters
    ----------
    arrived_utc : int
        When the message came, microseconds UTC.

    Raises
    ------
    MessageError
        When it is not a JSON object.
    """
    try:
        said = read_json(payload)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"theengs: not JSON: {error}") from None
    if not isinstance(said, dict):
        raise MessageError("theengs: not a JSON object")
    # a message of the same second is the same reading
    start = arrived_utc // SECOND * SECOND
    found = Points([], [])
    for name in (*_RATES, "batt"):
        value: Any = said.get(name)
        if value is None or (name in _RATES and value == 0):
            continue
        try:
            found.observations.append(_observation(name, value, device, start))
        except MessageError as error:
            found.refused.append(Refusal(f"theengs: {name}: {error}", payload))
    return found


def _observation(name: str, value: Any, device: DeviceId, start: int) -> Observation:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 255:
        raise MessageError(f"{str(value)[:40]!r} is not a number from 0 to 255")
    if name in _RATES:
        observation: Observation = HeartRate(
            device=device, start_utc=start, source=SOURCE, period_s=1, bpm=bytes([round(value)])
        )
    else:
        observation = Battery(device=device, start_utc=start, source=SOURCE, level_pct=round(value))
    return decode_observation(observation.kind, encode_observation(observation))
