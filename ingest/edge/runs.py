"""Runs of samples, joined and cut into blocks.

A strap notifies once a second, a ring answers in packets; both say a few samples
at a time. Contiguous observations of one device are joined and cut into blocks,
because a block of 300 RR intervals costs a hundredth of 300 single ones.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from devices.blobs import unpack_u16
from devices.clock import SECOND
from devices.observations import HeartRate, Observation, RrInterval, SleepStage, StepCount
from ingest.wire.messages import LIVE_SAMPLES

#: The beat clock (ingest.edge.beats) leans towards arrival by up to 1/2000 of a run:
#: joined runs keep the first start, and may be this far from their own, microseconds.
DRIFT: Final = 50_000

#: Kind -> (field of the samples, bytes per sample, field of their spacing in seconds).
_SLOTS: Final[dict[type[Observation], tuple[str, int, str]]] = {
    HeartRate: ("bpm", 1, "period_s"),
    StepCount: ("counts", 2, "period_s"),
    SleepStage: ("stages", 1, "epoch_s"),
}
Run = TypeVar("Run", bound=Observation)


def is_run(cls: type[Observation]) -> bool:
    """Whether observations of this class can be joined."""
    return cls is RrInterval or cls in _SLOTS


def length(observation: Observation) -> int:
    """Samples a run spans, empty slots included; 1 for an event."""
    if isinstance(observation, RrInterval):
        return observation.sample_count
    if (slots := _SLOTS.get(type(observation))) is None:
        return 1
    return len(getattr(observation, slots[0])) // slots[1]


def continues(previous: Observation, following: Observation) -> bool:
    """Whether `following` goes on where `previous` ended, without a gap."""
    if type(previous) is not type(following):
        return False
    if previous.device != following.device or previous.source != following.source:
        return False
    if isinstance(previous, RrInterval) and isinstance(following, RrInterval):
        return (
            following.connection == previous.connection
            and following.sensor == previous.sensor
            and following.first_beat == previous.first_beat + previous.sample_count
            and following.gap_before_ms == 0
            and abs(following.start_utc - previous.end_utc) <= DRIFT
        )
    if (slots := _SLOTS.get(type(previous))) is None:
        return False
    spacing = slots[2]
    return following.start_utc == previous.end_utc and getattr(previous, spacing) == getattr(
        following, spacing
    )


def join(runs: list[Run]) -> Run:
    """One run of contiguous `runs`."""
    if len(runs) == 1:
        return runs[0]
    name = "rr_ms" if isinstance(runs[0], RrInterval) else _SLOTS[type(runs[0])][0]
    changes: dict[str, Any] = {name: b"".join(getattr(run, name) for run in runs)}
    return msgspec.structs.replace(runs[0], **changes)


def cut(run: Observation, most: int) -> Iterator[Observation]:
    """Blocks of at most `most` samples, in order; an RR block after the first continues without a gap."""
    if length(run) <= most:
        yield run
    elif isinstance(run, RrInterval):
        start = run.start_utc
        for first in range(0, run.sample_count, most):
            blob = run.rr_ms[2 * first : 2 * (first + most)]
            yield msgspec.structs.replace(
                run,
                start_utc=start,
                first_beat=run.first_beat + first,
                rr_ms=blob,
                gap_before_ms=0 if first else run.gap_before_ms,
            )
            start += 1000 * sum(unpack_u16(blob))
    else:
        name, width, spacing = _SLOTS[type(run)]
        blob: bytes = getattr(run, name)
        for first in range(0, length(run), most):
            changes: dict[str, Any] = {
                name: blob[width * first : width * (first + most)],
                "start_utc": run.start_utc + first * getattr(run, spacing) * SECOND,
            }
            yield msgspec.structs.replace(run, **changes)


def joined(observations: Iterable[Observation]) -> Iterator[Observation]:
    """The same samples in fewer, longer runs; order is kept.

    The end of the run so far is carried along: asking each joined run for it
    would cost the square of its length.
    """
    group: list[Observation] = []
    drift = 0
    for observation in observations:
        if group and continues(group[-1], observation):
            drift += observation.start_utc - group[-1].end_utc
            if abs(drift) <= DRIFT:
                group.append(observation)
                continue
        if group:
            yield join(group)
        group, drift = [observation], 0
    if group:
        yield join(group)


def closed(observations: list[Observation], most: int = LIVE_SAMPLES) -> int:
    """How many observations, from the front, fill blocks of `most`: the rest of the last run stays open."""
    open_from, samples = 0, 0
    previous: Observation | None = None
    for index, observation in enumerate(observations):
        if previous is not None and not continues(previous, observation):
            open_from, samples = index, 0
        samples += length(observation)
        if samples >= most:
            open_from, samples = index + 1, 0
        previous = observation
    return open_from
