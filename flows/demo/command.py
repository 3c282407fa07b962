"""`flarecast demo`: the whole system, all of it real, on SYNTHETIC people.

Simulated people wear simulated wearables; from there on nothing is simulated:
gateway spools, an MQTT broker process, a collector process, Parquet, the nightly
flow on a Prefect server, DuckDB, the alert journal and a signed webhook.
"""

import base64
import json
import secrets
import shutil
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alerts.delivery.receiver import Receiver
from alerts.engine.journal import Journal
from devices.clock import system_clock, to_utc
from devices.sim.cohort import simulate
from devices.sim.people import enrolment_rows, make_people
from flows import stack
from flows.care.page import write_page
from flows.clinic import SYNTHETIC, Clinic
from flows.demo import alerts as demo_alerts
from flows.demo import model as demo_model
from flows.demo import summary as demo_summary
from flows.demo.homes import Homes
from flows.errors import UserError
from flows.night.nightly import run
from flows.progress import bar
from flows.settings import Settings

#: A marker, so that the demo never deletes a folder it did not make.
MARKER = ".flarecast-demo"
OPENED = "alert.opened"
#: The rule whose latest alert is shown; without one, the latest of any.
EXAMPLE_RULE = "deviation-3d"


def run_demo(*, people: int, days: int, seed: int, out: Path, as_json: bool) -> int:
    """Run the demo, print its figures, return the exit code (1 when a sample is missing)."""
    started = time.monotonic()
    clinic = Clinic(fresh_folder(out), out / "lake")
    (clinic.home / SYNTHETIC).touch()
    last = datetime.now(UTC).date() - timedelta(days=1)
    first = last - timedelta(days=days - 1)
    cohort = make_people(people, seed=seed)
    enrolled = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(days=3)
    clinic.write_enrolment(enrolment_rows(cohort, valid_from_utc=to_utc(enrolled)))
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    with ExitStack() as resources:
        progress = resources.enter_context(bar())
        receiver = resources.enter_context(Receiver(secret, clock=system_clock))
        configured = Settings(clinic.home, receiver.url, secret)
        prefect = stack.PrefectServer(clinic.home / "prefect", configured)
        resources.callback(prefect.stop)
        prefect.start()
        with stack.broker(clinic.home / "broker") as address, stack.collector(clinic, address) as collector:
            homes = Homes(clinic.home / "gateways", address, collector, progress)
            homes.run([simulate(person, first, last, seed=seed) for person in cohort])
        shown = progress.add_task("nightly flow (Prefect)", total=1)
        prefect.wait()
        report = stack.nightly(replace(configured, prefect_api_url=prefect.api_url), first, last)
        progress.update(shown, completed=1)
        opened = [m.body["data"] for m in receiver.received if m.body["type"] == OPENED]
    summary = demo_summary.summarise(clinic, homes, report)
    summary |= {"people": people, "days": days}
    told = {message["reference"] for message in opened}
    # a message may tell several alerts of one patient
    summary["alerts_delivered"] = sum(sum(message["counts"].values()) for message in opened)
    summary["alerts_untold"] = dict(demo_alerts.untold(clinic))
    summary["last_alert"] = last_alert(clinic, told)
    summary |= demo_alerts.answer(clinic, secret, first, last)
    # what the team has done stands in the snapshot and on the page
    shown_again = run(clinic, last, last, clock=system_clock)
    page = write_page(clinic, last, clock=system_clock, is_synthetic=clinic.is_synthetic)
    summary |= {"snapshot": shown_again.snapshot, "page": str(page)}
    summary["shadow"] = demo_model.shadow_progress(clinic.current)
    summary["model"] = demo_model.fit_synthetic_year(clinic.home / "synthetic-year")
    summary["seconds"] = round(time.monotonic() - started, 1)
    print(json.dumps(summary) if as_json else demo_summary.in_words(summary))
    return 0 if summary["missing"] == 0 else 1


def last_alert(clinic: Clinic, told: set[str]) -> dict[str, Any] | None:
    """The latest alert of the example rule among those told, as the console opens it by its reference."""
    with Journal(clinic.alert_store, system_clock) as journal:
        alerts = journal.to_table().to_pylist()
    ours = [alert for alert in alerts if alert["alert"] in told and alert["local_date"]]
    if not ours:
        return None
    last = max(ours, key=lambda alert: (alert["rule"] == EXAMPLE_RULE, alert["local_date"]))
    shown = ("alert", "rule", "severity", "zone", "sentence")
    return {name: last[name] for name in shown} | {"local_date": last["local_date"].isoformat()}


def fresh_folder(out: Path) -> Path:
    """An empty folder for a run, replacing that of an earlier one.

    Raises
    ------
    UserError
        When the folder exists and is not one of ours.
    """
    try:
        if out.exists() and not (out / MARKER).exists() and any(out.iterdir() if out.is_dir() else [out]):
            raise UserError(f"{out} exists and was not made by flarecast: choose another --out")
        if out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        (out / MARKER).touch()
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from None
    return out.resolve()
