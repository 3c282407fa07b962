"""`flarecast hrv`: the nights' own HRV code for an analyst's file of RR intervals."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analytics.features import hrv, spectral
from flows.analyst import rows_shown
from flows.errors import UserError

_VALUES: Final = ("mean_nn_ms", "sdnn_ms", "rmssd_ms", "pnn50_pct", "sd1_ms", "sd2_ms")
_POWERS: Final = ("lf_ms2", "hf_ms2", "lf_hf")
OUTPUT: Final = pa.schema(
    [
        ("recording", pa.string()),
        ("window_start_s", pa.float64()),
        ("n_rr", pa.int64()),
        ("n_nn", pa.int64()),
        ("coverage_pct", pa.float64()),
        *((name, pa.float64()) for name in (*_VALUES, *_POWERS)),
        ("quality", pa.string()),
    ]
)
#: Ends of beats are counted in microseconds: they must not run over.
_LONGEST_MS: Final = 86_400_000
#: No heart is so fast; intervals in seconds are all below.
_SHORTEST_MS: Final = 30
#: None so slow; intervals in microseconds are all above.
_SLOWEST_MS: Final = 30_000
_WINDOW_S: Final = hrv.WINDOW_US / 1e6

Floats = NDArray[np.float64]
Instants = NDArray[np.int64]
Marks = NDArray[np.bool_]
Row = dict[str, Any]


def run_hrv(
    files: list[Path],
    *,
    column: str,
    recording: str | None,
    order: str | None,
    window: str,
    raw: bool,
    out: Path | None,
    as_json: bool,
) -> int:
    """Compute, write or print; returns the exit code."""
    if out is not None and any(out.resolve() == file.resolve() for file in files):
        raise UserError(f"--out {out} is a file that is read: it would be lost")
    rows: list[Row] = []
    for name, rr in recordings(files, column, recording, order):
        rows += _windows(name, rr, raw) if window == "5min" else [_whole(name, rr, raw)]
    table = pa.Table.from_pylist(rows, schema=OUTPUT)
    if out is not None:
        try:
            pq.write_table(table, out)
        except OSError as error:
            raise UserError(f"cannot write {out}: {error.strerror or error}") from None
    if as_json:
        print(json.dumps(rows))
    elif out is not None:
        print(f"{table.num_rows} rows in {out}")
    else:
        rows_shown.show(table)
    return 0


def recordings(
    files: list[Path], column: str, recording: str | None, order: str | None
) -> Iterator[tuple[str, Floats]]:
    """Name and RR intervals (ms, NaN where missing; durations are taken for what they are) of each recording.

    With names they come sorted by name, and the same row twice counts once.
    """
    table = _read(files, [name for name in (column, recording, order) if name is not None])
    kind = table.schema.field(column).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    number = kind.value_type if is_list else kind
    if not (pa.types.is_integer(number) or pa.types.is_floating(number) or pa.types.is_duration(number)):
        raise UserError(f"column {column} holds {kind}, not numbers or lists of numbers")
    if is_list and order is not None:
        raise UserError("--order is for one row per interval; here each row is a recording")
    return _of_lists(table, column, recording) if is_list else _of_rows(table, column, recording, order)


def _read(files: list[Path], columns: list[str]) -> pa.Table:
    tables: list[pa.Table] = []
    for file in files:
        if not file.is_file():
            raise UserError(f"no file at {file}")
        try:
            known = pq.read_schema(file)
            missing = [name for name in columns if name not in known.names]
            several = [name for name in columns if known.names.count(name) > 1]
            if missing:
                raise UserError(
                    f"{file} has no column {missing[0]}; there are: {', '.join(map(str, known.names))}"
                )
            if several:
                raise UserError(f"{file} has several columns {several[0]}")
            tables.append(pq.ParquetFile(file).read(columns=list(dict.fromkeys(columns))))
        except (pa.ArrowInvalid, OSError):
            raise UserError(f"{file} is not a Parquet file") from None
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise UserError("the files hold different types of the same column") from None


def _of_lists(table: pa.Table, column: str, recording: str | None) -> Iterator[tuple[str, Floats]]:
    lists = [_floats(row.values) if row.is_valid else np.empty(0) for row in table[column]]
    if recording is None:
        yield from ((str(number), rr) for number, rr in enumerate(lists))
        return
    found: dict[str, Floats] = {}
    for name, rr in zip(_names(table, recording).to_pylist(), lists, strict=True):
        if name in found and not np.array_equal(found[name], rr, equal_nan=True):
            raise UserError(f"recording {name} has two rows with different intervals")
        found[name] = rr
    yield from sorted(found.items())


def _of_rows(
    table: pa.Table, column: str, recording: str | None, order: str | None
) -> Iterator[tuple[str, Floats]]:
    rr = _floats(table[column])
    codes = np.zeros(len(rr), np.int64)
    names = ["0"]
    if recording is not None:
        keys = _names(table, recording).combine_chunks().dictionary_encode()
        names = keys.dictionary.to_pylist()
        codes = keys.indices.to_numpy()
    if order is None:
        at = np.argsort(codes, kind="stable")
    else:
        key = _order(table, order)
        at = np.lexsort((key, codes))
        again = (np.diff(codes[at]) == 0) & (key[at][1:] == key[at][:-1])
        values = rr[at]
        differs = again & (values[1:] != values[:-1]) & ~(np.isnan(values[1:]) & np.isnan(values[:-1]))
        if differs.any():
            spot = at[int(np.flatnonzero(differs)[0])]
            raise UserError(f"recording {names[codes[spot]]}: two intervals at {order} {key[spot]}")
        at = at[np.concatenate([np.ones(min(1, len(at)), np.bool_), ~again])]
    cuts = np.searchsorted(codes[at], np.arange(len(names) + 1))
    for number in sorted(range(len(names)), key=names.__getitem__):
        yield names[number], rr[at[cuts[number] : cuts[number + 1]]]


def _names(table: pa.Table, recording: str) -> pa.ChunkedArray:
    if table[recording].null_count:
        raise UserError(f"column {recording} has rows without a name: of which recording are they?")
    try:
        return table[recording].cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UserError(f"column {recording} holds {table[recording].type}, no names") from None


def _order(table: pa.Table, order: str) -> NDArray[Any]:
    kind = table.schema.field(order).type
    if pa.types.is_nested(kind):
        raise UserError(f"column {order} holds {kind}, which has no order")
    key = table[order].to_numpy()
    if table[order].null_count or (key.dtype.kind == "f" and np.isnan(key).any()):
        raise UserError(f"column {order} has rows without a value")
    return key


def _floats(values: Any) -> Floats:
    is_duration = pa.types.is_duration(values.type)
    if is_duration:
        values = values.cast(pa.duration("us"), safe=False).cast(pa.int64())
    rr = np.array(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    if is_duration:
        rr /= 1000
    if np.any(rr < 0) or np.any(np.isinf(rr)):
        raise UserError("an interval is negative or infinite")
    if np.any(rr > _LONGEST_MS):
        raise UserError("an interval is longer than a day: are they in milliseconds?")
    longest, shortest = float(np.fmax.reduce(rr, initial=0)), float(np.fmin.reduce(rr, initial=np.inf))
    if 0 < longest < _SHORTEST_MS:
        raise UserError(f"the longest interval is {longest:g} ms: are they in milliseconds?")
    if _SLOWEST_MS < shortest < np.inf:
        raise UserError(f"the shortest interval is {shortest:g} ms: are they in milliseconds?")
    return rr


def _placed(rr: Floats, raw: bool) -> tuple[Instants, Marks, Marks]:
    """Ends of the beats from the start of the recording, breaks, and the beats to delete."""
    ends = np.rint(np.cumsum(np.nan_to_num(rr)) * 1000).astype(np.int64)
    # missing intervals take no time we know of: what follows does not follow
    breaks = np.arange(len(rr)) == 0
    breaks[1:] |= np.isnan(rr[:-1])
    return ends, breaks, np.isnan(rr) if raw else hrv.artifacts(rr)


def _whole(name: str, rr: Floats, raw: bool) -> Row:
    ends, breaks, flags = _placed(rr, raw)
    values = hrv.time_domain(rr, breaks, flagged=flags)
    span_ms = float(ends[-1]) / 1000 if len(ends) else 0.0
    covered = float(rr[~flags].sum()) / span_ms if span_ms else 0.0
    reason = None
    if values.nn_count < 2:
        reason = f"{values.nn_count} NN intervals, at least 2 needed"
    elif not raw and covered < hrv.MIN_COVERED_SHARE:
        reason = "covered too little: at least 80 % by NN"
    elif not raw and flags.mean() > hrv.MAX_FLAGGED_SHARE:
        reason = "too many artifacts: at most 20 % of the beats"
    edges = np.array([[0, ends[-1] if len(ends) else 0]], np.int64)
    beats = np.array([[0, len(rr), 0]], np.int64)
    powers, codes = spectral.spectra(rr, ends, flags, beats, edges, np.array([reason is None]))
    numbers = [getattr(values, key) if reason is None else math.nan for key in _VALUES]
    return _row(
        name, 0.0, (len(rr), values.nn_count), 100 * covered, numbers, powers[0], reason, int(codes[0])
    )


def _windows(name: str, rr: Floats, raw: bool) -> list[Row]:
    ends, breaks, flags = _placed(rr, raw)
    found = hrv.windows(rr, ends, breaks, start_us=0, flagged=flags)
    if not len(found.start_us):
        reason = f"shorter than {_WINDOW_S:.0f} s"
        counts = len(rr), int(np.sum(~flags))
        return [_row(name, 0.0, counts, math.nan, [math.nan] * 6, [math.nan] * 2, reason, 0)]
    uncounted = "covered or clean too little: at least 80 % covered by NN, at most 20 % flagged"
    return [
        _row(
            name,
            float(start) / 1e6,
            (int(found.rr_count[at]), int(found.nn_count[at])),
            float(found.coverage_pct[at]),
            [float(getattr(found, key)[at]) for key in _VALUES],
            [float(found.lf_ms2[at]), float(found.hf_ms2[at])],
            None if found.is_kept[at] else uncounted,
            int(found.spectral_code[at]),
        )
        for at, start in enumerate(found.start_us)
    ]


def _row(
    name: str,
    start_s: float,
    counts: tuple[int, int],
    coverage_pct: float,
    values: list[float],
    powers: Any,
    reason: str | None,
    spectral_code: int,
) -> Row:
    lf, hf = float(powers[0]), float(powers[1])
    numbers = [coverage_pct, *values, lf, hf, lf / hf if hf > 0 else math.nan]
    shown = [None if math.isnan(number) else number for number in numbers]
    return {
        "recording": name,
        "window_start_s": start_s,
        "n_rr": counts[0],
        "n_nn": counts[1],
        **dict(zip(("coverage_pct", *_VALUES, *_POWERS), shown, strict=True)),
        "quality": reason or spectral.REASONS[spectral_code],
    }
