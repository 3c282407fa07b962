"""Runs the scenarios in the guest of deploy/bluez-vm: one line each, exit code 1 when one fails.

python -m tests.bluez [SCENARIO...]     names or parts of names; all without
"""

import asyncio
import logging
import os
import sys
import time
import traceback
from importlib.metadata import version

from ingest.edge.virtual_radio_air import Air
from tests.bluez import bonding, range, streaming, trouble
from tests.bluez.bench import SCENARIOS, Adapter, Bench, Scenario

# importing them registers their scenarios
MODULES = (streaming, range, bonding, trouble)
SCENARIO_TIMEOUT_S = 90.0
#: In the folder that the host keeps.
LOG = f"{os.environ['RUN']}/edge.log"


async def run(bench: Bench, scenario: Scenario) -> bool:
    """Run one scenario and print its line."""
    began = time.monotonic()
    traced = ""
    logging.getLogger("tests.bluez").info("scenario %s", scenario.__name__)
    try:
        async with asyncio.timeout(SCENARIO_TIMEOUT_S):
            await bench.host.prepare()
            figures = await scenario(bench)
            is_passed = True
    except Exception as error:  # noqa: BLE001  whatever it is, the next scenario runs
        is_passed = False
        figures = f"{type(error).__name__}: {error}"
        traced = traceback.format_exc()
    try:
        async with asyncio.timeout(SCENARIO_TIMEOUT_S):
            await bench.aclose()
    except Exception as error:  # noqa: BLE001  a scenario that cannot be cleaned up has failed
        is_passed = False
        figures += f"; not cleaned up: {type(error).__name__}: {error}"
    took_s = time.monotonic() - began
    print(f"{'PASS' if is_passed else 'FAIL'}  {scenario.__name__:28} {took_s:5.1f} s  {figures}", flush=True)
    if traced:
        print(traced, flush=True)
    return is_passed


async def main(names: list[str]) -> int:
    """Number of scenarios that failed."""
    modules = [module.__name__ for module in MODULES]
    ordered = sorted(SCENARIOS, key=lambda scenario: modules.index(scenario.__module__))
    chosen = [each for each in ordered if not names or any(part in each.__name__ for part in names)]
    packages = ", ".join(f"{name} {version(name)}" for name in ("bleak", "dbus-fast", "bumble"))
    print(f"guest: Python {sys.version.split()[0]}, {packages}", flush=True)
    air = Air()
    adapter = Adapter(air)
    await adapter.plug()
    try:
        results = [await run(Bench(air, adapter, number), each) for number, each in enumerate(chosen, 1)]
    finally:
        await adapter.unplug()
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed", flush=True)
    return 0 if results and all(results) else 1


logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", filename=LOG)
sys.exit(asyncio.run(main(sys.argv[1:])))
