"""Readers of physical_activity.toml."""

from devices.codec import physical_activity as pams
from tests.frames.reading import once, one

CODECS = {
    "step_summary": (one(pams.decode_step_summary), once(pams.encode_step_summary)),
    "sleep_instant": (one(pams.decode_sleep_instant), once(pams.encode_sleep_instant)),
    "sleep_summary": (one(pams.decode_sleep_summary), once(pams.encode_sleep_summary)),
}
