"""What is due, with what the store cannot see by itself: who was heard, who has left."""

import logging
from collections import Counter
from typing import Final

import sqlalchemy as sa

from alerts.engine.journal import Journal
from alerts.engine.technical import expect_first_night, note_heard
from alerts.engine.tick import close_withdrawn, tick
from alerts.rules.pack import RulePack
from devices.clock import MINUTE, Clock
from flows.care.rules_in_force import RulesInForce
from flows.clinic import Clinic
from flows.night.heard import has_patients, heard_gateways
from flows.night.patient_states import WITHDRAWN, statuses_now
from flows.shift.watch import mark
from ingest.errors import IngestError

LOG = logging.getLogger(__name__)

#: So often the lake and the records are looked at.
LOOK: Final = MINUTE


class Ticking:
    """Does what is due, each time it is called.

    Parameters
    ----------
    clinic : Clinic
        Whose rules, records, enrolment and lake.
    clock : Clock
        Microseconds UTC.
    """

    def __init__(self, clinic: Clinic, clock: Clock) -> None:
        self._clinic, self._clock = clinic, clock
        self._rules = RulesInForce(clinic)
        self._looked_utc: int | None = None

    def __call__(self, journal: Journal) -> Counter[str]:
        """Look around where it is time, then tick; how many alerts were escalated, repeated and so on."""
        now = self._clock()
        with journal.transaction() as con:
            pack, done = self._rules(journal), Counter[str]()
            if self._looked_utc is None or not 0 <= now - self._looked_utc < LOOK:
                self._looked_utc = now
                done += self._look(con, pack, now)
            return done + tick(journal, pack, now)

    def _look(self, con: sa.Connection, pack: RulePack, now: int) -> Counter[str]:
        try:
            statuses = statuses_now(self._clinic, now)
            heard = heard_gateways(self._clinic, statuses, now)
            left = [patient for patient, status in statuses.items() if status == WITHDRAWN]
            is_expected = has_patients(self._clinic, left, now)
        except (IngestError, OSError) as fault:
            # what is due is due all the same, and so is delivery
            LOG.error("looked_in_vain fault=%s", type(fault).__name__)
            return Counter()
        done = note_heard(con, pack, heard, now)
        done += expect_first_night(con, pack, is_expected, mark(self._clinic.watermark_path, "utc"), now)
        done["withdrawn"] = close_withdrawn(con, pack, left, now)
        return done
