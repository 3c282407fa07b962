"""Readers of colmi_hrv.toml."""

from devices.codec import colmi_hrv
from tests.frames.reading import fed, once, one


def variability(frames: list[bytes]) -> colmi_hrv.HrvLog | None:
    answer = colmi_hrv.HrvAnswer()
    fed(answer, frames)
    return answer.log


CODECS = {
    "request": (one(colmi_hrv.decode_request), once(colmi_hrv.encode_request)),
    "log": (variability, colmi_hrv.encode),
}
