"""`flarecast alerts live`: what pages is judged as it arrives, beside collector and night."""

import logging
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from alerts.engine.events import Answer, judge_answers
from alerts.engine.journal import Journal
from alerts.engine.live import Sample, judge_samples
from alerts.engine.suggestions import attach
from alerts.errors import JournalError
from alerts.rules.live import HEART_RATE, REPORTED, answer_column, kinds_of
from devices.clock import SECOND, Clock, system_clock
from devices.observations import FlareReport, HeartRate, ProAnswer
from flows.care.contraindications import contraindications, site_pathways
from flows.care.rules_in_force import RulesInForce
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night.patient_states import WITHDRAWN, statuses_now
from ingest.lake.intake_enrolment import EnrolmentFile
from ingest.lake.live import LiveObservation, LiveSubscriber, Unavailable
from ingest.wire.address import BrokerAddress

LOG = logging.getLogger(__name__)

#: So often it is asked whether other rules are in force.
ASK_S: Final = 5.0


class LiveJudge:
    """Judges what arrives, and returns when the store has it.

    Parameters
    ----------
    clinic : Clinic
        Whose patients, records, rules and pathways.
    journal : Journal
        The alert store.
    clock : Clock
        Microseconds UTC.
    """

    def __init__(self, clinic: Clinic, journal: Journal, clock: Clock) -> None:
        self._clinic, self._journal, self._clock = clinic, journal, clock
        self._rules, self._pathways = RulesInForce(clinic), site_pathways(clinic)
        self._asked_s = time.monotonic()
        self.pack = self._rules(journal)

    def kinds(self) -> frozenset[str]:
        """Kinds of observation that the rules in force are judged by; as before while the store is away."""
        try:
            self._ask_rules()
        except (DBAPIError, JournalError) as fault:
            LOG.error("rules_not_asked reason=%s", type(fault).__name__)
        return frozenset[str]().union(*(kinds_of(rule) for rule in self.pack.rule))

    def __call__(self, rows: Sequence[LiveObservation]) -> None:
        """Judge observations in one transaction; what was judged before is passed over.

        Raises
        ------
        Unavailable
            When the store takes nothing now: nothing is acknowledged then.
        """
        if not rows:
            return
        try:
            with self._journal.transaction():
                self._ask_rules()
                told = judge_answers(self._journal, self.pack, answers_of(rows), is_live=True)
                told += judge_samples(self._journal, self.pack, samples_of(rows), self._is_withdrawn)
                if told:
                    known = contraindications(self._clinic, self._clock())
                    attach(self._journal, self._pathways, lambda who: known.get(who, {}), self._clock())
        except (DBAPIError, JournalError) as fault:
            raise Unavailable(type(fault).__name__) from fault
        LOG.info("live_judged observations=%d told=%d", len(rows), told)

    def _ask_rules(self) -> None:
        if time.monotonic() - self._asked_s < ASK_S:
            return
        self._asked_s = time.monotonic()
        self.pack = self._rules(self._journal)

    def _is_withdrawn(self, patient: str) -> bool:
        return statuses_now(self._clinic, self._clock()).get(patient) == WITHDRAWN


def answers_of(rows: Sequence[LiveObservation]) -> list[Answer]:
    """Answers among what arrived."""
    return [
        Answer(
            answer=row.observation.answer_id,
            patient=row.patient,
            instrument=row.observation.instrument,
            item=row.observation.item,
            value=row.observation.value,
            at=row.observation.start_utc,
            zone=row.zone,
            site=row.site,
        )
        for row in rows
        if isinstance(row.observation, ProAnswer)
    ]


def samples_of(rows: Sequence[LiveObservation]) -> list[Sample]:
    """Single values among what arrived; one that a clock puts ahead is of its arrival."""
    return [
        Sample(row.patient, column, min(at, row.arrived_utc), value, row.zone, row.site)
        for row in rows
        for column, at, value in _values(row)
    ]


def _values(row: LiveObservation) -> Iterator[tuple[str, int, float]]:
    one = row.observation
    if isinstance(one, ProAnswer):
        yield answer_column(one.instrument, one.item), one.start_utc, one.value
    elif isinstance(one, FlareReport):
        yield REPORTED, one.start_utc, 1.0
    elif isinstance(one, HeartRate):
        for slot, bpm in enumerate(one.bpm):
            # 0 is no reading
            if bpm:
                yield HEART_RATE, one.start_utc + slot * one.period_s * SECOND, float(bpm)


def run_live(home: Path, broker: BrokerAddress, *, name: str) -> int:
    """Judge what arrives until SIGTERM or Ctrl-C; returns the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    clinic = Clinic(home)
    with Journal(clinic.alert_store, system_clock) as journal:
        judge = LiveJudge(clinic, journal, system_clock)
        if not (kinds := judge.kinds()):
            raise UserError(
                "no live rule is in force: say in channels.toml who answers at all hours ([staffed_response])"
            )
        enrolment = EnrolmentFile(clinic.enrolment_path)
        live = LiveSubscriber(broker, enrolment, judge.kinds, judge, clock=system_clock, name=name)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: live.stop())
        LOG.info("live name=%s broker=%s kinds=%s", name, broker, ",".join(sorted(kinds)))
        live.run()
    return 0
