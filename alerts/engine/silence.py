"""When silence is unusual for this patient: pure.

Many wear the device on two days of five. Somebody who has data on the share p of days is silent for n
nights by chance with (1 - p) ** n; a silence is worth a word when that is below the rule's `unusual`.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from alerts.engine.evaluate import Band, Bands, Marks
from alerts.rules.bounds import parse_duration
from alerts.rules.rule import NoDataRule
from devices.clock import DAY

#: Nights looked back for the usual share.
USUAL_NIGHTS: Final = 56
#: States in which nothing is expected of a patient.
SUSPENDING: Final = frozenset(
    {"paused", "admitted", "on-holiday", "withdrawn", "device-in-post", "gateway-silent"}
)
#: With fewer nights known the share is not: then only the rule's `least` counts, twice over.
LEAST_KNOWN: Final = 14
#: Nobody is silent for longer than this unnoticed, however rarely they wear the device.
LONGEST_NIGHTS: Final = 28


@dataclass(frozen=True, slots=True)
class Wear:
    """A patient's last :data:`USUAL_NIGHTS` nights before the one judged.

    Parameters
    ----------
    known : int
        Nights judged on which data were expected.
    present : int
        Of them, with data.
    silent : int
        Expected nights since the last with data.
    """

    known: int
    present: int
    silent: int


def nights_needed(rule: NoDataRule, wear: Wear) -> int:
    """Silent nights from which silence is unusual for this patient."""
    least = max(1, math.ceil(parse_duration(rule.least) / DAY))
    usual = wear.known - wear.silent
    if usual < LEAST_KNOWN:
        return 2 * least
    # add a half: a share of 1 or 0 is never known
    share = (wear.present + 0.5) / (usual + 1)
    by_chance = math.ceil(math.log(rule.unusual) / math.log(1 - share))
    return min(max(least, by_chance), max(least, LONGEST_NIGHTS))


def band_of_silence(rule: NoDataRule, has_data: bool, wear: Wear, *, is_suspended: bool = False) -> Band:
    """Where a night lies for a no-data rule; `wear` is of the nights before it."""
    if has_data:
        return Band.CLEAR
    if is_suspended:
        return Band.ABSENT
    return Band.BREACH if wear.silent + 1 >= nights_needed(rule, wear) else Band.BETWEEN


def bands_of_silence(rule: NoDataRule, has_data: Marks, is_suspended: Marks, before: Bands) -> Bands:
    """Where a night lies of each patient.

    Parameters
    ----------
    rule : NoDataRule
        The rule.
    has_data, is_suspended : array of bool
        Of each patient.
    before : matrix of uint8
        (nights, patients): bands of the :data:`USUAL_NIGHTS` before, in their order; 0 is not judged.
    """
    bands = np.full(has_data.shape, Band.CLEAR, np.uint8)
    is_silent = ~has_data
    if not is_silent.any():
        return bands
    own = before[:, is_silent]
    is_known, is_present = (own != 0) & (own != Band.ABSENT), own == Band.CLEAR
    # nights after the last with data, which none follows
    is_followed = np.logical_or.accumulate(is_present[::-1], axis=0)[::-1]
    parts = [one.sum(axis=0) for one in (is_known, is_present, is_known & ~is_followed)]
    kinds, which = np.unique(np.stack([*parts, is_suspended[is_silent]], axis=1), axis=0, return_inverse=True)
    found = [
        band_of_silence(rule, False, Wear(*kind[:3]), is_suspended=bool(kind[3])) for kind in kinds.tolist()
    ]
    bands[is_silent] = np.array(found, np.uint8)[which.reshape(-1)]
    return bands
