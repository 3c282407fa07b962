"""Worn, not worn or unknown, minute by minute: heart rate first, movement second.

A band on the table counts 0 steps like one on a still arm; only a pulse tells them
apart. A device that gives one counts as worn where there is one, and as not worn
where it counts no steps and has none. A device without a pulse is worn where it
moves and in short rests between; long stillness without a sleep record is unknown.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Between two heart rates no further apart the device stayed on: some measure every ten minutes.
MAX_PULSE_GAP_MIN: Final = 15
#: Stillness that may be somebody sitting; longer and without a pulse nobody can tell.
MAX_STILL_MIN: Final = 180
#: A device whose pulse is there in so much of its movement has it whenever it is worn.
MIN_PULSE_SHARE: Final = 0.5

Flags = NDArray[np.bool_]


def gaps(anchor: Flags) -> NDArray[np.int32]:
    """Minutes without an anchor around each minute: its run's length, 0 at an anchor; ends are anchors."""
    length = anchor.shape[1]
    at = np.arange(length, dtype=np.int32)
    before = np.maximum.accumulate(np.where(anchor, at, np.int32(-1)), axis=1)
    after = np.minimum.accumulate(np.where(anchor, at, np.int32(length))[:, ::-1], axis=1)[:, ::-1]
    return np.where(anchor, 0, after - before - 1).astype(np.int32)


def judge(
    is_counting: Flags, is_moving: Flags, has_pulse: Flags, has_stage: Flags, is_denied: Flags
) -> tuple[Flags, Flags]:
    """Worn and not worn, per track (one device on one date) and minute; neither is unknown.

    Parameters
    ----------
    is_counting, is_moving : arrays of bool (tracks, minutes)
        A step count is there; it is above 0.
    has_pulse, has_stage : arrays of bool (tracks, minutes)
        A heart rate or RR interval; a sleep stage that is known.
    is_denied : array of bool (tracks, minutes)
        The device itself says "not worn": outweighs steps and stages, never a pulse.
    """
    worn = has_pulse.copy()
    not_worn = is_denied & ~has_pulse
    says = (is_moving | has_stage) & ~is_denied
    worn |= says
    still = is_counting & ~is_moving & ~has_stage & ~is_denied & ~has_pulse
    with_pulse: Flags = np.asarray(has_pulse.any(axis=1))
    near = np.zeros_like(worn)
    if with_pulse.any():
        held = _between(has_pulse[with_pulse])
        near[with_pulse] = held & ~is_denied[with_pulse]
    worn |= near
    moving = np.count_nonzero(is_moving, axis=1)
    seen = np.count_nonzero(is_moving & (near | has_pulse), axis=1)
    # no pulse although it moves: this device measures at times only, its silence says nothing
    vouches = np.reshape(with_pulse & (seen >= MIN_PULSE_SHARE * moving), (-1, 1))
    not_worn |= still & ~near & vouches
    short = (gaps(~still) <= MAX_STILL_MIN) & np.asarray(worn.any(axis=1))[:, None]
    worn |= still & short & ~vouches
    return worn, not_worn


def _between(has_pulse: Flags) -> Flags:
    """Minutes between two pulses that are close together."""
    length = gaps(has_pulse)
    first, last = has_pulse.argmax(axis=1), has_pulse.shape[1] - 1 - has_pulse[:, ::-1].argmax(axis=1)
    at = np.arange(has_pulse.shape[1])
    inside = (at > first[:, None]) & (at < last[:, None])
    return inside & (length > 0) & (length < MAX_PULSE_GAP_MIN)
