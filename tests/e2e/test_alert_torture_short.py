"""The torture of the alert worker, a short one; `make torture-alerts` is the long one."""

import pytest

from tests.torture.alerts import run


# most of it is waiting for leases and deadlines to run out
@pytest.mark.timeout(900)
def test_killed_again_and_again_every_alert_arrives_or_is_a_dead_letter_in_sight():
    figures = run(50, 3, seed=7, is_short=True)
    assert figures["is_drained"]
    assert figures["exit_codes"] == [0, 0]
    assert figures["faults"] == {}
    # what the run was about has happened
    assert figures["acknowledged"] > 5
    assert figures["dead"] > 2
    assert figures["attempts"] > 120
