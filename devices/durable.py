"""Files replaced whole: a reader sees the old content or the new one, also after a power cut."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes | str, *, mode: int = 0o644) -> None:
    """Write beside the file, make it durable, and take its place.

    Parameters
    ----------
    path : Path
        The file; its folder is made where it is not there.
    content : bytes or str
        All of it; text is written in UTF-8.
    mode : int
        Who may read it; never more than this for a moment.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # two writers of one file must not share what is not whole yet
    staged = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(path)
    except OSError:
        # on a full disk what is left behind would be what fills it
        staged.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Make what was written to a file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
