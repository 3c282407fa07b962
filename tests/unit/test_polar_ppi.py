"""Stamps of a Polar sensor against arrival: jitter of the radio is taken out, time never turns back."""

from itertools import pairwise

from devices.clock import SECOND
from devices.codec import polar_pmd
from devices.codec.polar_pmd import Frame, Sample
from devices.drivers.polar_ppi import FrameReader
from devices.drivers.session import Beats, Notification

START = 1_705_320_000 * SECOND
AHEAD = 7 * 3600 * SECOND


def notified(at_us: int, delay_us: int, *samples: Sample) -> Notification:
    """Frame of a sensor hours ahead whose last sample was at `at_us` after the beginning."""
    stamp = (START + at_us + AHEAD - polar_pmd.EPOCH_UTC) * 1000
    return Notification(polar_pmd.encode_ppi(Frame(stamp, samples)), START + at_us + delay_us)


def ends(reader: FrameReader, *frames: Notification) -> list[int]:
    """Ends of the runs, microseconds after the beginning."""
    items = [item for frame in frames for item in reader.read(frame)]
    return [item.arrival_utc - START for item in items if isinstance(item, Beats)]


def test_jitter_is_taken_out() -> None:
    """Once a frame came without delay, those that are late are placed by their stamps."""
    frames = [
        notified(index * SECOND, delay, Sample(60, 1000)) for index, delay in enumerate((0, 900_000, 300_000))
    ]
    reader = FrameReader()
    assert ends(reader, *frames) == [0, SECOND, 2 * SECOND]
    assert reader.offset_s == 7 * 3600


def test_time_never_turns_back() -> None:
    """The first frame came late, which only the second shows; its first run does not end before."""
    moved = Sample(60, 500, is_blocked=True)
    found = ends(
        FrameReader(),
        notified(0, 2 * SECOND, Sample(60, 500)),
        notified(2 * SECOND, 0, Sample(60, 500), moved),
        notified(3 * SECOND, 0, Sample(60, 500)),
    )
    assert found == [2 * SECOND, 2 * SECOND, 3 * SECOND]
    assert all(before <= after for before, after in pairwise(found))


def test_differing_crystals_are_followed() -> None:
    """A sensor that loses a millisecond per second is not placed further and further back."""
    frames = [notified(index * SECOND, index * 1000, Sample(60, 999)) for index in range(200)]
    assert START + ends(FrameReader(), *frames)[-1] >= frames[-1].arrival_utc - 64_000


def test_stamped_copy_of_one_interval() -> None:
    """However late it comes: the stamp says that it is the same."""
    first = notified(0, 0, Sample(60, 1000))
    late = Notification(first.payload, first.arrival_utc + 5 * SECOND)
    assert ends(FrameReader(), first, late) == [0]
