"""Where patients live, by the enrolment: the zone of each at an instant, and the dates of their own clock."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from analytics.features.calendar import Stay, Stays, stays_of, zone_at
from devices.clock import local_date, to_utc
from ingest.lake.enrolment import EnrolmentRow

_FOREVER: Final = 2**62


class Homes:
    """Zones of the patients through their moves.

    Parameters
    ----------
    rows : iterable of EnrolmentRow
    """

    def __init__(self, rows: Iterable[EnrolmentRow]) -> None:
        self._rows: dict[str, list[Stay]] = {}
        for row in rows:
            until = _FOREVER if row.valid_to_utc is None else row.valid_to_utc
            self._rows.setdefault(row.patient, []).append((row.valid_from_utc, until, row.zone))

    def __contains__(self, patient: str) -> bool:
        return patient in self._rows

    def _stays(self, patient: str) -> Stays:
        return stays_of(sorted(self._rows[patient]))

    def zone(self, patient: str, utc: int) -> ZoneInfo:
        """Zone of an enrolled patient at an instant; before the first enrolment its zone."""
        return ZoneInfo(zone_at(self._stays(patient), utc))

    def date(self, patient: str, utc: int) -> date:
        """Date that an enrolled patient's clock shows at an instant."""
        return local_date(utc, self.zone(patient, utc))

    def instant(self, patient: str, shown: datetime) -> int:
        """When an enrolled patient's clock shows a time without zone; of several instants the last."""
        stays = self._stays(patient)
        instants = [(to_utc(shown.replace(tzinfo=ZoneInfo(zone))), zone) for _, zone in reversed(stays)]
        # a time that a move skips is the new clock's
        return next((utc for utc, zone in instants if zone_at(stays, utc) == zone), instants[0][0])
