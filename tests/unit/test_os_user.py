"""Who a command takes for its user."""

import os
import pwd

import pytest

from flows.os_user import os_user


def test_the_user_is_who_runs_the_process_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "the-doctor")
    assert os_user() == pwd.getpwuid(os.getuid()).pw_name != "the-doctor"


def test_a_user_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_123)
    assert os_user() == "uid-4000000123"
