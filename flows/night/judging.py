"""One night judged: the rules over its tables, and what the care pathways suggest for what they opened."""

from collections.abc import Mapping
from datetime import date

import pyarrow as pa

from alerts.engine.events import judge_answers
from alerts.engine.journal import Journal
from alerts.engine.night import NightAlerts, run_night
from alerts.engine.suggestions import attach
from devices.clock import Clock
from flows.care.contraindications import contraindications, site_pathways
from flows.care.rules_in_force import rules_in_force
from flows.clinic import Clinic
from flows.night.late_answers import late_answers
from flows.night.patient_states import surroundings_by_night


class Judge:
    """The rules and pathways in force for the nights of one run."""

    def __init__(self, clinic: Clinic, journal: Journal, clock: Clock) -> None:
        self._journal, self._clock = journal, clock
        self._pack, self._pathways = rules_in_force(clinic, journal), site_pathways(clinic)
        self._known = contraindications(clinic, clock())
        self._around = surroundings_by_night(clinic, clock(), self._pack)
        self._late = late_answers(clinic, self._pack, clock())

    def night(self, day: date, tables: Mapping[str, pa.Table]) -> NightAlerts:
        """Judge a night in one transaction; the same night again changes nothing."""
        with self._journal.transaction():
            night = run_night(self._journal, self._pack, day, tables, self._around(day))
            # each once, by its id: those that came live are passed over
            night.opened += judge_answers(self._journal, self._pack, self._late)
            attach(self._journal, self._pathways, lambda who: self._known.get(who, {}), self._clock())
        return night
