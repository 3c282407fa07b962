"""A minute's worth of `make torture` in seconds: kills of every part, the disk full, and the control."""

import pytest

from ingest.lake.broker import MosquittoBroker
from tests.torture.__main__ import is_whole, run

pytestmark = [
    pytest.mark.skipif(MosquittoBroker.executable() is None, reason="mosquitto is not installed"),
    # a dozen processes started one after the other, on whatever else the machine is doing
    pytest.mark.timeout(900),
]


def test_nothing_is_missing_after_kills_of_everything():
    figures = run(5, seed=3, fills=1)
    assert is_whole(figures), figures
    assert figures["exit_codes"] == [0, 0, 0]


def test_acknowledged_too_early_it_would_be_missed():
    figures = run(6, seed=1, is_control=True)
    assert figures["missing"] > 0, figures
    assert not is_whole(figures)
