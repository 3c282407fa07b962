"""Readers of infinitime.toml."""

from devices.codec import infinitime
from tests.frames.reading import once, one, spread

CODECS = {
    "steps": (one(infinitime.decode_steps), once(infinitime.encode_steps)),
    "motion": (one(infinitime.decode_motion), spread(infinitime.encode_motion)),
}
