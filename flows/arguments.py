"""What the command lines share."""

import argparse
from pathlib import Path

from flows import settings


def home_of(arguments: argparse.Namespace) -> Path:
    """Folder of the clinic, as given or set."""
    return arguments.home or settings.from_environment().home
