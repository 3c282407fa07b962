"""Rows an analyst asks for: whole in a pipe, readable on a narrow screen, JSON every reader takes."""

import json
import os

import pyarrow as pa
import pytest

from analytics.store import query
from flows.analyst import rows_shown, sql_command
from flows.errors import UserError

WIDE = pa.table({f"column_of_words_{number}": [1.5, None] for number in range(20)})


def on_a_screen(monkeypatch, columns):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(os, "get_terminal_size", lambda: os.terminal_size((columns, 24)))


def test_in_a_pipe_a_row_is_a_line_and_headers_are_whole(capsys):
    rows_shown.show(WIDE.append_column("sentence", pa.array(["word " * 100, ""])))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert all(name in lines[1] for name in WIDE.column_names)
    assert "word " * 100 in lines[5]


def test_a_screen_too_narrow_gets_a_value_per_line(monkeypatch, capsys):
    on_a_screen(monkeypatch, 100)
    rows_shown.show(WIDE)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["row 1", "  column_of_words_0   1.5"]
    assert "  column_of_words_19  null" in lines
    rows_shown.show(WIDE.slice(0, 0))
    assert capsys.readouterr().out.startswith("no rows of column_of_words_0, ")


def test_a_screen_wide_enough_gets_a_table_no_wider_than_itself(monkeypatch, capsys):
    on_a_screen(monkeypatch, 60)
    rows_shown.show(pa.table({"patient": ["p-1"], "sentence": ["word " * 40]}))
    out = capsys.readouterr().out
    assert "┌" in out
    assert max(map(len, out.splitlines())) <= 60


def test_json_has_null_for_what_is_no_number(monkeypatch, tmp_path, capsys):
    rows = pa.table({"x": [float("nan")], "y": [float("inf")], "z": [[1.0, float("nan")]]})
    monkeypatch.setattr(query, "run", lambda *_: rows)
    assert sql_command.run_sql(tmp_path, "select", snapshot=None, as_json=True) == 0

    def refuse(word: str) -> None:
        pytest.fail(word)

    assert json.loads(capsys.readouterr().out, parse_constant=refuse) == [
        {"x": None, "y": None, "z": [1.0, None]}
    ]


def test_a_query_that_is_no_text_is_a_users_fault(tmp_path):
    with pytest.raises(UserError, match="not UTF-8"):
        sql_command.run_sql(tmp_path, "select '\udcff'", snapshot=None, as_json=False)
