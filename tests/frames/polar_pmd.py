"""Readers of polar_pmd.toml."""

from devices.codec import polar_pmd
from tests.frames.reading import once, one, spread

CODECS = {
    "ppi": (one(polar_pmd.decode_ppi), once(polar_pmd.encode_ppi)),
    "stamp_utc": (lambda frames: polar_pmd.decode_ppi(frames[0]).stamp_utc, None),
    "command": (one(polar_pmd.decode_command), spread(polar_pmd.encode_command)),
    "answer": (one(polar_pmd.decode_answer), once(polar_pmd.encode_answer)),
    "features": (one(polar_pmd.decode_features), once(polar_pmd.encode_features)),
}
