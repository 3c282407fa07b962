"""Conditions of all patients under a rule, brought up to date by one night: as arrays, then one by one.

Most patients are idle before and after a night. Only those of whom that cannot be said from the bands
alone are stepped, or folded anew where the night came late: the result is that of stepping everybody.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import sqlalchemy as sa

from alerts.engine.columns import NightColumns
from alerts.engine.evaluate import (
    IDLE,
    Band,
    Bands,
    ConditionState,
    Floats,
    Marks,
    bands_of,
    event_time,
    fold,
    night_of,
    step,
)
from alerts.engine.journal import Journal
from alerts.engine.silence import SUSPENDING, USUAL_NIGHTS, bands_of_silence
from alerts.rules.pack import RulePack
from alerts.rules.rule import NoDataRule, StateRule
from alerts.store import readings
from devices.clock import DAY


@dataclass(frozen=True, slots=True)
class Moved:
    """What a night did to the conditions of a rule.

    Parameters
    ----------
    bands : array of uint8
        Where each patient's reading lies.
    values : array of float
        What was read, NaN where nothing was.
    is_new : array of bool
        Patients whose reading is not the one known before.
    after : dict
        Patient -> condition now, of those it may have moved.
    late : dict
        Of them, those who had readings of that night or of later ones, with the last night that is known.
    """

    bands: Bands
    values: Floats
    is_new: Marks
    after: dict[str, ConditionState]
    late: dict[str, date]


class Conditions:
    """The conditions of all patients, in the transaction of one night."""

    def __init__(
        self,
        journal: Journal,
        con: sa.Connection,
        pack: RulePack,
        columns: NightColumns,
        day: date,
        statuses: Mapping[str, str],
    ) -> None:
        self._journal, self._con, self._pack = journal, con, pack
        self._columns, self._day, self._at = columns, day, event_time(day)
        self._suspended = self.marks(who for who, status in statuses.items() if status in SUSPENDING)
        self._numbers = readings.numbers_of(con, columns.patients)

    def marks(self, patients: Iterable[str]) -> Marks:
        """Where these patients are; who is not judged is nowhere."""
        place = self._columns.place
        marks = np.zeros(len(place), np.bool_)
        marks[[place[patient] for patient in patients if patient in place]] = True
        return marks

    def advance(self, rule: StateRule, told: Iterable[str]) -> Moved:
        """Keep the night's readings and conditions under a rule.

        Parameters
        ----------
        rule : StateRule
            The rule.
        told : iterable of str
            Patients of whom somebody was told something by this rule: they are looked at in any case.
        """
        at = self._at
        bands, values = self._bands(rule)
        known = readings.nights(self._con, rule.id, self._numbers, first=at)
        is_new = bands != known.of(at)
        readings.keep(self._con, rule.id, at, self._numbers[is_new], bands[is_new])
        before = self._journal.conditions(rule.id)
        # whoever is idle, and has no breach to count from, stays so
        is_moving = self.marks(told) | self.marks(before) | (bands == Band.BREACH)
        histories = self._histories(rule, is_new & known.codes.any(axis=0), is_moving)
        after: dict[str, ConditionState] = {}
        for place in np.flatnonzero(is_new & (is_moving | self.marks(histories))).tolist():
            patient = self._columns.patients[place]
            if patient in histories:
                after[patient] = fold(rule, histories[patient])
            else:
                after[patient] = step(rule, Band(bands[place]), at, before.get(patient, IDLE))[1]
        self._journal.keep_conditions(rule.id, after)
        late = {patient: night_of(max(history)) for patient, history in histories.items()}
        return Moved(bands, values, is_new, after, late)

    def _bands(self, rule: StateRule) -> tuple[Bands, Floats]:
        columns = self._columns
        if isinstance(rule, NoDataRule):
            has_data = np.logical_or.reduce([columns.is_there(name) for name in rule.present])
            since = self._at - USUAL_NIGHTS * DAY
            before = readings.nights(self._con, rule.id, self._numbers, first=since, before=self._at)
            bands = bands_of_silence(rule, has_data, self._suspended, before.codes)
            return bands, np.full(bands.shape, np.nan)
        bands, values = bands_of(rule, columns.numbers)
        for patient, override in self._pack.overrides(rule.id).items():
            place = columns.place.get(patient)
            if place is not None and self._day <= override.until:
                own = slice(place, place + 1)
                bands[own], values[own] = bands_of(
                    rule, lambda name, own=own: columns.numbers(name)[own], override
                )
        return bands, values

    def _histories(self, rule: StateRule, is_late: Marks, is_moving: Marks) -> dict[str, dict[int, Band]]:
        """Patient -> every reading, of those to whom the night came late and whom it may move."""
        late = np.flatnonzero(is_late)
        if not late.size:
            return {}
        nights = readings.nights(self._con, rule.id, self._numbers[late])
        is_wanted = is_moving[late] | (nights.codes == Band.BREACH).any(axis=0)
        return {
            self._columns.patients[place]: {
                at: Band(code) for at, code in zip(nights.at, own.tolist(), strict=True) if code
            }
            for place, own in zip(late[is_wanted].tolist(), nights.codes.T[is_wanted], strict=True)
        }
