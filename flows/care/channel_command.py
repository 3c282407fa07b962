"""`flarecast alerts test-channel`: send the test notice now, and say what became of it."""

import secrets
import time
from dataclasses import replace
from pathlib import Path

from alerts.delivery.channels.channel import Channel
from alerts.delivery.notice import Notice
from alerts.engine.journal import new_reference
from devices.clock import system_clock
from flows import settings
from flows.care.channels import from_settings
from flows.errors import UserError


def run_test_channel(home: Path, name: str | None, *, recipient: str | None) -> int:
    """Send a test notice by one channel; returns the exit code, 1 when it was not accepted everywhere."""
    channels = {
        channel.name: channel for channel in from_settings(replace(settings.from_environment(), home=home))
    }
    if name is None:
        print("\n".join(sorted(channels)) or "no channel is set up: docs/runbook.md, alert channels")
        return 0
    channel = channels.get(name)
    if channel is None:
        raise UserError(f"there is no channel {name!r}; there is {', '.join(sorted(channels)) or 'none'}")
    known = channel.recipients
    if recipient is not None and known and recipient not in known:
        raise UserError(f"channel {name!r} has no address of {recipient!r}; it has {', '.join(known)}")
    wanted = (recipient,) if recipient else known or ("test",)
    return max([_try(channel, one) for one in wanted])


def _try(channel: Channel, recipient: str) -> int:
    started = time.monotonic()
    notice = Notice(
        key=f"test:{secrets.token_hex(8)}",
        event="test",
        reference=new_reference(),
        counts={},
        recipient=recipient,
    )
    outcome = channel.send(notice, system_clock())
    verdict = {
        "sent": "accepted",
        "transient": "FAILED, would be tried again",
        "permanent": "FAILED, would be given up",
    }[outcome.kind]
    reason = f": {outcome.reason}" if outcome.reason else ""
    took_s = time.monotonic() - started
    print(f"{channel.name} to {recipient}: {verdict}{reason} (ref {notice.reference}, {took_s:.1f} s)")
    return 0 if outcome.kind == "sent" else 1
