"""Past nights by today's code: computed and published, and nobody is told."""

from datetime import date

from devices.clock import Clock
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night import nightly
from flows.night.report import NightReport
from flows.night.runner import Runner


def backfill(clinic: Clinic, first: date, last: date, *, clock: Clock, runner: Runner) -> NightReport:
    """Compute the nights `first` to `last`.

    Raises
    ------
    UserError
        When `first` is after `last`, or another run is at work.
    """
    if first > last:
        raise UserError(f"the first night, {first}, is after the last, {last}")
    return nightly.run(clinic, first, last, clock=clock, runner=runner, has_alerts=False)
