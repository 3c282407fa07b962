"""Readers of current_time.toml."""

from devices.codec import current_time
from devices.codec.current_time import WallTime
from tests.frames.reading import one, spread

CODECS = {
    "time": (one(current_time.decode), lambda told: [current_time.encode(WallTime(*told))]),
    "local": (one(current_time.decode_local), spread(current_time.encode_local)),
}
