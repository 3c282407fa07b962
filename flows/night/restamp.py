"""The same inputs under other names: what was computed of them before compaction or erasure stays done."""

from collections.abc import Collection
from datetime import date

from analytics.store.ledger import Ledger
from analytics.store.partitions import Partition
from flows.night import plan as night_plan
from flows.night.inventory import Inputs
from flows.night.plan import Stock


def up_to_date(ledger: Ledger, stock: Stock) -> set[tuple[date, Partition]]:
    """Dates and shares whose features are those of what is there."""
    span = ledger.span()
    if span is None:
        return set()
    inputs = Inputs(stock.seen, stock.rows, *span)
    done = ledger.done("features", *span)
    return {key for key, one in done.items() if one.inputs == inputs.of(*key)}


def scored_up_to_date(ledger: Ledger, stock: Stock) -> set[tuple[date, Partition]]:
    """Dates and shares whose scores are those of the features that hold."""
    span = ledger.span()
    done = ledger.done("scores", *span) if span else {}
    return {key for key, text in _scores(ledger, stock, set(done)).items() if done[key].inputs == text}


def restamp(
    ledger: Ledger,
    before: Stock,
    after: Stock,
    current: set[tuple[date, Partition]],
    *,
    written: Collection[str] = (),
) -> None:
    """Keep the features of `current` up to date; what landed meanwhile reopens its dates all the same.

    Parameters
    ----------
    written : collection of str
        Landing files that are old ones under a new name.
    """
    span = ledger.span()
    if span is None:
        return
    seen = {
        name: one
        for name, one in after.seen.items()
        if name in before.seen or name in written or not name.startswith("landing/")
    }
    inputs = Inputs(seen, after.rows, *span)
    ledger.restamp("features", {key: inputs.of(*key) for key in current})


def restamp_scores(ledger: Ledger, after: Stock, scored: set[tuple[date, Partition]]) -> None:
    """Keep the scores of `scored`, and what was judged of them, up to date with the files that hold now."""
    ledger.restamp("scores", _scores(ledger, after, scored))
    for day in ledger.judged():
        ledger.mark_judged(day, night_plan.judged_inputs(ledger, day))


def _scores(
    ledger: Ledger, stock: Stock, keys: set[tuple[date, Partition]]
) -> dict[tuple[date, Partition], str]:
    by_share: dict[Partition, list[date]] = {}
    for day, partition in keys:
        by_share.setdefault(partition, []).append(day)
    found: dict[tuple[date, Partition], str] = {}
    for partition, days in by_share.items():
        texts = night_plan.score_inputs(ledger, partition, days, notes=stock.notes())
        found |= {(day, partition): text for day, text in texts.items()}
    return found
