"""A short turn of `make proof`: whatever comes is stored or refused with a reason."""

from tests.fuzz import fuzz


def test_every_message_is_accounted_for(tmp_path):
    outcome = fuzz(6000, tmp_path, seed=7)
    assert outcome.samples == outcome.stored + outcome.quarantined
    assert min(outcome.stored, outcome.quarantined, outcome.repeated) > 100
    assert outcome.reasons > 50
