"""The small clinic of the engine's tests, at nine in the morning of its first night."""

import pytest

from alerts.engine.journal import Journal
from tests.fixtures_alerts import Hands
from tests.fixtures_engine import at_hour, hire


@pytest.fixture
def clock():
    return Hands(at_hour(0, 9))


@pytest.fixture
def journal(store, clock):
    with Journal(store, clock) as journal:
        hire(journal)
        yield journal
