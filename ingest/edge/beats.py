"""The beat clock: when did beats happen that came without a time?

A heart-rate strap sends RR intervals and nothing else. The last beat of a
notification happened just before it arrived, so the run starts at the arrival
minus the sum of its intervals. Arrival jitters by up to a second (straps notify
once a second, a radio repeats), beats do not; therefore consecutive notifications
are chained on the beat clock, and arrival only supervises it:

- arrival more than :data:`GAP_US` ahead of the chained beats: beats are missing;
  the run is placed by its arrival and the silence stands in `gap_before_ms`;
- within :data:`SLACK_US` of each other: jitter; the chain is exact;
- in between, and when the beats run ahead: the crystals differ; the chain is
  pulled towards arrival by at most 1/:data:`SLEW` of the run (500 ppm, ten times a
  poor crystal), so that the error never accumulates and no run starts before
  the previous one.
"""

from typing import Final

from devices.blobs import pack_u16
from devices.clock import SECOND
from devices.drivers.session import Beats
from devices.ids import DeviceId
from devices.observations import RrInterval

#: Longer than the jitter of arrival, shorter than three missing beats at rest.
GAP_US: Final = 2 * SECOND
#: Arrival jitter that says nothing about the crystals.
SLACK_US: Final = 1 * SECOND
SLEW: Final = 2000


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
        self._beats = 0
        self._is_chained = False
        #: Notifications whose beats ran ahead of arrival by more than :data:`GAP_US`.
        self.ahead_count = 0

    def lose(self) -> None:
        """Beats are known to be missing here: what comes next continues nothing."""
        self._is_chained = False

    def place(self, beats: Beats) -> RrInterval:
        """Run of RR intervals with its start and the silence before it.

        Parameters
        ----------
        beats : Beats
            Non-empty intervals of one notification, none of them zero.
        """
        length = 1000 * sum(beats.rr_ms)
        start, gap_ms = self._start(beats.arrival_utc - length, length)
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

    def _start(self, begin: int, length: int) -> tuple[int, int]:
        """Start (microseconds UTC) and gap (ms) of a run that began at `begin` by its arrival."""
        silence = begin - self._end
        if self._is_chained and silence <= GAP_US:
            if silence < -GAP_US:
                self.ahead_count += 1
            return self._end + self._correction(silence, length), 0
        if self._beats == 0:
            # beats that the strap had stored before we subscribed are not a gap
            return begin, max(0, round(silence / 1000))
        # after lost beats there is a gap even when arrival cannot tell its length
        return max(begin, self._end), max(1, round(silence / 1000))

    @staticmethod
    def _correction(silence: int, length: int) -> int:
        if abs(silence) <= SLACK_US:
            return 0
        most = length // SLEW
        return max(-most, min(most, silence))
