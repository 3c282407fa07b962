"""Progress on standard error for whatever takes longer than two seconds."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


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


@contextmanager
def stages() -> Generator[Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]]:
    """Calls stages directly and shows which one is running."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def call(name: str, stage: Callable[..., Any], args: tuple[Any, ...]) -> Any:
            shown = progress.add_task(name, total=1)
            result = stage(*args)
            progress.update(shown, completed=1)
            return result

        yield call
