"""What the command lines share."""

import argparse
from datetime import date
from pathlib import Path

from flows import settings


def home_of(arguments: argparse.Namespace) -> Path:
    """Folder of the clinic, as given or set."""
    return arguments.home or settings.from_environment().home


def is_utf8(text: str) -> bool:
    """Whether a word of the command line was UTF-8; Python keeps other bytes as half characters."""
    return not any("\ud800" <= one <= "\udfff" for one in text)


def date_of(text: str) -> date:
    """A date as it is written, 2026-11-24; far away ones are slips of the pen."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2026-11-24") from None
    if not 2000 <= found.year < 2100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date of this century")
    return found


def port_of(text: str) -> int:
    """A TCP port."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)
