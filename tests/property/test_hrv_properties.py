"""What must not change HRV: the order of keyed rows, rows twice, how they are split over files."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.features import hrv
from flows import cli

intervals = st.lists(st.integers(0, 3000) | st.integers(700, 900), max_size=900)


def computed(files, window):
    shown = StringIO()
    with redirect_stdout(shown):
        arguments = ["--recording", "who", "--order", "beat", "--window", window, "--json"]
        assert cli.main(["hrv", *map(str, files), *arguments]) == 0
    return json.loads(shown.getvalue())


@settings(max_examples=25)
@given(intervals, intervals, st.integers(0, 2**32 - 1), st.sampled_from(["whole", "5min"]))
def test_rows_in_any_order_twice_and_in_pieces(first, second, seed, window):
    rng = np.random.default_rng(seed)
    # intervals of a few ms alone are refused: they are in seconds
    first = [800, *first]
    rows = pa.table(
        {
            "who": pa.array(["a"] * len(first) + ["b"] * len(second), pa.string()),
            "beat": pa.array([*range(len(first)), *range(len(second))], pa.int64()),
            "rr_ms": pa.array(first + second, pa.int64()),
        }
    )
    with TemporaryDirectory() as folder:
        whole, *parts = (Path(folder) / f"{number}.parquet" for number in range(3))
        pq.write_table(rows, whole)
        order = rng.permutation(rows.num_rows)
        mixed = rows.take(pa.array(np.concatenate([order, order[: len(order) // 3]])))
        cut = int(rng.integers(0, mixed.num_rows + 1))
        pq.write_table(mixed.slice(0, cut), parts[0])
        pq.write_table(mixed.slice(cut), parts[1])
        assert computed(parts, window) == computed([whole], window)


@given(intervals)
def test_flags_and_values_are_defined_on_anything(rr):
    beats = np.array(rr, np.float64)
    flagged = hrv.artifacts(beats)
    outside = (beats < 300) | (beats > 2000)
    assert flagged[outside].all()
    values = hrv.time_domain(beats, flagged=flagged)
    assert values.nn_count == int(np.sum(~flagged))
    kept = beats[~flagged]
    if len(kept) > 1:
        np.testing.assert_allclose(values.sdnn_ms, np.std(kept, ddof=1), rtol=1e-9, atol=1e-9)
