"""Simulated answers to items of questionnaires, as an application on the patient's telephone gives them."""

from devices.ids import DeviceId
from devices.observations import ProAnswer


def given_answer(
    device: DeviceId, start_utc: int, answer_id: str, instrument: str, item: str, value: float, *, source: str
) -> ProAnswer:
    """One answered item; `start_utc` is when it was given, microseconds UTC."""
    return ProAnswer(
        device=device,
        start_utc=start_utc,
        source=source,
        answer_id=answer_id,
        instrument=instrument,
        item=item,
        value=value,
        form_version="1",
        language="en",
        mode="app",
        respondent="patient",
    )
