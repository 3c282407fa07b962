"""Sleep episodes from stage epochs: onset, final awakening, and what happened between.

Sleep bouts with less than an hour between them are one episode: a device that
splits a night saw its wearer get up. The hypnogram of an episode reaches from the
first epoch before sleep onset to the last one after the final awakening, so that
the definitions are those of yasa's ``sleep_statistics`` on the same hypnogram
(TIB, SPT, TST, WASO, SOL, SE), with one deviation: where no epoch awake precedes
the first sleep, the device did not see its wearer go to bed, and latency is null.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from devices.clock import HOUR, MINUTE
from devices.observations import STAGES

#: Two bouts of sleep with less between them are one episode.
MAX_BREAK: Final = 60 * MINUTE
#: Awake this long before or after sleep is no time in bed: some devices say "awake" all day.
MAX_AWAKE_IN_BED: Final = 4 * HOUR
UNKNOWN, AWAKE, LIGHT, DEEP, REM = (STAGES.index(n) for n in ("unknown", "awake", "light", "deep", "rem"))

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Episodes:
    """Sleep episodes, in order of group and time; minutes unless said.

    Parameters
    ----------
    group : array of int
        Group (patient and device) of each episode.
    onset_us, final_us : array of int, microseconds UTC
        Sleep onset and end of the last sleep epoch.
    in_bed_min, latency_min : array of float
        NaN when the device does not tell.
    """

    group: Ints
    onset_us: Ints
    final_us: Ints
    tst_min: Floats
    light_min: Floats
    deep_min: Floats
    rem_min: Floats
    unknown_min: Floats
    awakening_count: Ints
    in_bed_min: Floats
    latency_min: Floats

    @property
    def count(self) -> int:
        """Episodes."""
        return len(self.group)


def find_episodes(group: Ints, start_us: Ints, end_us: Ints, stage: NDArray[Any]) -> Episodes:
    """Sleep episodes of stage epochs.

    Parameters
    ----------
    group : array of int (epochs,)
        Non-decreasing; epochs of one group come in order of their start.
    start_us, end_us : array of int (epochs,), microseconds UTC
    stage : array of int (epochs,)
        Codes of :data:`devices.observations.STAGES`.
    """
    end = _cut(group, start_us, end_us)
    is_asleep = stage >= LIGHT
    asleep = np.flatnonzero(is_asleep)
    own = group[asleep]
    since = start_us[asleep][1:] - end[asleep][:-1]
    is_first = np.ones(len(asleep), np.bool_)
    is_first[1:] = (own[1:] != own[:-1]) | (since >= MAX_BREAK)
    first = asleep[is_first]
    last = asleep[np.append(is_first[1:], True)] if len(asleep) else asleep
    onset, final = start_us[first], end[last]
    # epochs lie in order: those of an episode are the ones between its first and its last
    number = np.cumsum(_marks(first, len(stage))) - 1
    inside = (number >= 0) & (np.arange(len(stage)) <= last[number]) if len(first) else is_asleep
    minutes = (end - start_us) / MINUTE

    def total(chosen: NDArray[np.bool_]) -> Floats:
        some = inside & chosen
        return np.bincount(number[some], minutes[some], len(first)).astype(np.float64)

    light, deep, rem = (total(stage == code) for code in (LIGHT, DEEP, REM))
    bed_start, bed_end = _in_bed(group, start_us, end, first, last)
    in_bed = (bed_end - bed_start) / MINUTE
    is_told = (onset - bed_start <= MAX_AWAKE_IN_BED) & (bed_end - final <= MAX_AWAKE_IN_BED)
    latency = (onset - bed_start) / MINUTE
    return Episodes(
        group=group[first],
        onset_us=onset,
        final_us=final,
        tst_min=light + deep + rem,
        light_min=light,
        deep_min=deep,
        rem_min=rem,
        unknown_min=total(stage == UNKNOWN),
        awakening_count=_awakenings(start_us, end, stage, asleep, is_first),
        in_bed_min=np.where(is_told, in_bed, np.nan),
        latency_min=np.where(is_told & (latency > 0), latency, np.nan),
    )


def _cut(group: Ints, start_us: Ints, end_us: Ints) -> Ints:
    """Ends that do not reach into the next epoch: a night pulled twice must not count its minutes twice."""
    end = end_us.copy()
    is_same = group[1:] == group[:-1]
    end[:-1][is_same] = np.minimum(end[:-1], start_us[1:])[is_same]
    return end


def _marks(at: Ints, length: int) -> Ints:
    marks = np.zeros(length, np.int64)
    marks[at] = 1
    return marks


def _in_bed(group: Ints, start_us: Ints, end: Ints, first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """From the first to the last epoch around each episode that none of an hour's silence parts from it."""
    if not len(first):
        return start_us[first], end[last]
    is_new = np.ones(len(group), np.bool_)
    is_new[1:] = (group[1:] != group[:-1]) | (start_us[1:] - end[:-1] >= MAX_BREAK)
    starts = np.flatnonzero(is_new)
    record = np.cumsum(is_new) - 1
    stops = np.append(starts[1:], len(group)) - 1
    low, high = starts[record[first]], stops[record[last]]
    # the awake time between two episodes of one record goes to the second, as its latency
    low[1:] = np.maximum(low[1:], last[:-1] + 1)
    high[:-1] = np.minimum(high[:-1], np.where(record[first[1:]] == record[last[:-1]], last[:-1], high[:-1]))
    return start_us[low], end[high]


def _awakenings(
    start_us: Ints, end: Ints, stage: NDArray[Any], asleep: Ints, is_first: NDArray[np.bool_]
) -> Ints:
    """Times sleep was left and found again; time of unknown stage alone wakes nobody."""
    unknown = np.concatenate([[0], np.cumsum(np.where(stage == UNKNOWN, end - start_us, 0))])
    between = start_us[asleep][1:] - end[asleep][:-1]
    not_told = unknown[asleep[1:]] - unknown[asleep[:-1] + 1]
    woke = np.zeros(len(asleep), np.int64)
    woke[1:] = (between - not_told > 0) & ~is_first[1:]
    episode = np.cumsum(is_first) - 1
    return np.bincount(episode, woke, int(is_first.sum())).astype(np.int64)
