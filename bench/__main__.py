"""Command line of the benchmarks: ``python -m bench [NAME] [--markdown]``."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from bench import report
from bench.harness import CannotMeasure, Result, cases, run

BENCH_JSON = Path("bench.json")


def _markdown(path: Path) -> int:
    earlier = report.read(path)
    if earlier is None:
        print(f"no {path} yet: make bench", file=sys.stderr)
        return 2
    print(report.markdown(earlier))
    return 0


def main() -> int:
    """Run all benchmarks or one, write ``bench.json``, print its table."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure; write bench.json; print its table.")
    parser.add_argument("only", nargs="?", help="name of one benchmark")
    parser.add_argument(
        "--markdown", action="store_true", help="print the table of bench.json for the README"
    )
    arguments = parser.parse_args()
    if arguments.markdown:
        return _markdown(BENCH_JSON)
    known = cases()
    if arguments.only and arguments.only not in known:
        print(f"no benchmark {arguments.only!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    # progress to stderr, the table to stdout
    progress = Console(stderr=True)
    results: list[Result] = []
    latest = report.merge(report.read(BENCH_JSON) if arguments.only else None, results)
    for name in [arguments.only] if arguments.only else known:
        try:
            results += run(name, known[name], progress)
        except CannotMeasure as missing:
            progress.print(f"{name} left out: {missing}")
            continue
        # after every case: an interrupted run keeps what it has measured
        latest = report.merge(latest, results)
        report.write(BENCH_JSON, latest)
    Console().print(report.table(latest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
