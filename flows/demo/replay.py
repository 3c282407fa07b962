"""`flarecast replay`: real recordings through the same path as any wearable's data.

RR recordings are worn by a strap on the virtual radio and come over BLE, spool,
MQTT and collector into Parquet; minute steps enter the spool of a gateway. The
recordings carry no date: they are placed at a chosen local start.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl
from rich.progress import Progress

from devices.clock import MINUTE, system_clock, to_utc
from devices.ids import DeviceId, GatewayId, SiteId
from devices.observations import KINDS, StepCount
from devices.units import RR_MAX_MS
from flows import stack
from flows.clinic import Clinic
from flows.demo.command import fresh_folder
from flows.demo.summary import stored_by_kind
from flows.errors import UserError
from flows.gateway import air
from flows.progress import bar
from ingest.edge.forwarder import Forwarder
from ingest.edge.spool import Spool
from ingest.edge.spool_cipher import load_key
from ingest.wire.address import BrokerAddress

SITE = SiteId("replay")
RR_ZONE, STEPS_ZONE = "UTC", "Asia/Tokyo"
DRAIN_S = 600
#: Enrolled long before any plausible start, so that every recording has an owner.
ENROLLED_FROM = "2000-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Recording:
    """One recording: whose, what kind, and where its numbers are."""

    name: str
    kind: str
    zone: str
    values: pl.DataFrame

    @property
    def gateway(self) -> GatewayId:
        """Gateway of the recording."""
        return GatewayId(f"gw-{self.name}")

    @property
    def device(self) -> DeviceId:
        """Wearable of the recording."""
        return DeviceId(f"{'strap' if self.kind == 'rr_interval' else 'band'}-{self.name}")


def run_replay(
    files: Sequence[Path],
    *,
    recordings: Sequence[str],
    per_notification: int,
    start: str,
    zone: str | None,
    out: Path,
    as_json: bool,
) -> int:
    """Replay recordings, print the counts, return the exit code (1 when a sample is missing)."""
    started = time.monotonic()
    chosen = _choose([r for path in files for r in read_recordings(path, zone)], recordings)
    start_at = _parse_start(start)
    clinic = Clinic(fresh_folder(out), out / "lake")
    clinic.write_enrolment([_enrolment_row(recording) for recording in chosen])
    sent, spooled = Counter[str](), Counter[str]()
    with ExitStack() as resources:
        progress = resources.enter_context(bar())
        address = resources.enter_context(stack.broker(clinic.home / "broker"))
        collector = resources.enter_context(stack.collector(clinic, address))
        path = _Path(clinic.home / "gateways", address, collector, progress, sent, spooled)
        for recording in chosen:
            _send(recording, path, per_notification, start_at)
    stored = stored_by_kind(clinic)
    summary = _summary(clinic, chosen, sent, spooled, stored)
    summary["seconds"] = round(time.monotonic() - started, 1)
    print(json.dumps(summary) if as_json else _in_words(summary))
    return 0 if summary["missing"] == 0 else 1


def read_recordings(path: Path, zone: str | None) -> list[Recording]:
    """Recordings of a Parquet file of RR intervals or minute steps.

    RR: columns `rec`, `beat`, `rr_ms`; steps: `person`, `minute_local`, `steps`.

    Raises
    ------
    UserError
        Missing file, not Parquet, or columns of neither form.
    """
    if not path.is_file():
        raise UserError(f"no file {path}")
    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path} is not a Parquet file: {str(error).splitlines()[0]}") from None
    if {"rec", "beat", "rr_ms"} <= set(table.columns):
        key, kind, order, home = "rec", "rr_interval", "beat", zone or RR_ZONE
    elif {"person", "minute_local", "steps"} <= set(table.columns):
        key, kind, order, home = "person", "step_count", "minute_local", zone or STEPS_ZONE
    else:
        raise UserError(f"{path} has neither rec, beat, rr_ms nor person, minute_local, steps")
    groups = table.sort(key, order).partition_by(key, as_dict=True, maintain_order=True)
    return [Recording(_slug(str(name[0])), kind, home, rows) for name, rows in groups.items()]


def step_runs(recording: Recording) -> Iterator[StepCount]:
    """Minute steps as runs of consecutive minutes, at most an hour each; a missing minute ends a run."""
    zone = recording.zone
    local = recording.values["minute_local"].dt.replace_time_zone(
        zone, ambiguous="earliest", non_existent="null"
    )
    utc = local.dt.epoch("us").to_numpy()
    steps = recording.values["steps"].to_numpy()
    starts = np.flatnonzero(np.diff(utc, prepend=utc[0] - 2 * MINUTE) != MINUTE)
    for low, high in zip(starts, [*starts[1:], len(utc)], strict=True):
        for at in range(int(low), int(high), 60):
            until = min(at + 60, int(high))
            yield StepCount(
                device=recording.device,
                start_utc=int(utc[at]),
                source="replay/1",
                period_s=60,
                counts=steps[at:until].astype("<u2").tobytes(),
            )


@dataclass(frozen=True)
class _Path:
    """What every recording goes through, and the counts on the way."""

    folder: Path
    broker: BrokerAddress
    collector: stack.CollectorProcess
    progress: Progress
    sent: Counter[str]
    spooled: Counter[str]


def _send(recording: Recording, path: _Path, per_notification: int, start_at: datetime) -> None:
    path.folder.mkdir(parents=True, exist_ok=True)
    spool = Spool(
        path.folder / f"{recording.gateway}.sqlite",
        clock=system_clock,
        key=load_key(path.folder / f"{recording.gateway}.key"),
    )
    forwarder = Forwarder(spool, path.broker, site=SITE, gateway=recording.gateway)
    forwarder.start()
    count = recording.values.height
    shown = path.progress.add_task(f"{recording.name} ({recording.kind})", total=count)
    if recording.kind == "rr_interval":
        _stream(
            recording,
            spool,
            per_notification,
            start_at,
            lambda beats: path.progress.advance(shown, beats),
            path.sent,
        )
    else:
        runs = list(step_runs(recording))
        path.sent["step_count"] += sum(run.sample_count for run in runs)
        spool.append(runs)
        path.progress.advance(shown, count)
    if not stack.drain(forwarder, path.collector, DRAIN_S):
        raise UserError(f"{recording.name} was not confirmed within {DRAIN_S} s")
    for kind, counts in spool.counts().by_kind.items():
        path.spooled[kind] += counts.appended
    forwarder.stop()
    spool.close()


def _stream(
    recording: Recording,
    spool: Spool,
    per_notification: int,
    start_at: datetime,
    on_beats: Any,
    sent: Counter[str],
) -> None:
    """Wear the strap: every interval a frame can say is sent, longer ones are silence."""
    rr_ms = recording.values["rr_ms"].to_list()
    start_utc = to_utc(start_at.replace(tzinfo=ZoneInfo(recording.zone)))
    strap = air.StrapStream(recording.device, start_utc, rr_ms, per_notification)
    sent["battery"] += asyncio.run(air.stream_strap(recording.gateway, spool, strap, on_beats=on_beats))
    sent["rr_interval"] += sum(ms <= RR_MAX_MS for ms in rr_ms)


def _summary(
    clinic: Clinic,
    chosen: Sequence[Recording],
    sent: Counter[str],
    spooled: Counter[str],
    stored: dict[str, int],
) -> dict[str, Any]:
    kinds = [kind for kind in KINDS if sent[kind] or stored[kind]]
    by_kind = {kind: {"made": sent[kind], "spooled": spooled[kind], "stored": stored[kind]} for kind in kinds}
    return {
        "recordings": [recording.name for recording in chosen],
        "made": sent.total(),
        "spooled": spooled.total(),
        "stored": sum(stored.values()),
        "missing": sum(abs(sent[kind] - stored[kind]) for kind in kinds),
        "by_kind": by_kind,
        "home": str(clinic.home),
    }


def _in_words(summary: dict[str, Any]) -> str:
    lines = [f"{len(summary['recordings'])} recordings: {', '.join(summary['recordings'])}"]
    for kind, row in summary["by_kind"].items():
        lines.append(
            f"  {kind:12} made {row['made']:,}  spooled {row['spooled']:,}  stored {row['stored']:,}"
        )
    lines.append(f"  missing {summary['missing']}; lake in {summary['home']}; {summary['seconds']} s")
    lines.append(f"next: flarecast nightly --home {summary['home']} --from DATE --to DATE")
    return "\n".join(lines)


def _choose(found: list[Recording], wanted: Sequence[str]) -> list[Recording]:
    names = {recording.name for recording in found}
    if unknown := sorted({_slug(name) for name in wanted} - names):
        raise UserError(f"no recording {', '.join(unknown)}; there are {', '.join(sorted(names))}")
    return [
        recording for recording in found if not wanted or recording.name in {_slug(name) for name in wanted}
    ]


def _enrolment_row(recording: Recording) -> dict[str, str]:
    try:
        ZoneInfo(recording.zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise UserError(f"{recording.zone!r} is not an IANA time zone") from None
    return {
        "patient": f"recording-{recording.name}",
        "site": SITE,
        "zone": recording.zone,
        "gateway": recording.gateway,
        "device": recording.device,
        "valid_from_utc": ENROLLED_FROM,
        "valid_to_utc": "",
    }


def _parse_start(text: str) -> datetime:
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{text!r} is not a local time (YYYY-MM-DDTHH:MM)") from None
    if start.tzinfo is not None:
        raise UserError(f"{text!r} carries an offset: give the local time, and the zone by --zone")
    return start - timedelta(microseconds=start.microsecond)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
