"""The rules a site has in its folder, and whether somebody always answers.

Which rules are in force is another question: :mod:`flows.care.rules_in_force`.
"""

from pathlib import Path

from alerts.delivery.channels.settings import NAME, read_channels
from alerts.rules.pack import RulePack, load_pack, read_text
from flows.clinic import Clinic

RULES = "rules.toml"


def site_pack(clinic: Clinic) -> RulePack:
    """HOME/rules.toml, else the default pack; rules that need an answer at all hours only where one is given.

    Raises
    ------
    RuleError, ChannelError
        When a file has a fault.
    """
    return load_pack(_existing(clinic.home / RULES), is_staffed=staffed(clinic))


def staffed(clinic: Clinic) -> bool:
    """Whether channels.toml says that somebody answers at all hours.

    Raises
    ------
    ChannelError
        When the file has a fault.
    """
    path = clinic.home / NAME
    return path.exists() and read_channels(path).staffed_response is not None


def own_text(clinic: Clinic) -> str | None:
    """Text of HOME/rules.toml; None without one.

    Raises
    ------
    RuleError
        When it cannot be read.
    """
    own = _existing(clinic.home / RULES)
    return None if own is None else read_text(own)[1]


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None
