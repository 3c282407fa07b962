"""Frame files: decoded as they say, encoded back to the same bytes.

Each protocol has its own two files in `tests/frames/`: the frames, and what reads
them (`CODECS`: name of a decoder -> what reads and, where there is one, what
writes; `IN_WORDS`: how a value of its own types is told in the file). A frame
names its origin: ``captured`` from a real wearable, or ``synthetic``. `expected`
is what the decoder gives, in plain values ("none" where there is nothing, times in
ISO 8601); `error` is part of the reason it refuses with. A frame that is not
canonical is one that our encoder would say otherwise.
"""

import tomllib
from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

import devices.codec
from devices.errors import DecodeError

FOLDER = Path(__file__).parents[1] / "frames"
PROTOCOLS = {path.stem: import_module(f"tests.frames.{path.stem}") for path in FOLDER.glob("*.toml")}
IN_WORDS: dict[type, Callable[[Any], Any]] = {
    kind: say for module in PROTOCOLS.values() for kind, say in getattr(module, "IN_WORDS", {}).items()
}


def plain(found: Any) -> Any:
    """`found` as a file would say it."""
    if say := IN_WORDS.get(type(found)):
        return [plain(item) for item in say(found)]
    match found:
        case None:
            return "none"
        case bytes() if found.isascii() and found.decode().isprintable() and len(found) > 1:
            return found.decode()
        case bytes():
            return found.hex()
        case datetime():
            return found.isoformat().replace("+00:00", "Z")
        case frozenset():
            return sorted(found)
        case tuple() | list():
            return [plain(item) for item in found]
        case bool() | int() | str():
            return found
        case dict():
            return {name: plain(value) for name, value in found.items() if value not in (None, ())}
        case _ if hasattr(found, "__dataclass_fields__"):
            return plain({name: getattr(found, name) for name in found.__dataclass_fields__})
        case _:
            return msgspec.to_builtins(found)


def frames() -> list[Any]:
    found: list[Any] = []
    for name in sorted(PROTOCOLS):
        content = tomllib.loads((FOLDER / f"{name}.toml").read_text())
        assert content["protocol"] == name
        for frame in content["frame"]:
            label = f"{name}/{frame['decoder']}: {frame['name']}"
            found.append(pytest.param(name, frame, id=label))
    return found


@pytest.mark.parametrize(("protocol", "frame"), frames())
def test_frame(protocol: str, frame: dict[str, Any]) -> None:
    assert frame["provenance"] in ("captured", "synthetic")
    assert frame["source"]
    decode, encode = PROTOCOLS[protocol].CODECS[frame["decoder"]]
    texts = [frame["hex"]] if isinstance(frame["hex"], str) else frame["hex"]
    payloads = [bytes.fromhex(text) for text in texts]
    if "error" in frame:
        with pytest.raises(DecodeError, match=frame["error"]):
            decode(payloads)
        return
    value = decode(payloads)
    assert plain(value) == frame["expected"]
    if encode is not None:
        assert (encode(value) == payloads) == frame.get("is_canonical", True)


def test_every_codec_has_frames() -> None:
    """A codec without a frame file, and a decoder that no file uses, are oversights."""
    modules = {path.stem for path in Path(devices.codec.__path__[0]).glob("*.py")} - {"__init__", "uuids"}
    assert set(PROTOCOLS) == modules
    used = {(param.values[0], param.values[1]["decoder"]) for param in frames()}
    assert used == {(name, decoder) for name, module in PROTOCOLS.items() for decoder in module.CODECS}
