"""Command lines of the risk model and its versions: evaluate, model, backtest.

Imports stay inside the commands, as in :mod:`flows.cli`.
"""

import argparse
import math
from pathlib import Path
from typing import Any

from flows.arguments import date_of, home_of


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="how good the risk is: simulated people, real ones")
    actions = evaluate.add_subparsers(dest="action", required=True, metavar="ACTION")
    sim = actions.add_parser("sim", help="fit on one SYNTHETIC cohort, judge on people it has never seen")
    sim.add_argument("--people", type=_count, default=1000)
    sim.add_argument("--days", type=_days, default=365)
    real = actions.add_parser("lifesnaps", help="days of real people: tired after three untired days")
    real.add_argument("path", type=Path, metavar="FILE.parquet")
    gates = actions.add_parser("gates", help="how often the gates pass a perfect and a useless forecast")
    gates.add_argument("--repeats", type=_count, default=200)
    for action in (sim, real, gates):
        action.add_argument("--seed", type=int, default=1)
    for action in (sim, real):
        action.add_argument("--draws", type=_count, default=500, help="patient-bootstrap draws (500)")
    evaluate.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from flows.risk import evaluate_command

    if arguments.action == "gates":
        return evaluate_command.run_gates(arguments.repeats, arguments.seed)
    if arguments.action == "lifesnaps":
        return evaluate_command.run_lifesnaps(arguments.path, seed=arguments.seed, draws=arguments.draws)
    return evaluate_command.run_sim(
        people=arguments.people, days=arguments.days, seed=arguments.seed, draws=arguments.draws
    )


def _add_model(commands: Any) -> None:
    model = commands.add_parser("model", help="versions of the risk model: fit, approve, activate, roll back")
    actions = model.add_subparsers(dest="action", required=True, metavar="ACTION")
    fit = actions.add_parser("fit", help="a candidate from this site's own days; approves nothing")
    fit.add_argument("--budget", type=_budget, default=0.5, help="alerts per patient and 30 days (0.5)")
    fit.add_argument("--to", dest="last", type=date_of, help="last date used (default: the last there is)")
    approve = actions.add_parser("approve", help="a person takes responsibility for a version")
    activate = actions.add_parser("activate", help="an approved version is used from the next night on")
    rollback = actions.add_parser("rollback", help="back to the version before")
    for action in (approve, activate, rollback):
        action.add_argument("--by", required=True, metavar="PERSON")
    for action in (approve, rollback):
        action.add_argument("--because", required=True, metavar="TEXT")
    show = actions.add_parser("show", help="a version, its gates and its card")
    for action in (approve, activate, show):
        action.add_argument("version")
    drift = actions.add_parser("drift", help="the last 28 days against the active version; may freeze it")
    drift.add_argument("--to", dest="last", type=date_of)
    known = actions.add_parser("list", help="every version and which is active")
    for action in (fit, approve, activate, rollback, show, drift, known):
        action.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    model.set_defaults(run=_model)


def _model(arguments: argparse.Namespace) -> int:
    from flows.risk.model_command import run_model

    return run_model(home_of(arguments), arguments)


def _add_backtest(commands: Any) -> None:
    backtest = commands.add_parser("backtest", help="what would a rule or a model have alerted?")
    backtest.add_argument("--rule", required=True, help="a rule's id, or model:VERSION (model:active)")
    backtest.add_argument("--from", dest="first", type=date_of, required=True)
    backtest.add_argument("--to", dest="last", type=date_of, required=True)
    backtest.add_argument("--pack", type=Path, metavar="FILE.toml", help="rules (default: those in force)")
    backtest.add_argument("--theta", type=_chance, help="another threshold for a model")
    backtest.add_argument(
        "--closed-after",
        type=_count,
        metavar="NIGHTS",
        help="as if the team closed every alert so many nights later (default: nobody closes any)",
    )
    backtest.add_argument("--draws", type=_count, default=500)
    backtest.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    backtest.add_argument("--json", action="store_true")
    backtest.set_defaults(run=_backtest)


def _backtest(arguments: argparse.Namespace) -> int:
    from flows.risk.backtest_command import run_backtest

    return run_backtest(home_of(arguments), arguments)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _days(text: str) -> int:
    if _count(text) < 150:
        raise argparse.ArgumentTypeError("150 days at least: a baseline, a season, and days to judge")
    return int(text)


def _budget(text: str) -> float:
    return _number(text, 2, "more than 0 and at most 2 alerts per patient and 30 days")


def _chance(text: str) -> float:
    return _number(text, 1, "a risk of more than 0 and at most 1")


def _number(text: str, most: float, what: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return found


COMMANDS = (_add_evaluate, _add_model, _add_backtest)
