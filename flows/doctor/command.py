"""`flarecast doctor`: what is wrong with this clinic, and what to do about it."""

import json
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from alerts.errors import JournalError
from alerts.store.database import Database
from analytics.errors import LedgerError, PartError
from analytics.store.publish import made_utc
from devices.clock import DAY, HOUR, MINUTE, Clock, from_utc, system_clock, to_utc
from devices.observations import KINDS
from flows import settings
from flows.clinic import Clinic
from flows.doctor.access import certificates, gateways
from flows.doctor.delivery import delivery
from flows.doctor.report import report
from flows.errors import UserError
from flows.night.inventory import damage
from flows.risk.model_registry import ModelRegistry
from flows.shift import watch
from flows.shift.backup import latest
from flows.words import counted
from ingest.errors import IngestError, StoreUnreachableError
from ingest.lake.compaction import orphan_parts
from ingest.lake.erased import ErasedRegister
from ingest.lake.quarantine import AHEAD_OF_ARRIVAL, OTHER_GATEWAY, UNKNOWN_DEVICE
from ingest.lake.records import read_records

#: An MQTT 5 CONNECT with an empty client id and a clean start; any broker answers CONNACK or an error.
_CONNECT: Final = bytes([0x10, 13, 0, 4, *b"MQTT", 5, 2, 0, 10, 0, 0, 0])
TIMEOUT_S: Final = 3.0
#: Without a word for so long a collector is taken to be gone.
SILENCE: Final = HOUR
#: A clock ahead by more is wrong; one behind by more as well, when nothing of the device is ever younger.
AHEAD: Final = 5 * MINUTE
BEHIND: Final = 150 * MINUTE
#: Arrivals looked at for clocks.
LATELY: Final = 2 * DAY
#: Dates looked at for totals.
TOTALS_DAYS: Final = 7
MANY_FILES: Final = 1_000
LEAST_FREE: Final = 0.05
#: One a day is made by schedule.
BACKUP_OLD: Final = 2 * DAY
_ADVICE: Final = {
    UNKNOWN_DEVICE: "enrol the devices (`flarecast enrol add`): what waits is stored then",
    AHEAD_OF_ARRIVAL: "set the clock of device or gateway; was it ours: `flarecast lake release --ahead`",
    OTHER_GATEWAY: "correct the gateway in the enrolment, then `flarecast lake release`",
}

Findings = Iterator[tuple[str, str]]


def run_doctor(home: Path, *, broker: str, as_json: bool, has_each: bool) -> int:
    """Print the findings of a clinic, those alike in one line; exit code 1 when there is one."""
    host, _, port = broker.rpartition(":")
    if not host or not port.isdecimal() or not home.is_dir():
        raise UserError(
            f"no clinic folder at {home}"
            if host and port.isdecimal()
            else f"--broker {broker!r} is not HOST:PORT"
        )
    return report(
        examine(Clinic(home), host, int(port), clock=system_clock), as_json=as_json, has_each=has_each
    )


def examine(clinic: Clinic, host: str, port: int, *, clock: Clock) -> list[tuple[str, str]]:
    """Findings as (where, words), in the order of the data's way."""
    away = list(_away(clinic))
    return [
        *_broker(host, port),
        *certificates(clinic, clock()),
        *gateways(clinic, clock()),
        *_collectors(clinic, clock()),
        *(away or _lake(clinic, clock())),
        *_enrolment(clinic, clock()),
        *([] if away else _clocks(clinic, clock())),
        *_journal(clinic),
        *delivery(clinic, clock()),
        *_night(clinic, clock()),
        *_backup(clock()),
        *_model(clinic, clock),
        *_totals(clinic, clock()),
    ]


def _night(clinic: Clinic, now: int) -> Findings:
    """The last snapshot: too old is said here, whatever Prefect thinks."""
    words = watch.fault(clinic, now)
    if words:
        yield "night", words


def _backup(now: int) -> Findings:
    """The newest backup where they are made by schedule: none, or too old."""
    target = settings.from_environment().backup
    if target is None:
        return
    found = latest(target) if target.is_dir() else None
    made = None if found is None else made_utc(found[0].name)
    if made is None:
        yield "backup", f"there is none in {target}: `flarecast backup`; is the disk there?"
    elif now - made > BACKUP_OLD:
        yield (
            "backup",
            f"the newest is {(now - made) / DAY:.0f} days old: look at `flarecast serve`, or make one",
        )


def _model(clinic: Clinic, clock: Clock) -> Findings:
    """A version of the risk model that has drifted: the weekly look freezes it, whoever watches."""
    registry = ModelRegistry(clinic.home, clock)
    frozen = registry.frozen()
    if frozen:
        yield (
            "risk",
            f"{registry.active_version()} alerts nobody since {frozen['since_utc'][:10]} "
            f"({'; '.join(frozen['reasons'])}): `flarecast model show`, then activate one or roll back",
        )


def _totals(clinic: Clinic, now: int) -> Findings:
    """Devices whose own daily total is not what their minutes add up to, on the last dates computed."""
    last = from_utc(now).date() + timedelta(days=1)
    columns = ["patient", "vendor_difference_steps"]
    try:
        rows = clinic.derived.read("patient_day", last - timedelta(days=TOTALS_DAYS), last, columns=columns)
    except PartError:
        return  # the next night makes the file anew
    except LedgerError as fault:
        yield "night", str(fault)
        return
    own = rows.filter(rows["vendor_difference_steps"].is_valid())
    if own.num_rows:
        whose = counted(len(own["patient"].unique()), "patient")
        most = max(own["vendor_difference_steps"].to_pylist(), key=abs)
        yield (
            "steps",
            f"the device's own daily total is over 1 % off its minutes on {counted(own.num_rows, 'day')} of "
            f"{whose} since {last - timedelta(days=TOTALS_DAYS)}, by up to "
            f"{most:+,.0f} steps: minutes are counted; are some missing where the total is larger? "
            "(patient_day.vendor_difference_steps says whose)",
        )


def _journal(clinic: Clinic) -> Findings:
    """The alert journal: a file that is none, or is damaged."""
    path = clinic.alert_store
    if isinstance(path, str):
        try:
            Database(path).close()
        except JournalError as fault:
            yield "alerts", f"{fault}: alerts are not judged without it"
        return
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            words = str(database.execute("pragma quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        words = str(error)
    if words != "ok":
        yield "alerts", f"{path}: {words}: restore it from a backup, alerts are not judged without it"


def _broker(host: str, port: int) -> Findings:
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as connection:
            connection.sendall(_CONNECT)
            answer = connection.recv(4)
    except TimeoutError:
        yield "broker", f"{host}:{port} does not answer: is it the right port (TLS listeners stay silent)?"
    except OSError as error:
        yield "broker", f"cannot reach {host}:{port} ({error.strerror}): start it, or give --broker HOST:PORT"
    else:
        if answer[:1] != b"\x20":
            yield "broker", f"what listens on {host}:{port} does not speak MQTT: give --broker HOST:PORT"


def _collectors(clinic: Clinic, now: int) -> Findings:
    paths = sorted((clinic.lake.root / "status").glob("*.json"))
    if not paths:
        yield "collector", "none has ever run here: start `flarecast collector run`"
    for path in paths:
        try:
            status: dict[str, Any] = json.loads(path.read_text())
            updated, is_subscribed = int(status["utc"]["updated"]), bool(status["is_subscribed"])
        except (ValueError, KeyError, TypeError):
            yield "collector", f"{path} cannot be read: delete it and restart {path.stem}"
            continue
        if not is_subscribed:
            yield "collector", f"{path.stem} is not connected to its broker: start it, or look at its log"
        elif now - updated > SILENCE:
            hours = (now - updated) / HOUR
            yield (
                "collector",
                f"{path.stem} has stored nothing for {hours:.1f} h: is it running, do gateways send?",
            )


def _away(clinic: Clinic) -> Findings:
    """Object storage that does not answer: nothing else can be said of the lake then."""
    try:
        clinic.has_lake()
    except StoreUnreachableError as error:
        yield (
            "lake",
            f"{clinic.lake_place}: {error}: collectors wait for it; is it up, do FLARECAST_S3_ENDPOINT and "
            "AWS_* hold?",
        )


def _lake(clinic: Clinic, now: int) -> Findings:
    lake = clinic.lake
    for reason, samples in sorted(lake.quarantined().items()):
        advice = _ADVICE.get(reason, "look at quarantine/ for the gateway that sends them")
        yield "quarantine", f"{counted(samples, 'sample')}: {reason}: {advice}"
    left = [path for path in lake.root.glob("staging/*/*") if now - _changed_us(path) > HOUR]
    if left:
        names = ", ".join(sorted({path.parent.name for path in left}))
        yield "lake", f"{len(left)} half-written files of {names}: they go when it starts again"
    for kind in KINDS:
        try:
            manifest = lake.manifest(kind)
        except IngestError as error:
            yield "lake", f"{error}: restore it from a backup"
            continue
        missing = [path for path in manifest.parts if not (lake.root / path).is_file()]
        if missing:
            yield "lake", f"{len(missing)} files of {kind} are missing: `flarecast lake verify` names them"
        orphans = orphan_parts(lake, manifest)
        if orphans:
            yield "lake", f"{len(orphans)} files of {kind} are in no manifest: run `flarecast lake compact`"
        landed = lake.landed(kind, manifest)
        for path in landed:
            if path.exists() and (fault := damage(path)):
                yield "lake", f"{path} cannot be read ({fault}): its samples count as not arrived; restore it"
        if len(landed) > MANY_FILES:
            yield "lake", f"{len(landed)} small files of {kind}: run `flarecast lake compact` every night"
    disk = shutil.disk_usage(clinic.home)
    if disk.free < LEAST_FREE * disk.total:
        yield (
            "lake",
            f"the disk has {disk.free / 2**30:.1f} GiB left: make room before collectors wait for it",
        )


def _changed_us(path: Path) -> int:
    return path.stat().st_mtime_ns // 1000 if path.exists() else 2**62


def _enrolment(clinic: Clinic, now: int) -> Findings:
    try:
        enrolment = clinic.enrolment()
    except (UserError, IngestError) as error:
        yield "enrolment", f"{error}: correct the file, or make one with `flarecast enrol add`"
        return
    try:
        if clinic.records_path.exists():
            read_records(clinic.records_path)
    except IngestError as error:
        yield "enrolment", f"{error}: no night is computed until it is corrected"
    try:
        back = ErasedRegister(clinic.home).back_among(row.patient for row in enrolment.rows)
    except IngestError as error:
        yield "enrolment", str(error)
    else:
        for patient, reference in back.items():
            yield (
                "enrolment",
                f"{patient} was erased ({reference}) and is enrolled: `flarecast erase --patient {patient}`; "
                "is it meant, `flarecast enrol import --again-after-erasure` of the rows",
            )
    if not any(row.holds(now) for row in enrolment.rows):
        yield "enrolment", "nobody is enrolled today: `flarecast enrol add`"


def _clocks(clinic: Clinic, now: int) -> Findings:
    """Devices ahead of the clinic, or never less than hours behind it."""
    least: dict[str, int] = {}
    for kind in KINDS:
        try:
            lag = _lags(clinic, kind, now)
        except IngestError:
            continue  # said by the lake's own findings
        for device, lag_us in lag.items():
            least[device] = min(lag_us, least.get(device, lag_us))
    for device, lag_us in sorted(least.items()):
        hours = abs(lag_us) / HOUR
        if lag_us < -AHEAD:
            yield (
                "clock",
                f"{device} sends observations from the future, {hours:.1f} h ahead: "
                "set its clock, or the gateway's",
            )
        elif lag_us > BEHIND:
            yield (
                "clock",
                f"nothing of {device} is less than {hours:.1f} h old when it arrives: set its clock and zone",
            )

    for device, drift_us in sorted(_drifts(clinic, now).items()):
        if abs(drift_us) > AHEAD:
            where = "ahead" if drift_us > 0 else "behind"
            yield (
                "clock",
                f"the clock of {device} was found {abs(drift_us) / HOUR:.1f} h {where} and set right: "
                "an empty battery, or another application that sets it?",
            )


def _drifts(clinic: Clinic, now: int) -> dict[str, int]:
    """Device -> how far its clock was off when it was last read, microseconds, of what came lately."""
    since = from_utc(now - LATELY).date().isoformat()
    latest: dict[str, tuple[int, int]] = {}
    for path in clinic.lake.batch_files():
        if path.parent.name.partition("=")[2] < since:
            continue
        try:
            rows = pq.read_table(path, columns=["device", "received_utc", "device_drift_ms"])
        except (pa.ArrowInvalid, OSError):
            continue  # one file of clocks less is no finding
        for row in rows.filter(pc.field("device_drift_ms").is_valid()).to_pylist():
            one = (to_utc(row["received_utc"]), 1000 * int(row["device_drift_ms"]))
            latest[row["device"]] = max(one, latest.get(row["device"], one))
    return {device: drift_us for device, (_, drift_us) in latest.items()}


def _lags(clinic: Clinic, kind: str, now: int) -> dict[str, int]:
    """Device -> least microseconds from the start of a sample to its arrival, of what came lately."""
    since = from_utc(now - LATELY).date().isoformat()
    least: dict[str, int] = {}
    for path in clinic.lake.files(kind):
        # landing files are filed by arrival, compacted ones by the sample's own date
        if path.parent.name.partition("=")[2] < since or not path.is_file():
            continue
        try:
            with pq.ParquetFile(path) as file:
                rows = file.read(columns=["device", "start_utc", "received_utc"])
        except (pa.ArrowInvalid, OSError):
            continue  # named by the lake's own findings, or by `flarecast lake verify`
        received, start = (rows[name].cast(pa.int64()).to_numpy() for name in ("received_utc", "start_utc"))
        rows = rows.append_column("lag", pa.array(received - start))
        found = rows.group_by("device").aggregate([("lag", "min")]).to_pydict()
        for device, lag_us in zip(found["device"], found["lag_min"], strict=True):
            least[device] = min(int(lag_us), least.get(device, int(lag_us)))
    return least
