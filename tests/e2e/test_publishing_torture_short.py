"""A tenth of the publishing torture; `make torture` has the minute of it."""

from tests.torture.publishing import is_whole, run


def test_readers_see_one_state_that_never_goes_back_while_the_publisher_is_killed():
    figures = run(6, 4, seed=5, every_s=0.5, keep_s=4.0)
    assert is_whole(figures), figures
    # the last reader saw what was made after the first kill
    assert 1 < figures["last_seen"] <= figures["generations"]
