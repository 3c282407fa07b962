"""A function of a case in a process of its own: CPU seconds and peak memory are then its alone.

``python -m bench.apart MODULE FUNCTION ARGUMENT...`` prints one JSON object.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measured:
    """What a function answered (as JSON) and what it took."""

    answer: Any
    cpu_s: float
    wall_s: float
    peak_mib: float


def apart(
    function: Callable[..., Any], *arguments: object, settings: Mapping[str, str] | None = None
) -> Measured:
    """Call a module's function with texts as arguments, in a process with `settings` in its environment."""
    command = [sys.executable, "-m", "bench.apart", function.__module__, function.__name__]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | dict(settings or {})
    done = subprocess.run(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    return Measured(**json.loads(done.stdout))


def peak_mib() -> float:
    """Highest resident memory since the program began: getrusage would count the parent's, too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError("/proc/self/status says nothing of VmHWM")
    return int(found[1]) / 1024


def main(module: str, name: str, *arguments: str) -> int:
    """Call, measure and print."""
    function = getattr(importlib.import_module(module), name)
    wall, cpu = time.perf_counter(), time.process_time()
    answer = function(*arguments)
    measured = Measured(answer, time.process_time() - cpu, time.perf_counter() - wall, peak_mib())
    print(json.dumps(vars(measured)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
