"""A few seconds of `python -m tests.torture.night`."""

from pathlib import Path

import pytest

from tests.torture.night import killed_and_not


@pytest.mark.timeout(900)
def test_a_night_killed_again_and_again_equals_an_undisturbed_one(tmp_path: Path) -> None:
    figures = killed_and_not(tmp_path, kills=5, seed=2)
    assert figures["caught_at_work"], figures
    assert figures["differing"] == [], figures
    assert figures["written_again"] == 0
    assert figures["problems"] == 0
    assert figures["alerts"]
