"""Publish every second, kill the publisher, compact meanwhile, and look from four readers at once.

A generation is a number that stands in every table of a snapshot: `patient_day` and
`flare_risk` of every share, `alerts`, and the last message of every kind of observation. A
reader follows the link once, asks several times and must find one number everywhere, and never
a smaller one than before. The control publishes what a writer
was busy with or left when it was killed, and compacts without asking what snapshots name: it
has to be caught.
"""

import argparse
import json
import multiprocessing
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import msgspec
import pyarrow as pa

from alerts.tables import ALERTS
from analytics.store.ledger import Done, Ledger
from analytics.store.partitions import Partition, partitions
from analytics.store.parts import PartFiles
from analytics.store.publish import LOCK
from analytics.store.snapshots import expire, kept, made_utc
from analytics.tables import TABLES
from devices.clock import SECOND, system_clock
from devices.observations import KINDS
from flows.clinic import Clinic
from flows.errors import UserError
from flows.lake.command import compact_lake
from flows.night import snapshot as night_snapshot
from ingest.lake.columns import Arrived, to_table
from ingest.lake.compaction import compact
from tests.fixtures_ingest import T0, one_of_each, write_enrolment

Result = TypeVar("Result")

READERS = 4
ROUNDS = 3
SHARES = 8
DAY = date(2026, 9, 21)
GENERATION = "generation"
PATIENCE_S = 90.0

_DERIVED = {"patient_day": "steps", "flare_risk": "risk_3d"}


class _Alerts:
    """Stands in for the journal: one alert that says the generation."""

    def __init__(self, generation: int) -> None:
        self._generation = generation

    def __call__(self, *_: object) -> "_Alerts":
        return self

    def __enter__(self) -> "_Alerts":
        return self

    def __exit__(self, *_: object) -> None: ...

    def to_table(self) -> pa.Table:
        return _filled(ALERTS, [{"value": float(self._generation), "local_date": DAY}])


def write(home: Path, every_s: float) -> None:
    """Make and publish one generation after the other until killed."""
    clinic = Clinic(home)
    with clinic.derived.ledger() as ledger:
        while True:
            started = time.monotonic()
            generation = int(ledger.fact(GENERATION) or 0) + 1
            with _turn(clinic):
                ledger.keep_fact(GENERATION, str(generation))
                _observe(clinic, generation)
                _compute(clinic, ledger, generation)
                night_snapshot.Journal = _Alerts(generation)
                night_snapshot.publish_now(clinic, system_clock)
            time.sleep(max(0.0, every_s - (time.monotonic() - started)))


@contextmanager
def _turn(clinic: Clinic) -> Generator[None]:
    """The derived tables to ourselves, as soon as compaction lets go of them."""
    with ExitStack() as stack:
        _when_free(lambda: stack.enter_context(clinic.alone("the night shift")))
        yield


def _when_free(work: Callable[[], Result]) -> Result:
    """Do what is refused while another process is at it."""
    while True:
        try:
            return work()
        except UserError as error:
            if "another process is busy" not in str(error):
                raise
            time.sleep(0.02)


def _observe(clinic: Clinic, generation: int) -> None:
    for one in one_of_each():
        later = msgspec.structs.replace(one, start_utc=T0 + generation * SECOND)
        table = to_table(one.kind, [Arrived(later, "gw-1", generation)], system_clock())
        clinic.lake.commit({one.kind: table}, writer="collector-1", now=system_clock())


def _compute(clinic: Clinic, ledger: Ledger, generation: int) -> None:
    files = PartFiles(clinic.derived.root)
    for partition in partitions(SHARES):
        tables = {
            name: _filled(TABLES[name], [_row(column, generation, partition)])
            for name, column in _DERIVED.items()
        }
        parts = files.write(tables, DAY, DAY, partition)
        ledger.enter("features", {DAY: Done(str(generation), "1")}, partition, parts)


def _row(column: str, generation: int, partition: Partition) -> dict[str, Any]:
    return {column: float(generation), "patient": f"p-{partition.number}", "local_date": DAY}


def _filled(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows with a zero, an empty text or an empty list where a value must stand."""
    columns: dict[str, pa.Array] = {}
    for field in schema:
        given = [row.get(field.name) for row in rows]
        if given == [None] * len(rows) and not field.nullable:
            given = [_nothing(field.type)] * len(rows)
        columns[field.name] = pa.array(given, field.type)
    return pa.table(columns, schema=schema)


def _nothing(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        return ""
    return [] if pa.types.is_list(kind) else 0


def compact_again(home: Path, keep_s: float, said: Connection, *, is_control: bool) -> None:
    """Compact without end, as `flarecast lake compact` does; says how many files went."""
    clinic = Clinic(home)
    while True:
        if is_control:
            done = compact(clinic.lake, clinic.enrolment(), clock=system_clock, keep_us=0)
            with clinic.derived.ledger() as ledger:
                night_snapshot.Journal = _Alerts(int(ledger.fact(GENERATION) or 0))
            night_snapshot.publish_now(clinic, system_clock)
        else:
            done = _when_free(lambda: compact_lake(clinic, keep_us=int(keep_s * SECOND), clock=system_clock))
        said.send((sum(one.parts_written for one in done), sum(one.files_deleted for one in done)))
        time.sleep(0.2)


def read(home: Path, keep_s: float, said: Connection) -> None:
    """Read until told to end; says how often and what was wrong.

    A snapshot whose successor was made longer ago than `keep_s` may go: that is no error.
    """
    counts, faults, before = Counter[str](), list[str](), 0
    is_last = False
    while not is_last:
        # the last look begins when everything else is over
        is_last = said.poll()
        catalog = Path(os.path.realpath(Clinic(home).current))
        try:
            found = _look(catalog)
        except Exception as error:  # noqa: BLE001 - any error a reader gets is what is counted
            if _replaced_s(catalog) > keep_s:
                counts["expired"] += 1
                continue
            counts["errors"] += 1
            faults.append(f"{type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        counts["reads"] += 1
        if len(set(found)) != 1:
            counts["half_states"] += 1
            faults.append(f"generations {sorted(set(found))}")
        elif found[0] < before:
            counts["backwards"] += 1
            faults.append(f"generation {found[0]} after {before}")
        before = max(before, *found)
        counts["last"] = before
    said.send((dict(counts), faults[:3]))


def _replaced_s(catalog: Path) -> float:
    """Seconds since the next snapshot was made; 0 while it is the newest."""
    later = [name for name in kept(catalog.parents[1]) if name > catalog.stem]
    made = made_utc(later[0]) if later else None
    return 0.0 if made is None else (system_clock() - made) / SECOND


def _look(catalog: Path) -> list[int]:
    """Every generation that stands in a snapshot, asked several times over."""
    found: list[int] = []
    with duckdb.connect(str(catalog), read_only=True) as con:
        for _ in range(ROUNDS):
            for table, column in _DERIVED.items():
                own = con.execute(f"select {column} from {table}").fetchall()
                found += [int(value) for (value,) in own]
                found += [-1] * (len(own) != SHARES)
            found += [int(value) for (value,) in con.execute("select value from alerts").fetchall()]
            for kind in KINDS:
                (last,) = con.execute(f"select max(sequence) from observations_{kind}").fetchall()[0]
                found.append(last or 0)
    return found


def run(
    seconds: float,
    kills: int,
    *,
    seed: int,
    every_s: float = 1.0,
    keep_s: float = 15.0,
    is_control: bool = False,
) -> dict[str, Any]:
    """Figures of one run."""
    # a clean parent with everything imported: a writer that was killed is back at once
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flows.lake.command", "flows.night.snapshot", "tests.fixtures_ingest"])
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        clinic = Clinic(home)
        write_enrolment(clinic.enrolment_path, ["gw-1"])

        def start(function: Any, *arguments: Any, **more: Any) -> Any:
            process = context.Process(target=function, args=(home, *arguments), kwargs=more, daemon=True)
            process.start()
            return process

        writer = start(write, every_s)
        deadline = time.monotonic() + PATIENCE_S
        while not clinic.current.exists():
            assert writer.is_alive(), "the writer ended"
            assert time.monotonic() < deadline, "nothing was published"
            time.sleep(0.05)
        first = clinic.current.resolve()
        ours, theirs = context.Pipe()
        compactor = start(compact_again, keep_s, theirs, is_control=is_control)
        pipes = [context.Pipe() for _ in range(READERS)]
        readers = [start(read, keep_s, other) for _, other in pipes]
        started = time.monotonic()
        for moment in sorted(chance.uniform(0.02, 0.98) * seconds for _ in range(kills)):
            time.sleep(max(0.0, started + moment - time.monotonic()))
            writer.kill()
            writer.join()
            writer = start(write, every_s)
        time.sleep(max(0.0, started + seconds - time.monotonic()))
        while clinic.current.resolve() == first or not ours.poll():
            assert writer.is_alive(), "the writer ended"
            assert compactor.is_alive(), "compaction ended"
            time.sleep(0.05)
        for pipe, _ in pipes:
            pipe.send("end")
        said = [pipe.recv() for pipe, _ in pipes]
        codes = [_end(reader) for reader in readers]
        is_compacting = compactor.is_alive()
        for process in (writer, compactor):
            process.kill()
            process.join()
        compacted = [0, 0, 0]
        while ours.poll():
            written, deleted = ours.recv()
            compacted = [compacted[0] + 1, compacted[1] + written, compacted[2] + deleted]
        with clinic.derived.ledger() as ledger:
            made = int(ledger.fact(GENERATION) or 0)
        left = _left(clinic)
    total = sum((Counter(counts) for counts, _ in said), Counter[str]())
    return {
        "seconds": seconds,
        "kills": kills,
        "generations": made,
        "reads": total["reads"],
        "errors": total["errors"],
        "expired": total["expired"],
        "half_states": total["half_states"],
        "backwards": total["backwards"],
        "faults": [fault for _, faults in said for fault in faults][:5],
        "last_seen": min(counts.get("last", 0) for counts, _ in said),
        "compactions": compacted[0],
        "parts_written": compacted[1],
        "files_deleted": compacted[2],
        "ended": {"readers": codes, "is_compacting": is_compacting},
        "left_after_expiry": left,
    }


def _end(process: Any) -> int:
    process.join(PATIENCE_S)
    return process.exitcode


def _left(clinic: Clinic) -> int:
    """Files of publications that stay when the snapshots before the current one have expired."""
    expire(clinic.published, system_clock() + SECOND)
    # and the one whose publisher was killed at the end
    names = kept(clinic.published)
    assert names[0] == clinic.current.resolve().stem
    assert len(names) <= 2
    found = [path for path in clinic.published.rglob("*") if not path.is_dir() and path.name != LOCK]
    return sum(not any(name in str(path.resolve()) for name in names) for path in found)


def is_whole(figures: dict[str, Any]) -> bool:
    """Whether no reader saw an error, a half state or an older generation, and everybody was at work."""
    is_right = not any(figures[name] for name in ("errors", "half_states", "backwards", "left_after_expiry"))
    at_work = all(figures[name] for name in ("reads", "compactions", "parts_written"))
    return is_right and at_work and figures["ended"] == {"readers": [0] * READERS, "is_compacting": True}


def main() -> int:
    parser = argparse.ArgumentParser(description="publish, kill, compact and read at once")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    control = run(25, 10, seed=arguments.seed, is_control=True)
    print(json.dumps({"control": control}), flush=True)
    figures = run(arguments.seconds, arguments.kills, seed=arguments.seed)
    print(json.dumps({"publishing": figures}), flush=True)
    is_caught = bool(control["errors"] + control["half_states"] + control["backwards"])
    return 0 if is_caught and is_whole(figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
