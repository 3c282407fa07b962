"""Readers of battery.toml."""

from devices.codec import battery
from tests.frames.reading import once, one

CODECS = {"level": (one(battery.decode), once(battery.encode))}
