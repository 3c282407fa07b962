"""Progress on standard error for whatever takes longer than two seconds."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from flows.night.runner import Runner, Threads

Item = TypeVar("Item")
Result = TypeVar("Result")


def bar() -> Progress:
    """A progress display that leaves standard output to results; silent where nobody watches."""
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


@dataclass(frozen=True)
class _Shown:
    """Threads of this process (:class:`flows.night.runner.Threads`), each stage shown with how far it is."""

    progress: Progress
    threads: Threads = field(default_factory=Threads)

    def each(
        self, name: str, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result | Exception]]:
        """See :class:`flows.night.runner.Runner`."""
        shown = self.progress.add_task(name, total=len(items), visible=bool(items))
        for one in self.threads.each(name, function, items):
            self.progress.advance(shown)
            yield one

    def once(self, name: str, function: Callable[[], Result]) -> Result:
        """See :class:`flows.night.runner.Runner`."""
        shown = self.progress.add_task(name, total=1)
        result = self.threads.once(name, function)
        self.progress.advance(shown)
        return result


@contextmanager
def stages() -> Generator[Runner]:
    """Calls stages directly and shows which one is running."""
    with bar() as progress:
        yield _Shown(progress)
