"""`flarecast alerts live`: answers that page are judged as they arrive, beside collector and night."""

import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from alerts.engine.events import Answer, judge_answers
from alerts.engine.journal import Journal
from alerts.engine.suggestions import attach
from alerts.errors import JournalError
from alerts.rules.pack import RulePack
from alerts.rules.rule import ItemRule
from devices.clock import Clock, system_clock
from devices.observations import ProAnswer
from flows.clinic import Clinic
from flows.contraindications import contraindications, site_pathways
from flows.errors import UserError
from flows.site_rules import site_pack
from ingest.lake.intake_enrolment import EnrolmentFile
from ingest.lake.live import LiveObservation, LiveSubscriber, Unavailable
from ingest.wire.address import BrokerAddress

LOG = logging.getLogger(__name__)

#: Kinds of observation that some live rule judges.
KINDS: Final = (ProAnswer.kind,)


class LiveJudge:
    """Judges what arrives, and returns when the store has it.

    Parameters
    ----------
    clinic : Clinic
        Whose patients, records and pathways.
    journal : Journal
        The alert store.
    pack : RulePack
        The rules in force.
    clock : Clock
        Microseconds UTC.
    """

    def __init__(self, clinic: Clinic, journal: Journal, pack: RulePack, clock: Clock) -> None:
        self._clinic, self._journal, self._pack, self._clock = clinic, journal, pack, clock
        self._pathways = site_pathways(clinic)

    def __call__(self, rows: Sequence[LiveObservation]) -> None:
        """Judge observations in one transaction; answers judged before are passed over.

        Raises
        ------
        Unavailable
            When the store takes nothing now: nothing is acknowledged then.
        """
        answers = answers_of(rows)
        if not answers:
            return
        try:
            with self._journal.transaction():
                told = judge_answers(self._journal, self._pack, answers)
                if told:
                    known = contraindications(self._clinic, self._clock())
                    attach(self._journal, self._pathways, lambda who: known.get(who, {}), self._clock())
        except (DBAPIError, JournalError) as fault:
            raise Unavailable(type(fault).__name__) from fault
        LOG.info("live_judged answers=%d told=%d", len(answers), told)


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


def run_live(home: Path, broker: BrokerAddress, *, name: str) -> int:
    """Judge what arrives until SIGTERM or Ctrl-C; returns the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    clinic = Clinic(home)
    pack = site_pack(clinic)
    if not any(isinstance(rule, ItemRule) for rule in pack.rule):
        raise UserError(
            "no live rule is in force: say in channels.toml who answers at all hours ([staffed_response])"
        )
    with Journal(clinic.alert_store, system_clock) as journal:
        judge = LiveJudge(clinic, journal, pack, system_clock)
        enrolment = EnrolmentFile(clinic.enrolment_path)
        live = LiveSubscriber(broker, enrolment, KINDS, judge, clock=system_clock, name=name)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: live.stop())
        LOG.info("live name=%s broker=%s", name, broker)
        live.run()
    return 0
