"""The benchmark's own arithmetic: pairs, ratios, and what an earlier report keeps."""

import time

import pytest
from rich.console import Console

import bench.__main__ as main
from bench import report
from bench.cases import risk
from bench.harness import Bench, CannotMeasure, Result, cases, run


def bench() -> Bench:
    return Bench(lambda done, total: None)


def result(name: str, value: float = 1.0) -> Result:
    return Result(name, value, "s", 0.5, "bare thing", 7)


@pytest.fixture
def spend(monkeypatch):
    """Let time pass: as many seconds as said, and by itself none."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def spend(seconds):
        now[0] += seconds

    return spend


def test_a_pair_is_timed_in_turn_and_its_ratio_is_ours_by_theirs(spend):
    timing = bench().paired(lambda: spend(0.25), lambda: spend(2.5), repeats=3)
    assert timing.ratio == pytest.approx(0.1)
    assert (timing.ours_s, timing.theirs_s) == pytest.approx((0.25, 2.5))
    faster = timing.throughput("x", 10, "rows/s", "theirs")
    assert faster.ratio == pytest.approx(1 / timing.ratio)
    assert faster.value == pytest.approx(10 / timing.ours_s)
    assert timing.duration("x", "theirs").ratio == timing.ratio


def test_one_name_measured_again_replaces_only_its_own_lines():
    first = report.merge(None, [result("a.speed"), result("a.size"), result("b")])
    again = report.merge(first, [result("a.speed", 2.0)])
    assert [(line["name"], line["value"]) for line in again["results"]] == [("a.speed", 2.0), ("b", 1.0)]
    assert again["results"][0]["command"] == "make bench ONLY=a"


@pytest.mark.parametrize("part", ["machine", "versions"])
def test_figures_of_another_machine_or_release_are_dropped(part):
    before = report.merge(None, [result("b")])
    before[part] = {**before[part], "duckdb": "1.0"}
    assert [line["name"] for line in report.merge(before, [result("a")])["results"]] == ["a"]


def test_the_report_is_what_the_readme_table_is_made_from(tmp_path):
    made = report.merge(None, [result("a", 12345.6)])
    report.write(tmp_path / "bench.json", made)
    read = report.read(tmp_path / "bench.json")
    assert read == made
    assert set(made) == {"machine", "versions", "results"}
    assert set(made["results"][0]) == {"name", "value", "unit", "ratio", "against", "n", "command"}
    assert "| a | 12,350 | s | 0.5 x | bare thing | 7 |" in report.markdown(made)


def test_counts_stay_exact_and_nothing_is_shown_with_an_exponent():
    made = report.merge(None, [Result("a", 1_684_973, "RR", 20_912.3, "hearts", 1)])
    assert made["results"][0]["value"] == 1_684_973
    assert "| a | 1,684,973 | RR | 20,900 x | hearts | 1 |" in report.markdown(made)


def test_one_run_is_timed_and_its_answer_comes_back(spend):
    answers = iter("abc")
    answer, seconds = bench().timed(lambda: (spend(0.25), next(answers))[1], repeats=3)
    assert answer == "c"
    assert seconds == pytest.approx(0.25)


def test_a_case_answers_under_its_own_name():
    with pytest.raises(ValueError, match="stranger"):
        run("a", lambda _: [result("stranger")], Console(quiet=True))
    with pytest.raises(ValueError, match="nothing"):
        run("a", lambda _: [], Console(quiet=True))


def test_a_case_that_lacks_something_says_so_and_the_rest_runs(monkeypatch, capsys, tmp_path):
    def lacking(_):
        raise CannotMeasure("the strings are not here")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main, "cases", lambda: {"lacking": lacking, "b": lambda _: [result("b")]})
    monkeypatch.setattr("sys.argv", ["bench"])
    assert main.main() == 0
    assert "lacking left out: the strings are not here" in capsys.readouterr().err
    assert [line["name"] for line in report.read(tmp_path / "bench.json")["results"]] == ["b"]


def test_cases_are_found():
    assert {"rr_wire", "path_replay", "path_demo"} <= set(cases())


def test_the_night_of_the_benchmark_is_one_that_kernel_and_sql_can_judge(monkeypatch):
    monkeypatch.setattr(risk, "PATIENTS", 40)
    names = {one.name for one in risk.risk_night(bench())}
    assert names == {f"risk_night.{what}" for what in ("kernel", "from_rows", "cpu", "sql")}
