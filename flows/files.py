"""Small files of ours, replaced whole: a reader sees the old text or the new one, also after a power cut."""

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write beside the file, make it durable, and take its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".tmp")
    with staged.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    staged.replace(path)
