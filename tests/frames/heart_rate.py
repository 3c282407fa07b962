"""Readers of heart_rate.toml."""

from devices.codec import heart_rate
from tests.frames.reading import once, one

CODECS = {
    "measurement": (one(heart_rate.decode), once(heart_rate.encode)),
    "beats": (lambda frames: heart_rate.decode(frames[0]).rr_ms, None),
}
