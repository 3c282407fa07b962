"""`flarecast evaluate`: the figures of docs/flare-evaluation.md, each from one command."""

from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import Manager
from pathlib import Path
from queue import Empty, Queue
from typing import Final

from analytics.risk.evaluation import in_words
from analytics.risk.gate_table import FORECASTS, pass_rates
from analytics.risk.site_fit import LOAD_DAYS
from flows.errors import UserError
from flows.progress import bar
from flows.risk.evaluate_lifesnaps import evaluate_lifesnaps
from flows.risk.evaluate_sim import AFTER_SWAP_DAYS, evaluate_scenario, swapped_load

SIZES = (25, 50, 100, 200, 500, 1000)
#: Between two looks whether the processes are done, s.
LOOK_S: Final = 0.5
SCENARIOS = {
    "usual": "everything as assumed",
    "null": "nothing predicts, everybody has the same rate",
    "rates": "people differ, nothing in their days predicts",
    "missing": "from 60 days before the end people wear and answer much less, the more the worse they are",
    "swap": "everybody's wearable is replaced 60 to 32 days before the end",
}


def run_sim(*, people: int, days: int, seed: int, draws: int) -> int:
    """Print every scenario."""
    print(f"SYNTHETIC data: {people} people x {days} days to fit on, as many others to judge on, seed {seed}")
    for scenario, meaning in SCENARIOS.items():
        found = evaluate_scenario(scenario, people=people, days=days, seed=seed, draws=draws)
        print(f"\n== {scenario}: {meaning}")
        print("\n".join(in_words(found.evaluation)))
        for budget, own in found.site_budgets:
            print(
                f"  risk rule, last {LOAD_DAYS} days, {budget:g} per 100 patients and week: "
                f"load {own.per_100_weeks}, sensitivity {own.sensitivity}, PPV {own.ppv}"
            )
        if scenario in ("missing", "swap"):
            print(f"  load before {found.load_before:.2f}, after {found.load_after:.2f} per patient-month")
    swapped, usual = swapped_load(people=people, days=days, seed=seed)
    print(
        f"\nalerts per patient-month in the {AFTER_SWAP_DAYS} days after a replaced wearable {swapped:.2f}, "
        f"on the same days without {usual:.2f}: {swapped / max(usual, 1e-9):.2f} times"
    )
    return 0


def run_lifesnaps(path: Path, *, seed: int, draws: int) -> int:
    """Print what comes out on real people."""
    if not path.is_file():
        raise UserError(f"no file {path}")
    both = evaluate_lifesnaps(path, seed=seed, draws=draws)
    print("LifeSnaps (Yfantidou 2022): healthy volunteers; onset = tired after three reported untired days")
    for title, found in both.items():
        print(f"\n== {title}")
        print("\n".join(in_words(found)))
    return 0


def run_gates(repeats: int, seed: int) -> int:
    """Print the table of pass rates."""
    with Manager() as manager, ProcessPoolExecutor(2) as pool, bar() as shown:
        task = shown.add_task("validations", total=len(SIZES) * len(FORECASTS) * repeats)
        told: Queue[int] = manager.Queue()
        one_more = partial(told.put, 1)
        # the largest first: they take longest
        jobs = [
            pool.submit(pass_rates, size, repeats, seed=seed, on_validation=one_more)
            for size in reversed(SIZES)
        ]
        while not all(job.done() for job in jobs) or not told.empty():
            with suppress(Empty):
                shown.advance(task, told.get(timeout=LOOK_S))
        rows = [row for job in jobs for row in job.result()]
    print(f"{repeats} simulated validations per line, seed {seed}")
    print("| patients | forecast | onsets (median) | pass | fail | extend validation |")
    print("|--:|---|--:|--:|--:|--:|")
    for row in sorted(rows, key=lambda row: (row.kind, row.patients)):
        shares = " | ".join(f"{100 * one:.0f} %" for one in (row.passed, row.failed, row.extended))
        print(f"| {row.patients} | {row.kind} | {row.onsets:.0f} | {shares} |")
    return 0
