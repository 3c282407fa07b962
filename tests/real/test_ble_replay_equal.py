"""A real day's equal neighbours through the detector of copies: every one is kept."""

from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from devices.blobs import unpack_u16
from devices.clock import SECOND
from devices.codec import heart_rate
from devices.drivers.session import Beats
from devices.ids import DeviceId
from devices.sim.strap import plan_stream
from devices.units import RR_MAX_MS
from ingest.edge.beats import COPY, BeatClock, Refusal

START = 1_705_320_000 * SECOND
RECORDING = "nsr001"


@pytest.fixture(scope="module")
def recorded(real_data: Path) -> list[int]:
    """Intervals of one recording, ms."""
    table = pl.read_parquet(real_data / "rr" / "nsr2db_16.parquet").filter(pl.col("rec") == RECORDING)
    return table.sort("beat")["rr_ms"].to_list()


def heard(recorded: list[int], per_notification: int, *, copies: int = 1) -> tuple[list[int], list[str]]:
    """Intervals that are kept, and why others were not; each frame as the strap sends it, `copies` times."""
    clock = BeatClock(DeviceId("strap-1"), "c-1", START)
    now, kept, refused = START, list[int](), list[str]()
    for step in plan_stream(recorded, per_notification):
        now += step.elapsed_ms * 1000
        frame = heart_rate.encode_beats(60, step.rr_ms)
        beats = Beats(now, step.rr_ms, "ecg", heart_rate.SOURCE, frame)
        for _ in range(copies):
            (placed,) = clock.place([beats])
            if isinstance(placed, Refusal):
                refused.append(placed.reason)
            else:
                kept += unpack_u16(placed.rr_ms)
    return kept, refused


@pytest.mark.parametrize("per_notification", [1, 2, 9])
def test_every_equal_neighbour_is_kept(recorded: list[int], per_notification: int) -> None:
    frames = [step.rr_ms for step in plan_stream(recorded, per_notification)]
    equal = sum(before == after for before, after in pairwise(frames))
    assert equal > {1: 10_000, 2: 100, 9: -1}[per_notification]
    kept, refused = heard(recorded, per_notification)
    assert refused == []
    assert kept == [ms for ms in recorded if ms <= RR_MAX_MS]


@pytest.mark.parametrize("per_notification", [1, 2, 9])
def test_every_copy_of_a_real_frame_is_refused(recorded: list[int], per_notification: int) -> None:
    """The same two hours, each frame twice: the heart is kept once."""
    part = recorded[:8000]
    kept, refused = heard(part, per_notification, copies=2)
    assert kept == [ms for ms in part if ms <= RR_MAX_MS]
    assert set(refused) == {COPY}
    assert len(refused) == len(list(plan_stream(part, per_notification)))
