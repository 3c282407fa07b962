"""Readers of device_information.toml."""

from devices.codec.device_information import decode_system_id, decode_text, encode_system_id, encode_text
from tests.frames.reading import once, one, spread

CODECS = {
    "text": (one(decode_text), once(encode_text)),
    "system_id": (one(decode_system_id), spread(encode_system_id)),
}
