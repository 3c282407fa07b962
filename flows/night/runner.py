"""How the stages of a run are called: in threads here, as tasks of a Prefect flow elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Shares at once: DuckDB, Arrow, numpy and numba release the interpreter's lock.
WORKERS = 2


class Runner(Protocol):
    """Calls pure functions; what a function raises belongs to its item and stops nobody else."""

    def each(
        self, name: str, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result | Exception]]:
        """Number of each item and its result or error, as they finish."""
        ...

    def once(self, name: str, function: Callable[[], Result]) -> Result:
        """One call."""
        ...


@dataclass(frozen=True)
class Threads:
    """Plain calls, several items at once; `tries` of each before its error counts."""

    workers: int = WORKERS
    tries: int = 2

    def each(
        self, name: str, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result | Exception]]:
        """See :class:`Runner`."""
        with ThreadPoolExecutor(self.workers, thread_name_prefix=name) as pool:
            numbers = {pool.submit(self._try, function, item): number for number, item in enumerate(items)}
            for future in as_completed(numbers):
                yield numbers[future], future.result()

    def once(self, name: str, function: Callable[[], Result]) -> Result:
        """See :class:`Runner`."""
        del name
        return function()

    def _try(self, function: Callable[[Item], Result], item: Item) -> Result | Exception:
        fault: Exception | None = None
        for _ in range(self.tries):
            try:
                return function(item)
            except Exception as error:  # noqa: BLE001 - it is handed to whoever asked, with its item
                fault = error
        assert fault is not None
        return fault
