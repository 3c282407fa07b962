"""Command lines of the analyst: sql, extract.

Imports stay inside the commands, as in :mod:`flows.cli`.
"""

import argparse
from pathlib import Path
from typing import Any

from flows.arguments import home_of


def _add_sql(commands: Any) -> None:
    sql = commands.add_parser("sql", help="query the published snapshot")
    sql.add_argument(
        "query", nargs="?", help="SQL, or the name of a starter query as @name; without it a list of those"
    )
    sql.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    sql.add_argument(
        "--snapshot", help="this file, or the current one at s3://bucket/prefix, not the clinic's"
    )
    sql.add_argument("--json", action="store_true", help="rows as JSON instead of a table")
    sql.set_defaults(run=_sql)


def _sql(arguments: argparse.Namespace) -> int:
    from flows.analyst.sql_command import run_sql

    return run_sql(home_of(arguments), arguments.query, snapshot=arguments.snapshot, as_json=arguments.json)


def _add_extract(commands: Any) -> None:
    extract = commands.add_parser("extract", help="a study's de-identified rows of the snapshot")
    extract.add_argument(
        "--deid", required=True, type=Path, metavar="STUDY.toml", help="docs/analysts.md says what it holds"
    )
    extract.add_argument(
        "--out", required=True, type=Path, metavar="FOLDER", help="made; must not be there yet"
    )
    extract.add_argument("--home", type=Path, help="folder of the clinic (default FLARECAST_HOME)")
    extract.add_argument("--json", action="store_true")
    extract.set_defaults(run=_extract)


def _extract(arguments: argparse.Namespace) -> int:
    from flows.analyst.extract_command import run_extract

    return run_extract(home_of(arguments), arguments.deid, arguments.out, as_json=arguments.json)


COMMANDS = (_add_sql, _add_extract)
