"""Files replaced whole."""

import errno
import os

import pytest

from devices.durable import replace_file


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    """On a full disk what is left behind would be what fills it."""
    path = tmp_path / "a.json"
    replace_file(path, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            replace_file(path, "new")
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "old"
