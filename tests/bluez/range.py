"""Range: wearables that leave without a word and come back."""

import asyncio
import dataclasses
import time
from typing import Any

from bleak.backends.device import BLEDevice

from ingest.edge.radio import Radio
from ingest.edge.virtual_radio_air import HostedWearable
from tests.bluez.bench import TIMING, Bench, scenario
from tests.fixtures_ble import START, quarter_hours


class LeavingRadio(Radio):
    """The wearable leaves between its advertisement and the connection, the first time."""

    def __init__(self, hosted: HostedWearable, **how: Any) -> None:
        super().__init__(**how)
        self._leaving: HostedWearable | None = hosted

    async def find(self, address: str, timeout_s: float) -> BLEDevice | None:
        """Find it, and let it leave."""
        found = await super().find(address, timeout_s)
        if self._leaving is not None:
            self._leaving.set_in_range(False)
            self._leaving = None
        return found


@scenario
async def silent_out_of_range(bench: Bench) -> str:
    """Twice out of range mid-stream: the gateway notices, and streams again when it is back."""
    strap, hosted, paired = await bench.strap()
    bench.open_gateway(paired)
    heard: list[int] = []
    noticed_s: list[float] = []
    async with bench.streaming():
        for outing in range(3):
            await bench.listening(paired)
            beats = [700 + 20 * outing + i for i in range(20)]
            await bench.play(paired, strap, beats)
            heard += beats
            if outing == 2:
                break
            began = time.monotonic()
            hosted.set_in_range(False)
            await bench.deaf(paired)
            noticed_s.append(time.monotonic() - began)
            await asyncio.sleep(1)
            hosted.set_in_range(True)
            bench.clock.now += 30_000_000
    assert bench.spool.beats() == heard
    words = ", ".join(f"{seconds:.1f}" for seconds in noticed_s)
    return f"noticed after {words} s, {len(heard)} of {len(heard)} beats"


@scenario
async def connect_while_away(bench: Bench) -> str:
    """Gone between advertisement and connection: the attempt ends in time and blocks no later one."""
    ring, hosted, paired = await bench.ring()
    ring.remember([quarter_hours(START - 4 * 3600 * 1_000_000, [10] * 8)])
    radio = LeavingRadio(hosted, host=bench.host)
    gateway = bench.open_gateway(paired, radio=radio)
    began = time.monotonic()
    pull = asyncio.create_task(gateway.pull_history())
    # longer than one attempt may take
    await asyncio.sleep(9)
    hosted.set_in_range(True)
    (result,) = await pull
    assert result.error is None, result
    assert result.samples > 8, result
    return f"pulled {result.samples} samples after {time.monotonic() - began:.1f} s"


@scenario
async def absent_wearable(bench: Bench) -> str:
    """Never there: a result in words, not an exception."""
    _, hosted, paired = await bench.ring()
    hosted.set_in_range(False)
    gateway = bench.open_gateway(paired, timing=dataclasses.replace(TIMING, scan_s=2))
    (result,) = await gateway.pull_history()
    assert result.error is not None
    assert "not seen" in result.error, result
    return f"«{result.error}»"
