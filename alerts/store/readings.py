"""What each rule saw of each patient on each night: a byte per patient, a row per rule and night.

Nights are kept for years, because one that comes late is folded together with all the others: a row per
patient, rule and night would be most of the store. A byte stands at the patient's number; 0 is a
patient whose night was not judged.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from alerts.store.schema import reading, subject_number

Codes: TypeAlias = NDArray[np.uint8]
Numbers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Nights:
    """Readings of some patients under one rule.

    Parameters
    ----------
    at : list of int
        Event times in their order.
    codes : matrix of uint8
        (nights, patients); 0 where the patient was not judged.
    """

    at: list[int]
    codes: Codes

    def of(self, at: int) -> Codes:
        """Codes of the patients at an event time."""
        if at in self.at:
            return self.codes[self.at.index(at)]
        return np.zeros(self.codes.shape[1], np.uint8)


def numbers_of(con: sa.Connection, subjects: Sequence[str]) -> Numbers:
    """Numbers of the subjects, in their order; whoever has none is given one."""
    table = subject_number
    known = {row[0]: row[1] for row in con.execute(sa.select(table.c.subject, table.c.number))}
    free = max(known.values(), default=-1) + 1
    fresh = {subject: free + n for n, subject in enumerate(one for one in subjects if one not in known)}
    if fresh:
        rows = [{"subject": subject, "number": number} for subject, number in fresh.items()]
        con.execute(table.insert(), rows)
    known |= fresh
    return np.fromiter((known[subject] for subject in subjects), np.int64, len(subjects))


def nights(
    con: sa.Connection, rule: str, numbers: Numbers, first: int | None = None, before: int | None = None
) -> Nights:
    """Readings of a rule at event times from `first` on and before `before`."""
    query = sa.select(reading.c.at, reading.c.codes).where(reading.c.rule == rule)
    if first is not None:
        query = query.where(reading.c.at >= first)
    if before is not None:
        query = query.where(reading.c.at < before)
    rows = con.execute(query.order_by(reading.c.at)).all()
    codes = np.zeros((len(rows), len(numbers)), np.uint8)
    for place, row in enumerate(rows):
        stored = _unpacked(row.codes)
        is_there = numbers < len(stored)
        codes[place, is_there] = stored[numbers[is_there]]
    return Nights([row.at for row in rows], codes)


def keep(con: sa.Connection, rule: str, at: int, numbers: Numbers, codes: Codes) -> None:
    """Remember readings of one event time; those of other patients stay, a later word replaces."""
    if not len(numbers):
        return
    is_row = (reading.c.rule == rule, reading.c.at == at)
    stored = con.scalar(sa.select(reading.c.codes).where(*is_row))
    known = np.zeros(0, np.uint8) if stored is None else _unpacked(stored)
    merged = np.zeros(max(len(known), int(numbers.max()) + 1), np.uint8)
    merged[: len(known)] = known
    merged[numbers] = codes
    if stored is None:
        con.execute(reading.insert().values(rule=rule, at=at, codes=_packed(merged)))
    else:
        con.execute(reading.update().where(*is_row).values(codes=_packed(merged)))


def old_nights(con: sa.Connection, rule: str, at: int) -> Iterator[tuple[int, Codes]]:
    """Readings of everybody under a rule before an event time, night by night: a code per number."""
    is_old = (reading.c.rule == rule, reading.c.at < at)
    for row in con.execute(
        sa.select(reading.c.at, reading.c.codes).where(*is_old).order_by(reading.c.at)
    ).all():
        yield row.at, _unpacked(row.codes)


def forget_before(con: sa.Connection, rule: str, at: int, since: Mapping[int, int]) -> int:
    """Forget readings before an event time, except those of some numbers `since` an instant of each.

    Returns how many nights there are less of.
    """
    nights_gone = 0
    for night, codes in old_nights(con, rule, at):
        kept = np.zeros_like(codes)
        numbers = [number for number, begun in since.items() if begun <= night and number < len(codes)]
        kept[numbers] = codes[numbers]
        is_row = (reading.c.rule == rule, reading.c.at == night)
        if not kept.any():
            con.execute(reading.delete().where(*is_row))
            nights_gone += 1
        elif not np.array_equal(kept, codes):
            con.execute(reading.update().where(*is_row).values(codes=_packed(kept)))
    return nights_gone


def forget(con: sa.Connection, subject: str) -> int:
    """Blank every reading of a subject; returns how many there were. The number goes with its own row."""
    table = subject_number
    number = con.scalar(sa.select(table.c.number).where(table.c.subject == subject))
    if number is None:
        return 0
    count = 0
    for row in con.execute(sa.select(reading)).all():
        codes = _unpacked(row.codes)
        if number < len(codes) and codes[number]:
            # the number may be given to somebody else, who has had no such night
            codes[number] = 0
            is_row = (reading.c.rule == row.rule, reading.c.at == row.at)
            con.execute(reading.update().where(*is_row).values(codes=_packed(codes)))
            count += 1
    return count


def _packed(codes: Codes) -> bytes:
    return zlib.compress(codes.tobytes(), 1)


def _unpacked(stored: Any) -> Codes:
    return np.frombuffer(zlib.decompress(stored), np.uint8).copy()
