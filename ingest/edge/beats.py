"""The beat clock: when did beats happen that came without a time, and are they all there, once?

A heart-rate strap sends RR intervals and nothing else: no time, no sequence
number. The last beat of a notification happened just before it arrived, so the
run starts at the arrival minus the sum of its intervals. Arrival jitters by up to
a second (straps notify once a second, a radio repeats), beats do not; therefore
consecutive notifications are chained on the beat clock, and arrival supervises it.
`lag` is how far arrival is ahead of the chained beats:

- above :data:`GAP_US`, and nothing that came with it catches up: beats are missing
  here; the run is placed by its arrival and the silence stands in `gap_before_ms`;
- the *lowest* lag of the last few notifications has risen by more than
  :data:`MISSING_SHARE` of an interval (:class:`LagFloor`): one notification was
  lost, less than jitter can hide at once but not for long;
- below -:data:`AHEAD_US`: more heart time than time. The frame is refused, unless
  a stalled link has just delivered what it had held back;
- otherwise the crystals differ: the chain is pulled towards arrival by at most
  1/:data:`SLEW` of the run (500 ppm, ten times a poor crystal).

A copy of the frame before it is refused earlier (:class:`CopyWatch`).
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from devices.blobs import pack_u16
from devices.clock import SECOND
from devices.drivers.session import Beats, Gap
from devices.ids import DeviceId
from devices.observations import RrInterval

#: Longer than the jitter of arrival, shorter than three missing beats at rest.
GAP_US: Final = 2 * SECOND
#: Beats may run ahead of arrival by so much: jitter of the first arrival, and some more.
AHEAD_US: Final = 2 * SECOND
#: Arrival jitter that says nothing about the crystals.
SLACK_US: Final = 1 * SECOND
SLEW: Final = 2000
#: After a stall the chain is wrong by the stall: it comes back within 20 times as long.
FAST_SLEW: Final = 20
#: A link that stood still delivers what it held back within this time.
BACKLOG_US: Final = 10 * SECOND
#: Arrival going back by more than a network's clock correction: the clock was set.
CLOCK_STEP_US: Final = SECOND // 2

#: A lost notification holds at least one interval; jitter seldom holds the floor up by this share of it.
MISSING_SHARE: Final = 0.6
MISSING_LEAST_US: Final = 300_000
#: Notifications that must all be late, with calm arrival and with jitter of an interval: uniform jitter
#: does the latter by chance once in 6 million notifications.
FLOOR_CALM, FLOOR_JITTERY = 4, 24
#: Notifications the floor is compared with, and the fewest that make one.
FLOOR_BEFORE, FLOOR_LEAST = 64, 16

#: A copy comes with its original, not a heart beat later.
COPY_WITHIN_US: Final = 100_000
#: Notifications over which the usual time between them is averaged.
SPACING_OVER: Final = 16
#: Deliveries without a copy after which a connection is taken for one that does not copy:
#: a leaked session copies from the first on.
TRUST_AFTER: Final = 16

LOST: Final = "notification lost"
SILENT: Final = "wearable was silent"
REFUSED: Final = "frame refused"
CLOCK_BACK: Final = "clock of the gateway set back"
COPY: Final = "heart rate: copy of the frame before it"
AHEAD: Final = "heart rate: more heart time than time"


class Refusal(NamedTuple):
    """Beats that cannot be true at the time they came."""

    beats: Beats
    reason: str


class LagFloor:
    """Notices the loss of a single notification: the lowest lag rises and does not come back."""

    def __init__(self) -> None:
        self._lags: deque[int] = deque(maxlen=FLOOR_BEFORE + FLOOR_JITTERY)

    def forget(self) -> None:
        """What was measured no longer holds."""
        self._lags.clear()

    def rise(self, lag: int, interval: int) -> int:
        """By how much the floor rose for good with this lag, or 0; both microseconds."""
        self._lags.append(lag)
        least = max(MISSING_LEAST_US, round(MISSING_SHARE * interval))
        if lag - min(self._lags) <= least:
            return 0
        for count, spread in ((FLOOR_CALM, interval // 4), (FLOOR_JITTERY, SLACK_US + interval)):
            before = list(self._lags)[:-count]
            if len(before) < FLOOR_LEAST:
                return 0
            floor = min(before)
            rise = min(list(self._lags)[-count:]) - floor
            if rise > least and max(before) - floor <= spread:
                return rise
        return 0


class CopyWatch:
    """Tells a copied notification (BlueZ's leaked sessions, echoes) from a heart that repeats itself.

    Equal neighbours are common: a steady heart says the same interval again. But
    it says so an interval later. A copy comes at once, and was not held back: a
    link that stood still delivers many at once, and those fill the time it stood.

    What stood still may come in pieces, and the first piece does not fill that time.
    A connection that has told :data:`TRUST_AFTER` times without a copy is believed
    that more will come; one that has not must fill half of the time at once.
    """

    def __init__(self, subscribed_utc: int) -> None:
        self._last: Beats | None = None
        # time that may be filled: since when, by how many frames, with how much heart time so far
        self._room_from = subscribed_utc
        self._room_frames = 0
        self._room_us = 0
        self._stall_until = subscribed_utc
        self._burst_copies = 0
        self._was_copying = False
        self._bursts_without_copy = 0
        self._spacing = 0.0

    def is_copy(self, beats: Beats, together_us: int) -> bool:
        """Whether `beats` copy the frame before.

        Parameters
        ----------
        together_us : int
            Heart time of all that was delivered together with it, copies included.
        """
        length, last = _length(beats), self._last
        elapsed = 0 if last is None else beats.arrival_utc - last.arrival_utc
        self._last = beats
        if last is not None and not 0 <= elapsed < COPY_WITHIN_US:
            self._begin_burst(last, elapsed)
        elif (
            last is not None
            and (last.rr_ms, last.payload) == (beats.rr_ms, beats.payload)
            and elapsed < length // 2
            and not self._was_held_back(beats, length, together_us)
        ):
            self._burst_copies += 1
            return True
        self._room_frames += 1
        self._room_us += length
        return False

    def _begin_burst(self, last: Beats, elapsed: int) -> None:
        self._was_copying = self._burst_copies > 0
        self._bursts_without_copy = 0 if self._was_copying else self._bursts_without_copy + 1
        self._burst_copies = 0
        now = last.arrival_utc + elapsed
        if elapsed >= GAP_US:
            self._stall_until = now + BACKLOG_US
        elif elapsed > 0 and now <= self._stall_until:
            # a further piece of what stood still shares the room of the first
            return
        elif elapsed > 0:
            weight = 1 / SPACING_OVER if self._spacing else 1
            self._spacing += (elapsed - self._spacing) * weight
        self._room_from, self._room_frames, self._room_us = last.arrival_utc, 0, 0

    def _was_held_back(self, beats: Beats, length: int, together_us: int) -> bool:
        """Whether there is room for one frame more, and reason to believe that it is filled."""
        room = beats.arrival_utc - self._room_from
        least = self._room_us + length / 2
        if beats.arrival_utc > self._stall_until:
            # a strap that tells once a second has a beat's room too much now and then
            spacing = self._spacing or max(length, SECOND)
            least = max(least, (self._room_frames + 0.5) * spacing)
        if room < least:
            return False
        if self._bursts_without_copy >= TRUST_AFTER:
            return True
        return not self._was_copying and together_us >= room / 2


class BeatClock:
    """Places the beats of one Bluetooth connection on the gateway's time.

    Parameters
    ----------
    device : DeviceId
        Wearable the beats come from.
    connection : str
        Name of the connection.
    subscribed_utc : int
        When the gateway subscribed, microseconds UTC: silence before the first
        beat counts from here.
    """

    def __init__(self, device: DeviceId, connection: str, subscribed_utc: int) -> None:
        self._device = device
        self._connection = connection
        self._end = subscribed_utc
        self._arrival = subscribed_utc
        self._beats = 0
        self._is_chained = False
        self._is_clock_back = False
        self._floor = LagFloor()
        self._corrected = 0
        self._copies = CopyWatch(subscribed_utc)
        # how far beats may run ahead because a stalled link delivers, and until when more may come
        self._backlog_us = 0
        self._backlog_until = subscribed_utc
        #: Gaps found since they were last taken, with their reasons.
        self.gaps: list[Gap] = []

    def lose(self) -> None:
        """Beats are known to be missing here: what comes next continues nothing."""
        self._is_chained = False

    def place(self, together: Sequence[Beats]) -> list[RrInterval | Refusal]:
        """Runs of RR intervals with their starts and the silence before each, in order.

        Parameters
        ----------
        together : sequence of Beats
            Non-empty intervals, none of them zero, of notifications that were
            delivered together: a later one shows that an earlier was only late.
        """
        heard = sum(map(_length, together))
        copies = [self._copies.is_copy(beats, heard) for beats in together]
        originals = [beats for beats, is_copy in zip(together, copies, strict=True) if not is_copy]
        placed: list[RrInterval | Refusal] = []
        for beats, is_copy in zip(together, copies, strict=True):
            placed.append(Refusal(beats, COPY) if is_copy else self._place(originals))
            if not is_copy:
                originals.pop(0)
        return placed

    def _place(self, waiting: Sequence[Beats]) -> RrInterval | Refusal:
        """The first of `waiting`; the others came with it."""
        beats = waiting[0]
        self._heed_clock(beats.arrival_utc)
        lag = self._lag_after(waiting)
        if self._is_chained and -lag > AHEAD_US + self._backlog_us:
            return Refusal(beats, AHEAD)
        return self._run(beats, lag)

    def _heed_clock(self, arrival: int) -> None:
        if arrival < self._arrival - CLOCK_STEP_US:
            self.gaps.append(Gap(arrival, arrival, CLOCK_BACK))
            self._is_clock_back, self._is_chained = True, False
            self._backlog_us = 0
            self._floor.forget()
        elif arrival > self._backlog_until:
            # what was held back has come: no further ahead than now
            self._backlog_us = min(self._backlog_us, max(0, self._end - arrival))
        self._arrival = arrival

    def _lag_after(self, waiting: Sequence[Beats]) -> int:
        """Lag of the first of `waiting`; what follows may show that it was only late."""
        end, lags = self._end, list[int]()
        for beats in waiting:
            end += _length(beats)
            lags.append(beats.arrival_utc - end)
            if lags[0] <= 0:
                break
        return min(lags[0], max(min(lags), 0))

    def _run(self, beats: Beats, lag: int) -> RrInterval:
        length = _length(beats)
        start, gap_ms = self._start(self._end + lag, lag, length, len(beats.rr_ms))
        run = RrInterval(
            device=self._device,
            start_utc=start,
            source=beats.source,
            connection=self._connection,
            first_beat=self._beats,
            rr_ms=pack_u16(beats.rr_ms),
            gap_before_ms=gap_ms,
            sensor=beats.sensor,
        )
        self._beats += len(beats.rr_ms)
        self._end = start + length
        self._is_chained = True
        return run

    def _start(self, begin: int, lag: int, length: int, count: int) -> tuple[int, int | None]:
        """Start (microseconds UTC) and gap (ms) of a run that began at `begin` by arrival."""
        if self._is_clock_back:
            self._is_clock_back = False
            return begin, None
        if self._is_chained and lag <= GAP_US:
            # arrival against the beats as they were said: a correction of ours is no loss
            if rise := self._floor.rise(lag + self._corrected, length // count):
                self._floor.forget()
                return self._end + rise, self._gap_ms(self._end + rise, LOST)
            correction = self._correction(lag, length)
            self._corrected += correction
            return self._end + correction, 0
        silence = begin - self._end
        self._floor.forget()
        if self._is_chained or self._beats == 0:
            # also before the first beat: a link may stand still as soon as it is subscribed
            self._backlog_us, self._backlog_until = max(0, silence), self._arrival + BACKLOG_US
        if self._beats == 0:
            # beats that the strap had stored before we subscribed are not a gap
            return begin, self._gap_ms(begin, SILENT) if silence >= 1000 else 0
        # after lost beats there is a gap even when arrival cannot tell its length
        start = max(begin, self._end)
        return start, max(1, self._gap_ms(start, SILENT if self._is_chained else REFUSED))

    def _gap_ms(self, start: int, reason: str) -> int:
        self.gaps.append(Gap(self._end, start, reason))
        return round((start - self._end) / 1000)

    @staticmethod
    def _correction(lag: int, length: int) -> int:
        if abs(lag) <= SLACK_US:
            return 0
        most = length // (FAST_SLEW if lag < -AHEAD_US else SLEW)
        return max(-most, min(most, lag))


def _length(beats: Beats) -> int:
    return 1000 * sum(beats.rr_ms)
