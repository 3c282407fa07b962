"""What a benchmark is: a named function that times itself against something known."""

import importlib
import pkgutil
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import bench.cases

Value = TypeVar("Value")
#: Odd, so that the median is a run that happened.
REPEATS = 7


class CannotMeasure(Exception):
    """Something a case needs is not on this machine; says what, in words for the user."""


@dataclass(frozen=True)
class Result:
    """One line of ``bench.json``.

    Parameters
    ----------
    name : str
        Name of the case, with a dot and a suffix where it measures several things.
    value : float
        What was measured, in `unit`; a median when `n` is more than 1.
    ratio : float or None
        This value divided by that of `against`, the median over the pairs of runs.
    against : str or None
        What it was compared with.
    n : int
        Runs behind the value.
    """

    name: str
    value: float
    unit: str
    ratio: float | None
    against: str | None
    n: int

    @property
    def command(self) -> str:
        """What reproduces the line."""
        return f"make bench ONLY={self.name.partition('.')[0]}"


@dataclass(frozen=True)
class Timing:
    """Wall seconds of two functions run in turn."""

    ours_s: float
    theirs_s: float
    #: median over the pairs of ours / theirs; below 1 is faster
    ratio: float
    repeats: int

    def throughput(self, name: str, amount: float, unit: str, against: str) -> Result:
        """Result as `amount` of work per second; a ratio above 1 is faster than `against`."""
        return Result(name, amount / self.ours_s, unit, 1 / self.ratio, against, self.repeats)

    def duration(self, name: str, against: str) -> Result:
        """Result in seconds; a ratio below 1 is faster than `against`."""
        return Result(name, self.ours_s, "s", self.ratio, against, self.repeats)


class Bench:
    """Handed to every case: runs things and shows how far it is."""

    def __init__(self, advance: Callable[[int, int], None]) -> None:
        self._advance = advance

    def paired(
        self, ours: Callable[[], object], theirs: Callable[[], object], *, repeats: int = REPEATS
    ) -> Timing:
        """Time two functions in turn, after one unmeasured round that warms caches."""
        ours()
        theirs()
        pairs: list[tuple[float, float]] = []
        for done in range(repeats):
            self._advance(done, repeats)
            # swapped every round: neither profits from what the other left in the cache
            pairs.append((_wall_s(ours), _wall_s(theirs)) if done % 2 else _wall_swapped(ours, theirs))
        self._advance(repeats, repeats)
        return Timing(
            ours_s=statistics.median(ours_s for ours_s, _ in pairs),
            theirs_s=statistics.median(theirs_s for _, theirs_s in pairs),
            ratio=statistics.median(ours_s / theirs_s for ours_s, theirs_s in pairs),
            repeats=repeats,
        )

    def timed(self, function: Callable[[], Value], *, repeats: int = 1) -> tuple[Value, float]:
        """Run something that has its own measure; what it answered last, and the median of its seconds."""
        seconds: list[float] = []
        while True:
            self._advance(len(seconds), repeats)
            began = time.perf_counter()
            answer = function()
            seconds.append(time.perf_counter() - began)
            if len(seconds) == repeats:
                return answer, statistics.median(seconds)


def _wall_s(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _wall_swapped(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    theirs_s = _wall_s(theirs)
    return _wall_s(ours), theirs_s


Case = Callable[[Bench], list[Result]]
_CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Register a benchmark under its function's name."""
    if function.__name__ in _CASES:
        raise ValueError(f"two benchmarks are called {function.__name__}")
    _CASES[function.__name__] = function
    return function


def cases() -> dict[str, Case]:
    """Return every benchmark by name, in alphabetical order of module and order of writing."""
    for module in pkgutil.iter_modules(bench.cases.__path__):
        importlib.import_module(f"bench.cases.{module.name}")
    return dict(_CASES)


def run(name: str, function: Case, console: Console) -> list[Result]:
    """Run one case with a progress bar; its results must carry its name."""
    with _progress(name, console) as advance:
        results = function(Bench(advance))
    strangers = [result.name for result in results if result.name.partition(".")[0] != name]
    if strangers or not results:
        raise ValueError(f"benchmark {name} returned {strangers or 'nothing'}")
    return results


@contextmanager
def _progress(name: str, console: Console) -> Generator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
