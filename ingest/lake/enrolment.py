"""Enrolment: whose device was it, and by which gateway, at a given instant.

A CSV file with a header line and the columns

=================  ==========================================================
patient            patient id, known at the clinic only
site               clinic or programme
zone               IANA time zone of the patient's home, e.g. Europe/Berlin
gateway            gateway in the patient's home
device             wearable
valid_from_utc     first instant, ISO 8601 with offset, e.g. 2024-05-01T00:00Z
valid_to_utc       end, exclusive; empty while it holds
=================  ==========================================================

A device that changes hands has one row per patient; the rows must not overlap.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo

import pyarrow as pa

from devices.clock import from_utc, to_utc
from devices.durable import replace_file
from devices.errors import IdError
from devices.ids import DeviceId, GatewayId, PatientId, SiteId, check_id
from devices.tables import ENROLMENT
from ingest.errors import EnrolmentError


@dataclass(frozen=True)
class EnrolmentRow:
    """One device with one patient for one interval, microseconds UTC."""

    patient: PatientId
    site: SiteId
    zone: str
    gateway: GatewayId
    device: DeviceId
    valid_from_utc: int
    valid_to_utc: int | None

    def holds(self, utc: int) -> bool:
        """Whether the row is valid at an instant."""
        return self.valid_from_utc <= utc and (self.valid_to_utc is None or utc < self.valid_to_utc)


@dataclass(frozen=True)
class Cells:
    """One row as written, with what is wrong with it; `interval` is None where it cannot be read.

    `place` is its file and line.
    """

    patient: str
    site: str
    zone: str
    gateway: str
    device: str
    valid_from_utc: str
    valid_to_utc: str
    interval: tuple[int, int | None] | None
    mistake: str | None = None
    place: str = ""

    def row(self) -> EnrolmentRow:
        """The row that is written here.

        Raises
        ------
        EnrolmentError
            When it has a mistake.
        """
        if self.mistake or self.interval is None:
            raise EnrolmentError(self.mistake or "no interval")
        who = PatientId(self.patient), SiteId(self.site), self.zone
        return EnrolmentRow(*who, GatewayId(self.gateway), DeviceId(self.device), *self.interval)


class Enrolment:
    """Rows of the enrolment, and the one valid for a device at an instant.

    Raises
    ------
    EnrolmentError
        When a device belongs to two rows at the same time.
    """

    def __init__(self, rows: Iterable[EnrolmentRow]) -> None:
        self.rows = list(rows)
        self._by_device: dict[str, list[EnrolmentRow]] = {}
        for row in sorted(self.rows, key=lambda row: row.valid_from_utc):
            earlier = self._by_device.setdefault(row.device, [])
            if earlier and earlier[-1].holds(row.valid_from_utc):
                raise EnrolmentError(f"device {row.device} is enrolled twice at the same time")
            earlier.append(row)

    @property
    def table(self) -> pa.Table:
        """Rows of :data:`devices.tables.ENROLMENT`."""
        columns = [
            pa.array([getattr(row, field.name) for row in self.rows], type=field.type) for field in ENROLMENT
        ]
        return pa.table(columns, schema=ENROLMENT)

    def add(self, row: EnrolmentRow) -> "Enrolment":
        """Enrolment with one row more; the same when the row is there already.

        Raises
        ------
        EnrolmentError
            When the device is with somebody else at that time; says who and since when.
        """
        for other in self.of_device(row.device):
            if other == row:
                return self
            if _overlap(row, other):
                raise EnrolmentError(
                    f"device {row.device} is with {other.patient} {_interval(other)}: end that row first"
                )
        return Enrolment([*self.rows, row])

    def end(self, device: str, utc: int) -> "Enrolment":
        """Enrolment in which the device was given back (or replaced) at an instant.

        Raises
        ------
        EnrolmentError
            When it is enrolled with nobody at that instant.
        """
        row = self.lookup(device, utc)
        if row is None or row.valid_from_utc == utc:
            raise EnrolmentError(f"device {device} is enrolled with nobody before {_text(utc)}")
        ended = replace(row, valid_to_utc=utc)
        return Enrolment([ended if one is row else one for one in self.rows])

    def of_device(self, device: str) -> list[EnrolmentRow]:
        """Rows of one device in order of time."""
        return self._by_device.get(device, [])

    def lookup(self, device: str, utc: int) -> EnrolmentRow | None:
        """Row valid for the device at an instant, or ``None``."""
        # a device has few rows, and the last is asked for nearly always
        for row in reversed(self._by_device.get(device, [])):
            if row.valid_from_utc <= utc:
                return row if row.holds(utc) else None
        return None


def read_enrolment(path: Path) -> Enrolment:
    """Enrolment of a CSV file.

    Raises
    ------
    EnrolmentError
        With the line and the column of the first mistake.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return Enrolment(_rows(path, stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise EnrolmentError(f"{path}: not a CSV file in UTF-8: {error}") from None
    except OSError as error:
        raise EnrolmentError(f"{path}: {error.strerror}") from None


def read_enrolment_leniently(path: Path) -> tuple[Enrolment, list[Cells]]:
    """Enrolment of the patients whose rows are all without a mistake, and every row as written.

    For whoever must go on with the rest: one mistyped zone stops one patient, not a clinic.

    Raises
    ------
    EnrolmentError
        When the file itself cannot be read, or its header or a line has the wrong columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            read = [_lenient(place, cells) for place, cells in _lines(path, stream)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise EnrolmentError(f"{path}: not a CSV file in UTF-8: {error}") from None
    except OSError as error:
        raise EnrolmentError(f"{path}: {error.strerror}") from None
    taken: dict[str, list[EnrolmentRow]] = {}
    rows: list[Cells] = []
    for cells, row in read:
        clash = row is not None and any(_overlap(row, other) for other in taken.get(row.device, []))
        if row is not None and not clash:
            taken.setdefault(row.device, []).append(row)
        rows.append(
            replace(cells, mistake=f"{cells.place}: device {cells.device} is enrolled twice at the same time")
            if clash
            else cells
        )
    wrong = {cells.patient for cells in rows if cells.mistake}
    sound = [row for own in taken.values() for row in own if row.patient not in wrong]
    return Enrolment(sorted(sound, key=lambda row: (row.patient, row.device, row.valid_from_utc))), rows


def _lenient(place: str, cells: dict[str, str]) -> tuple[Cells, EnrolmentRow | None]:
    try:
        row = _row(place, cells)
    except EnrolmentError as error:
        return Cells(**cells, interval=None, mistake=str(error), place=place), None
    return Cells(**cells, interval=(row.valid_from_utc, row.valid_to_utc), place=place), row


def write_enrolment(path: Path, enrolment: Enrolment) -> None:
    """Replace the CSV file in one step; whoever reads it sees the old rows or the new."""
    text = io.StringIO()
    write_rows(text, enrolment.rows)
    replace_file(path, text.getvalue())


def write_rows(stream: TextIO, rows: Iterable[EnrolmentRow]) -> None:
    """Rows as CSV, as `read_enrolment` reads them."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(ENROLMENT.names)
    for row in rows:
        end = "" if row.valid_to_utc is None else _text(row.valid_to_utc)
        start = _text(row.valid_from_utc)
        writer.writerow([row.patient, row.site, row.zone, row.gateway, row.device, start, end])


def read_row(cells: dict[str, str], place: str) -> EnrolmentRow:
    """Row of texts by column name; `place` opens the message of a mistake.

    Raises
    ------
    EnrolmentError
        With the column of the first mistake.
    """
    return _row(place, cells)


def read_instant(text: str, place: str) -> int:
    """Instant of ISO 8601 text with an offset, microseconds UTC.

    Raises
    ------
    EnrolmentError
        When it is none.
    """
    return _instant(place, "instant", text)


def _text(utc: int) -> str:
    return from_utc(utc).isoformat()


def _interval(row: EnrolmentRow) -> str:
    end = "" if row.valid_to_utc is None else f" to {_text(row.valid_to_utc)}"
    return f"from {_text(row.valid_from_utc)}{end}"


def _lines(path: Path, stream: TextIO) -> Iterable[tuple[str, dict[str, str]]]:
    """Place and cells by column of every line."""
    lines = csv.reader(stream, strict=True)
    header = next(lines, [])
    if header != ENROLMENT.names:
        raise EnrolmentError(f"{path}:1: the columns are {','.join(header)}, not {','.join(ENROLMENT.names)}")
    for cells in lines:
        if not cells:
            continue
        place = f"{path}:{lines.line_num}"
        if len(cells) != len(header):
            raise EnrolmentError(f"{place}: {len(cells)} columns, not {len(header)}")
        yield place, dict(zip(header, cells, strict=True))


def _rows(path: Path, stream: TextIO) -> Iterable[EnrolmentRow]:
    taken: dict[str, list[EnrolmentRow]] = {}
    for place, cells in _lines(path, stream):
        row = _row(place, cells)
        for other in taken.setdefault(row.device, []):
            if _overlap(row, other):
                raise EnrolmentError(f"{place}: device: {row.device} is enrolled twice at the same time")
        taken[row.device].append(row)
        yield row


def _overlap(one: EnrolmentRow, other: EnrolmentRow) -> bool:
    first, second = sorted((one, other), key=lambda row: row.valid_from_utc)
    return first.holds(second.valid_from_utc)


def _row(place: str, cells: dict[str, str]) -> EnrolmentRow:
    def identifier(name: str) -> str:
        try:
            return check_id(cells[name], name)
        except IdError as error:
            raise EnrolmentError(f"{place}: {error}") from None

    start = _instant(place, "valid_from_utc", cells["valid_from_utc"])
    end = _instant(place, "valid_to_utc", cells["valid_to_utc"]) if cells["valid_to_utc"] else None
    if end is not None and end <= start:
        raise EnrolmentError(f"{place}: valid_to_utc: not after valid_from_utc")
    return EnrolmentRow(
        patient=PatientId(identifier("patient")),
        site=SiteId(identifier("site")),
        zone=_zone(place, cells["zone"]),
        gateway=GatewayId(identifier("gateway")),
        device=DeviceId(identifier("device")),
        valid_from_utc=start,
        valid_to_utc=end,
    )


def _zone(place: str, name: str) -> str:
    try:
        ZoneInfo(name)
    # an unknown name, a malformed one, a folder of the database
    except (KeyError, ValueError, OSError):
        raise EnrolmentError(f"{place}: zone: {name!r} is not an IANA time zone") from None
    return name


# a register of 100,000 rows repeats few instants, and is read several times a night
@lru_cache(maxsize=4096)
def _utc_of(text: str) -> int:
    utc = to_utc(datetime.fromisoformat(text))
    # a local time at either end of the calendar lies beyond it in UTC
    from_utc(utc)
    return utc


def _instant(place: str, column: str, text: str) -> int:
    try:
        return _utc_of(text)
    except (ValueError, OverflowError):
        raise EnrolmentError(
            f"{place}: {column}: {text!r} is not ISO 8601 with an offset (2024-05-01T00:00Z)"
        ) from None
