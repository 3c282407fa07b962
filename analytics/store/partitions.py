"""Patients in stable shares: the unit in which a night is computed, fails and is retried.

A patient's share is a digest of the id, so it is the same on every machine, in every
process and in ten years. Counts are powers of two: of two counts the finer one divides
the coarser one, and a table written in 8 shares can be read in 32.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import pyarrow as pa

#: Shares a cohort may be cut into.
COUNTS: Final = (8, 16, 32)
#: Patients up to which 8 and 16 shares are enough.
FEW, SOME = 10_000, 50_000


@dataclass(frozen=True, order=True)
class Partition:
    """Share `number` of `count`."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number:02d}-of-{self.count:02d}"

    def overlaps(self, other: "Partition") -> bool:
        """Whether a patient can be in both."""
        least = min(self.count, other.count)
        return self.number % least == other.number % least

    def holds(self, patient: str) -> bool:
        """Whether the patient belongs to this share."""
        return digest_of(patient) % self.count == self.number

    def of(self, rows: pa.Table) -> pa.Table:
        """Rows of the patients of this share; column `patient`."""
        names = rows["patient"].combine_chunks().dictionary_encode()
        wanted = [self.holds(name) for name in names.dictionary.to_pylist()]
        if all(wanted):
            return rows
        mask = pa.array(wanted, pa.bool_()).take(names.indices)
        return rows.filter(mask)


@lru_cache(maxsize=1_000_000)
def digest_of(patient: str) -> int:
    """Number that decides the share of a patient: 64 bits of BLAKE2b of the id."""
    return int.from_bytes(hashlib.blake2b(patient.encode(), digest_size=8).digest(), "big")


def count_for(patients: int) -> int:
    """Shares for a cohort of that size: few files for a small one, small arrays for a large one."""
    return 8 if patients <= FEW else 16 if patients <= SOME else 32


def partitions(count: int) -> list[Partition]:
    """Every share of a cut."""
    return [Partition(number, count) for number in range(count)]


def by_partition(patients: Iterable[str], count: int) -> dict[Partition, list[str]]:
    """Patients of each share that has any, in order."""
    found: dict[Partition, list[str]] = {}
    for patient in sorted(patients):
        found.setdefault(Partition(digest_of(patient) % count, count), []).append(patient)
    return found
