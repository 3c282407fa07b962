"""What `flarecast gateway status` says: of each wearable when data last came and how far it got, in words."""

import sys
from collections.abc import Mapping
from typing import Any, Final

from devices.clock import DAY, HOUR, MINUTE, SECOND, from_utc
from flows.gateway.config import GatewayConfig
from ingest.edge.spool import MAX_WAIT
from ingest.edge.spool_limits import EARLIEST_UTC

#: A gateway says every five seconds that it runs; so much later it does not.
SILENT_US: Final = 30 * SECOND
#: Kinds that tell of the person, in words; a battery does not.
KIND_WORDS: Final = {
    "rr_interval": "heart beats",
    "heart_rate": "heart rate",
    "step_count": "steps",
    "sleep_stage": "sleep",
    "device_hrv": "heart-rate variability",
    "wear": "wear",
}
_GREEN, _YELLOW, _RED, _PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"
#: From which size on a time is told in which unit.
_UNITS: Final = ((2 * DAY, DAY, "days"), (2 * HOUR, HOUR, "h"), (2 * MINUTE, MINUTE, "min"))


def ago(us: int) -> str:
    """A time that has passed, for a person."""
    for least, unit, word in _UNITS:
        if us >= least:
            return f"{us // unit} {word} ago"
    return f"{max(0, us) // SECOND} s ago"


def show(config: GatewayConfig, status: Mapping[str, Any], *, now: int) -> None:
    """Print a status for who lives with the box; colours on a terminal only."""
    samples = status["samples"]
    print(f"gateway {config.gateway} at {config.site}, broker {config.broker}")
    if not (runs := is_running(status, now)):
        _say(_RED, "  not running")
    oldest = samples["oldest_utc"]
    is_fresh = oldest is None or now - oldest < MAX_WAIT + MINUTE
    _say_delivered(samples, is_fresh=is_fresh)
    print(f"  kept {samples['appended']}  sent {samples['sealed']}  confirmed {samples['confirmed']} samples")
    print(f"  spool {_fill(samples)}")
    for kind, counts in samples["by_kind"].items():
        kept, sent, confirmed = counts["appended"], counts["sealed"], counts["confirmed"]
        print(f"    {kind:12} kept {kept}  sent {sent}  confirmed {confirmed}")
    for device, seen in status["devices"].items():
        colour, told = _headline(seen, now=now, runs=runs, is_fresh=is_fresh)
        _say(colour, f"  {device:12} {told}")
        _show_device(seen, runs=runs)


def is_running(status: Mapping[str, Any], now: int) -> bool:
    """Whether the gateway has said so, not long ago."""
    said: int | None = status["utc"]
    return bool(status.get("is_running")) and said is not None and abs(now - said) < SILENT_US


def _say(colour: str, text: str) -> None:
    print(f"{colour}{text}{_PLAIN}" if sys.stdout.isatty() else text)


def _say_delivered(samples: Mapping[str, Any], *, is_fresh: bool) -> None:
    lost = samples["lost"]
    kept = samples["appended"] - samples["confirmed"] - lost
    colour = _RED if lost else _GREEN if is_fresh else _YELLOW
    _say(colour, f"  {kept} kept here for the clinic, {samples['confirmed']} delivered, {lost} lost")


def _fill(samples: Mapping[str, Any]) -> str:
    """State of the spool: how full, how old, and what is wrong in capitals."""
    oldest = samples["oldest_utc"]
    waits = "nothing waits" if oldest is None else f"oldest unconfirmed from {moment(oldest)}"
    percent = 100 * samples["used"] / samples["most"]
    said = f"{samples['state'].upper()}: {samples['word']}" if samples["word"] else samples["state"]
    return f"{said}  {samples['used']} bytes ({percent:.1f} % of its limit), {waits}"


def _show_device(seen: Mapping[str, Any], *, runs: bool) -> None:
    came = "no data yet" if seen["heard_utc"] is None else f"data at {moment(seen['heard_utc'])}"
    state = "listening" if runs and seen.get("is_listening") else "not connected"
    print(f"    {came}, {state}, {seen.get('connections', 0)} connections since the start")
    print(f"    kept {seen['kept']}  sent {seen['sent']}  confirmed {seen['confirmed']}", end="")
    print(f"  revised {seen.get('revised', 0)} since the start")
    for log, value in seen["clock"].items():
        print(f"    {log} {moment(value) if abs(value) >= EARLIEST_UTC else value}")
    for reason, count in seen["rejected"].items():
        print(f"    rejected {count}: {reason}")
    for reason, (count, seconds) in seen["gaps"].items():
        print(f"    gaps {count}, {seconds:.0f} s: {reason}")
    for gap in seen["latest_gaps"]:
        print(f"    gap {moment(gap['start_utc'])} to {moment(gap['end_utc'])}: {gap['reason']}")


def _headline(seen: Mapping[str, Any], *, now: int, runs: bool, is_fresh: bool) -> tuple[str, str]:
    """Colour and one line: what came last, how far it got, and why no more comes."""
    came = {KIND_WORDS[kind]: at for kind, at in seen["heard"].items() if kind in KIND_WORDS}
    if not came:
        what = "no data yet" if seen["heard_utc"] is None else f"battery {ago(now - seen['heard_utc'])}"
    else:
        latest = max(came, key=lambda word: came[word])
        what = f"{latest} {ago(now - came[latest])}"
    if runs and seen.get("silence"):
        return _RED, f"{what}; not heard now: {seen['silence']}"
    if not came:
        return _YELLOW, f"{what}; nothing of who wears it yet"
    waiting = seen["kept"] - seen["confirmed"]
    if not waiting:
        return _GREEN, f"{what}: stored here, sent, confirmed by the clinic"
    if not is_fresh:
        return _YELLOW, f"{what}: stored here, {waiting} wait for the clinic"
    sent = "sent, confirmed by the clinic" if seen["confirmed"] else "not yet sent"
    return _GREEN, f"{what}: stored here, {sent}; the latest {waiting} go within {MAX_WAIT // MINUTE} min"


def moment(utc: int) -> str:
    """An instant, UTC."""
    return f"{from_utc(utc):%Y-%m-%d %H:%M:%S} UTC"
