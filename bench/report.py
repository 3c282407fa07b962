"""``bench.json`` and the tables made from it."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.harness import Result

#: What a figure can depend on.
RELEASES = (
    "flarecast",
    "bleak",
    "bumble",
    "duckdb",
    "iotcore",
    "msgspec",
    "numba",
    "numpy",
    "paho-mqtt",
    "polars",
    "prefect",
    "pyarrow",
    "scipy",
)
COLUMNS = ("name", "value", "unit", "ratio", "against", "n")

Report = dict[str, Any]


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def machine() -> dict[str, Any]:
    """Describe the machine in what a reader can compare; no host name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Releases a figure can depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in RELEASES}}


def merge(before: Report | None, results: list[Result]) -> Report:
    """Report with `results`, and earlier ones of other names when nothing they depend on has changed."""
    report: Report = {"machine": machine(), "versions": versions(), "results": []}
    fresh = [
        {
            "name": result.name,
            # a count is exact, a measurement has four digits at most
            "value": result.value if isinstance(result.value, int) else float(f"{result.value:.4g}"),
            "unit": result.unit,
            "ratio": None if result.ratio is None else float(f"{result.ratio:.3g}"),
            "against": result.against,
            "n": result.n,
            "command": result.command,
        }
        for result in results
    ]
    measured = {result.command for result in results}
    if before and all(before.get(key) == report[key] for key in ("machine", "versions")):
        report["results"] = [old for old in before["results"] if old["command"] not in measured]
    report["results"] += fresh
    report["results"].sort(key=lambda result: result["name"])
    return report


def read(path: Path) -> Report | None:
    """Report of an earlier run, where there is one."""
    return json.loads(path.read_text()) if path.exists() else None


def write(path: Path, report: Report) -> None:
    """Write the report in one step, so that an interrupted run leaves the earlier one."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(report, indent=2) + "\n")
    partial.replace(path)


def _shown(number: float, digits: int) -> str:
    """A number as a person writes it: no exponent where it is large."""
    return f"{number:,.{digits}g}" if abs(number) < 10**digits else f"{number:,.0f}"


def _cells(result: dict[str, Any]) -> list[str]:
    ratio = "" if result["ratio"] is None else f"{_shown(result['ratio'], 3)} x"
    return [
        result["name"],
        _shown(result["value"], 4),
        result["unit"],
        ratio,
        result["against"] or "",
        str(result["n"]),
    ]


def table(report: Report) -> Table:
    """Table for a terminal."""
    drawn = Table(title="benchmarks", title_justify="left")
    for column in COLUMNS:
        drawn.add_column(column, justify="right" if column in {"value", "ratio", "n"} else "left")
    for result in report["results"]:
        drawn.add_row(*_cells(result))
    return drawn


def markdown(report: Report) -> str:
    """Table for the README, with the machine under it."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|--:|---|--:|---|--:|"]
    lines += ["| " + " | ".join(_cells(result)) + " |" for result in report["results"]]
    host = report["machine"]
    releases = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    lines += ["", f"{host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB; {releases}."]
    return "\n".join(lines)
