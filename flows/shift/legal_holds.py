"""Patients whose data a court or an authority wants kept: `HOME/legal-holds.toml`."""

import tomllib
from pathlib import Path
from typing import Any, Final

from flows.errors import UserError

NAME: Final = "legal-holds.toml"


def read_holds(home: Path) -> dict[str, Any]:
    """Patient -> by whose word, as of the file.

    Raises
    ------
    UserError
        An unreadable file.
    """
    path = home / NAME
    try:
        return tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: not valid TOML ({error}): nothing is erased while holds are unknown"
        ) from None
