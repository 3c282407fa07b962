"""What the demo shows at its end: samples at every station, nights, alerts, and where to look."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from analytics.store.warehouse import sample_key
from devices.observations import KINDS, RrInterval
from flows.clinic import Clinic
from flows.demo import model as demo_model
from flows.demo.homes import Homes
from flows.words import counted


def stored_by_kind(clinic: Clinic) -> dict[str, int]:
    """Distinct samples per kind, counted by SQL over the Parquet files of the lake."""
    counts: dict[str, int] = {}
    with duckdb.connect() as con:
        for kind in KINDS:
            files = [str(path) for path in clinic.lake.files(kind)]
            if not files:
                counts[kind] = 0
                continue
            con.read_parquet(files).create_view("lake", replace=True)
            ((count,),) = con.execute(_stored(kind)).fetchall()
            counts[kind] = int(count)
    return counts


def _stored(kind: str) -> str:
    """Statement that counts the samples of a kind; RR runs carry theirs in a list."""
    keys = sample_key(kind)
    if kind == RrInterval.kind:
        runs = f"select any_value(rr_ms) as rr_ms from lake group by {keys}"
        return f"select coalesce(sum(len(rr_ms)), 0) from ({runs})"
    return f"select count(distinct ({keys})) from lake"


def summarise(clinic: Clinic, homes: Homes, report: Mapping[str, Any]) -> dict[str, Any]:
    """Totals and counts by kind of made, spooled, received, stored, missing and quarantined."""
    made, stored = homes.made.by_kind(), stored_by_kind(clinic)
    spooled = {kind: homes.spooled[kind] for kind in KINDS}
    collected = clinic.collector_counts()
    received = {kind: collected["received"][kind] for kind in KINDS}
    missing = {kind: made[kind] - stored[kind] for kind in KINDS}
    by_kind = {
        kind: {
            "made": made[kind],
            "spooled": spooled[kind],
            "received": received[kind],
            "stored": stored[kind],
            "missing": missing[kind],
        }
        for kind in KINDS
        if any((made[kind], spooled[kind], received[kind], stored[kind]))
    }
    return {
        "is_synthetic": True,
        "made": sum(made.values()),
        "spooled": sum(spooled.values()),
        "received": sum(received.values()),
        "stored": sum(stored.values()),
        "missing": sum(abs(count) for count in missing.values()),
        "quarantined": collected["quarantined"].total(),
        "by_kind": by_kind,
        "live_people": homes.streamed_people,
        "nights": report["nights"],
        "alerts_opened": report["alerts_opened"],
        "snapshot": str(Path(report["snapshot"]).resolve()),
    }


def _last_alert(alert: Mapping[str, Any] | None) -> list[str]:
    if alert is None:
        return []
    said = f"night of {alert['local_date']} ({alert['zone']}), {alert['severity']}: {alert['sentence']}"
    return [
        f"the last one: the webhook was told the reference {alert['alert']} only; behind it stands",
        *textwrap.wrap(said, 100, initial_indent="  ", subsequent_indent="  "),
    ]


def in_words(summary: Mapping[str, Any]) -> str:
    """The same for a person."""
    lines = [
        "",
        f"SYNTHETIC data: {summary['people']} simulated people, {summary['days']} days, "
        f"{summary['live_people']} of them with wearables live over BLE",
        "",
        f"{'samples':14}{'made':>14}{'spooled':>14}{'received':>14}{'stored':>14}{'missing':>10}",
    ]
    rows = {**summary["by_kind"], "total": summary}
    for kind, row in rows.items():
        cells = "".join(f"{row[name]:>14,}" for name in ("made", "spooled", "received", "stored"))
        lines.append(f"{kind:14}{cells}{row['missing']:>10,}")
    verdict = "everything made is stored" if not summary["missing"] else "SAMPLES ARE MISSING, see above"
    lines += [
        "",
        f"{verdict}; {summary['quarantined']:,} quarantined",
        f"{summary['nights']:,} nights computed; {counted(summary['alerts_opened'], 'alert')} opened, "
        f"{summary['alerts_delivered']} delivered"
        + "".join(f"; {count} not told: {why}" for why, count in summary["alerts_untold"].items()),
        *_last_alert(summary["last_alert"]),
        *summary["desk"],
        f"snapshot  {summary['snapshot']}",
        f"page      {summary['page']}",
        *demo_model.in_words(summary["model"], summary["shadow"]),
        f"{summary['seconds']} s",
    ]
    return "\n".join(lines)
