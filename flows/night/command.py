"""`flarecast nightly`: run it directly, or as a Prefect flow where a server is configured."""

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from devices.clock import Clock, from_utc, system_clock
from flows import settings
from flows.care.channels import from_settings
from flows.clinic import Clinic
from flows.errors import UserError
from flows.night import nightly
from flows.night.inventory import WEST
from flows.night.problems import Problem
from flows.progress import stages
from flows.words import counted
from ingest.lake.enrolment import read_enrolment_leniently


def run_nightly(
    *,
    home: Path,
    lake: Path | None,
    first: date | None,
    last: date | None,
    is_range: bool,
    has_date: bool,
    patients: list[str] | None,
    as_json: bool,
) -> int:
    """Bring nights up to date and print what was done; exit code 1 when something was left out."""
    if has_date == is_range or first is None or last is None:
        raise UserError("say which nights: --date D, or --from D --to D")
    if first > last:
        raise UserError(f"--from {first} is after --to {last}")
    if lake is not None and not lake.is_dir():
        raise UserError(f"no lake at {lake}")
    if not home.exists():
        raise UserError(f"no clinic folder at {home}: set --home or FLARECAST_HOME")
    if not Clinic(home, lake).has_lake():
        # an unmounted disk must not publish nights without data
        raise UserError(f"no lake at {Clinic(home, lake).lake_place}")
    # a user's mistake is said before anything is started
    nightly.check_patients(Clinic(home, lake), patients or ())
    check_has_been(last, system_clock)
    check_has_begun(Clinic(home, lake), first)
    started = time.monotonic()
    report = _run(home, lake, first, last, patients)
    report["seconds"] = round(time.monotonic() - started, 2)
    print(json.dumps(report) if as_json else in_words(report))
    return 1 if report["problems"] else 0


def check_has_been(night: date, clock: Clock) -> None:
    """Raise :class:`UserError` for a night that is still to come: it would stand there without data."""
    if night > from_utc(clock()).date() + timedelta(days=1):
        raise UserError(f"the night of {night} has not been yet")


def check_has_begun(clinic: Clinic, night: date) -> None:
    """Raise :class:`UserError` for a night before all enrolment: each empty date since would be kept."""
    _, rows = read_enrolment_leniently(clinic.enrolment_path)
    starts = [row.interval[0] for row in rows if row.interval]
    begin = from_utc(min(starts) - WEST).date() if starts else night
    if night < begin:
        raise UserError(f"nobody was enrolled on {night}: the first night there can be is {begin}")


def _run(
    home: Path, lake: Path | None, first: date, last: date, patients: list[str] | None
) -> dict[str, Any]:
    configured = settings.from_environment()
    problems: list[Problem] = []
    if configured.prefect_api_url:
        try:
            return _as_flow(home, lake, first, last, patients)
        except Exception:  # the night does not depend on Prefect; its own errors are raised again
            fault = server_fault(configured.prefect_api_url)
            if fault is None:
                raise
            words = f"{fault}: the night was computed without it and has no history there"
            problems.append(Problem(f"Prefect at {configured.prefect_api_url}", words))
    with stages() as runner:
        report = nightly.run(
            Clinic(home, lake, configured.partitions),
            first,
            last,
            clock=system_clock,
            patients=patients,
            channels=from_settings(configured),
            runner=runner,
            problems=problems,
        )
    return report.to_json()


def _as_flow(
    home: Path, lake: Path | None, first: date, last: date, patients: list[str] | None
) -> dict[str, Any]:
    from flows.night.flow import nightly_flow

    with _request(home, patients) as request:
        return nightly_flow(
            str(home), str(lake) if lake else None, first.isoformat(), last.isoformat(), request
        )


@contextmanager
def _request(home: Path, patients: list[str] | None) -> Generator[str | None]:
    """Name of a file that names the patients: Prefect keeps parameters, and patients do not belong there."""
    if not patients:
        yield None
        return
    path = home / "requests" / f"{secrets.token_hex(8)}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(patients))
    try:
        yield path.name
    finally:
        path.unlink()


def server_fault(api_url: str) -> str | None:
    """Why a Prefect server cannot keep a run; None when it and its database answer."""
    # health alone does not touch the database
    request = urllib.request.Request(
        f"{api_url}/flows/count", b"{}", {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=10):
            return None
    except urllib.error.HTTPError as error:
        return f"its database does not answer (HTTP {error.code})"
    except (OSError, ValueError):
        return "no server answers"


def in_words(report: dict[str, Any]) -> str:
    """What a run did and what went wrong, for the terminal."""
    lines = [
        f"nights {report['first']} to {report['last']}: {counted(report['nights'], 'patient night')}, "
        f"{counted(report['patients'], 'patient')}",
        f"  days of features computed  {report['feature_days']}",
        f"  days scored                {report['score_days']}",
        f"  files written              {report['written']}",
        f"  alerts opened / resolved   {report['alerts_opened']} / {report['alerts_resolved']}",
        f"  messages sent / failed     {report['alerts_delivered']} / {report['alerts_failed']}",
        f"  snapshot                   {report['snapshot']}",
        f"  seconds                    {report['seconds']}",
    ]
    if report["vendor_difference_days"]:
        lines.append(
            f"  daily totals in doubt      {counted(report['vendor_difference_days'], 'day')} of "
            f"{counted(report['vendor_difference_patients'], 'patient')}: the device's own total is over 1 % "
            "off its minutes, which are counted (patient_day.vendor_difference_steps)"
        )
    for problem in report["problems"]:
        whom = f" ({', '.join(problem['patients'])})" if problem["patients"] else ""
        lines.append(f"  PROBLEM  {problem['where']}: {problem['what']}{whom}")
    return "\n".join(lines)
