"""What the command lines share."""

import argparse
from pathlib import Path

from flows import settings


def home_of(arguments: argparse.Namespace) -> Path:
    """Folder of the clinic, as given or set."""
    return arguments.home or settings.from_environment().home


def is_utf8(text: str) -> bool:
    """Whether a word of the command line was UTF-8; Python keeps other bytes as half characters."""
    return not any("\ud800" <= one <= "\udfff" for one in text)
